--- Groups found without labels of the shortcut: `mt.groups.eiil(model, set, options)` gives the set with a field
-- `group` (int32 {N}), which methods that need groups take. One file each; a new one needs its file and nothing else
-- (masktune.registry): `{summary =, paper =, schema =, run = function(model, set, options) -> parts, facts}`, where
-- parts are 1, 2, ... for each image, within its class; facts is a table for the caller (optional).
-- `print(mt.groups)` lists them.
-- @module masktune.groups
local check = require "masktune.check"
local core = require "masktune.core"
local inference = require "masktune.inference"
local registry = require "masktune.registry"
local tables = require "masktune.tables"

local Finder = { __name = "masktune.GroupFinder" }

--- Groups of classes and parts: those of class 1 first.
local function numbered(labels, parts)
  local count, groups = 1, {}
  for _, part in ipairs(parts) do
    count = math.max(count, part)
  end
  for i, part in ipairs(parts) do
    groups[i] = (labels[i] - 1) * count + part
  end
  return core.tensor(groups, { dtype = "int32" })
end

--- Finds groups.
-- @tparam Module model a trained one, unless the finder says otherwise
-- @tparam table set
-- @tparam[opt] table options
-- @treturn table the set with `group` (it replaces one that was there) and `part` (int32 {N})
-- @treturn table facts that the finder tells
function Finder:__call(model, set, options)
  local where = "mt.groups." .. self.name
  local o
  o, set = inference.arguments(where, model, set, options, self.schema)
  local parts, facts = self.run(model, set, o)
  return tables.merged(set, {
    group = numbered(set.labels:totable(), parts), part = core.tensor(parts, { dtype = "int32" }),
  }), facts or {}
end

local schema = {
  summary = { type = "string" },
  paper = { type = "string", default = "" },
  schema = { type = "table", default = {} },
  run = { type = "function" },
}

return registry.new("masktune.groups", {
  kind = "group finder",
  accept = function(value, name, module)
    local finder = check.options(module or "mt.groups." .. name, value, schema)
    return setmetatable(tables.merged(finder, { name = name }), Finder)
  end,
  describe = function(finder)
    return finder.paper == "" and finder.summary or ("%s [%s]"):format(finder.summary, finder.paper)
  end,
})
