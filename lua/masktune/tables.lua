--- Tables of options, put together and taken apart.
-- @module masktune.tables
local tables = {}

--- A new table with the fields of all; later ones win.
function tables.merged(...)
  local result = {}
  for _, fields in ipairs { ... } do
    for name, value in pairs(fields) do
      result[name] = value
    end
  end
  return result
end

--- The fields of `source` that `names` (a table with these keys) has.
function tables.picked(source, names)
  local result = {}
  for name in pairs(names) do
    result[name] = source[name]
  end
  return result
end

--- The fields of `source` whose names are not in the list.
function tables.without(source, names)
  local result = tables.merged(source)
  for _, name in ipairs(names) do
    result[name] = nil
  end
  return result
end

return tables
