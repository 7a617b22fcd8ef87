--- Tables of options, put together and taken apart.
-- @module masktune.tables
local check = require "masktune.check"
local sorted_names = require("masktune.names").sorted

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

local function setting_text(value)
  if type(value) == "number" then return ("%.12g"):format(value) end
  return value == nil and "none" or tostring(value)
end

--- What differs between two tables of plain values, settings say ("epochs is 20, this run has 4"), sorted by name.
-- @tparam table saved
-- @tparam table wanted
-- @treturn string "" where nothing differs
function tables.differences(saved, wanted)
  check.argument("mt.tables.differences", "saved", saved, { type = "table" })
  check.argument("mt.tables.differences", "wanted", wanted, { type = "table" })
  local texts = {}
  for _, name in ipairs(sorted_names(tables.merged(saved, wanted))) do
    if saved[name] ~= wanted[name] then
      local there, here = setting_text(saved[name]), setting_text(wanted[name])
      texts[#texts + 1] = ("%s is %s there, %s in this run"):format(name, there, here)
    end
  end
  return table.concat(texts, "; ")
end

return tables
