--- Tables of options, put together and taken apart.
-- @module masktune.tables
local check = require "masktune.check"

local tables = {}

--- A new table with the fields of all; later ones win.
function tables.merged(...)
  local result = {}
  for i, fields in ipairs { ... } do
    check.argument("mt.tables.merged", i, fields, { type = "table" })
    for name, value in pairs(fields) do
      result[name] = value
    end
  end
  return result
end

--- The fields of `source` that `names` (a table with these keys) has.
function tables.picked(source, names)
  check.argument("mt.tables.picked", "source", source, { type = "table" })
  check.argument("mt.tables.picked", "names", names, { type = "table" })
  local result = {}
  for name in pairs(names) do
    result[name] = source[name]
  end
  return result
end

--- The fields of `source` whose names are not in the list.
function tables.without(source, names)
  check.argument("mt.tables.without", "source", source, { type = "table" })
  names = check.argument("mt.tables.without", "names", names, { type = "list", of = { type = "string" } })
  local result = tables.merged(source)
  for _, name in ipairs(names) do
    result[name] = nil
  end
  return result
end

return tables
