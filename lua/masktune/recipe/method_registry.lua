--- What methods are, wherever their files lie: masktune.methods, and those that abstain in masktune.selective.methods.
-- A file returns
--
-- * `title`: what tables of results call it; `summary`: a line; `paper`
-- * `labels`: what it needs beside the images ("class", "class; group in training", ...); `stages`: what it does, in
--   order; `cost`: in epochs
-- * `schema`: its options beside those of mt.train (masktune.check)
-- * `run`: function (model, options, context) -> result; `context` is described in masktune.recipe.run
-- @module masktune.recipe.method_registry
local check = require "masktune.check"
local registry = require "masktune.registry"
local run = require "masktune.recipe.run"
local tables = require "masktune.tables"

local schema = {
  title = { type = "string" },
  summary = { type = "string" },
  paper = { type = "string", default = "" },
  labels = { type = "string", default = "class" },
  stages = { type = "string", default = "" },
  cost = { type = "string", default = "" },
  schema = { type = "table", default = {} },
  run = { type = "function" },
}

local function describe(method)
  local facts = { "labels: " .. method.labels }
  if method.stages ~= "" then facts[#facts + 1] = "stages: " .. method.stages end
  if method.cost ~= "" then facts[#facts + 1] = "cost: " .. method.cost end
  if method.paper ~= "" then facts[#facts + 1] = method.paper end
  return ("%s [%s]"):format(method.summary, table.concat(facts, "; "))
end

--- Makes a registry of methods.
-- @string place the folder, as the beginning of module names
-- @string called what users call it ("mt.methods")
-- @treturn table
return function(place, called)
  local Method = { __name = "masktune.Method" }
  function Method:__call(model, options) return run(self, called .. "." .. self.name, model, options) end
  return registry.new(place, {
    kind = "method",
    accept = function(value, name, module)
      local method = check.options(module or called .. "." .. name, value, schema)
      return setmetatable(tables.merged(method, { name = name }), Method)
    end,
    describe = describe,
  })
end
