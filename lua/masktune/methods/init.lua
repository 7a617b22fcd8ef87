--- The methods, found by name: `mt.methods.erm(model, options)`, or `mt.masktune(model, {method = "erm", ...})`.
-- One file each; a new one needs its file and nothing else (masktune.registry). It returns
--
-- * `title`: what tables of results call it; `summary`: a line; `paper`
-- * `labels`: what it needs beside the images ("class", "class; group in training", ...); `stages`: what it does, in
--   order; `cost`: in epochs
-- * `schema`: its options beside those of mt.train (masktune.check)
-- * `run`: function (model, options, context) -> result; `context` is described in masktune.recipe.run
--
-- `print(mt.methods)` lists them.
-- @module masktune.methods
local check = require "masktune.check"
local registry = require "masktune.registry"
local run = require "masktune.recipe.run"
local tables = require "masktune.tables"

local Method = { __name = "masktune.Method" }

function Method:__call(model, options) return run(self, "mt.methods." .. self.name, model, options) end

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

return registry.new("masktune.methods", {
  kind = "method",
  accept = function(value, name, module)
    local method = check.options(module or "mt.methods." .. name, value, schema)
    return setmetatable(tables.merged(method, { name = name }), Method)
  end,
  describe = function(method)
    local facts = { "labels: " .. method.labels }
    if method.stages ~= "" then facts[#facts + 1] = "stages: " .. method.stages end
    if method.cost ~= "" then facts[#facts + 1] = "cost: " .. method.cost end
    if method.paper ~= "" then facts[#facts + 1] = method.paper end
    return ("%s [%s]"):format(method.summary, table.concat(facts, "; "))
  end,
})
