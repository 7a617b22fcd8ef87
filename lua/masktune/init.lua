--- masktune: image classifiers that do not lean on shortcuts.
-- The C core's functions (tensors, operations, nn, optim, mask, image) are here from the start;
-- the Lua parts are loaded when first used, so that `require "masktune"` costs milliseconds.
-- @module masktune
local core = require "masktune.core"

local masktune = { _VERSION = "masktune scm-1" }

--- Part -> the Lua module that defines it.
local parts = {
  models = "masktune.models",
  data = "masktune.data",
  schedule = "masktune.schedule",
  train = "masktune.train",
  evaluate = "masktune.evaluate",
  embeddings = "masktune.embeddings",
  groups = "masktune.groups",
  masktune = "masktune.recipe",
  selective = "masktune.selective",
  metrics = "masktune.metrics",
  methods = "masktune.methods",
  losses = "masktune.losses",
  registry = "masktune.registry",
  notice = "masktune.notice",
  checkpoint = "masktune.checkpoint",
  progress = "masktune.progress",
  report = "masktune.report",
  outcome = "masktune.outcome",
  figure = "masktune.figure",
  plot = "masktune.plot",
  cli = "masktune.cli",
  json = "masktune.json",
  tables = "masktune.tables",
  cam = "masktune.cam",
  explain = "masktune.explain",
  cam_quality = "masktune.cam_quality",
  help = "masktune.help",
}
masktune._modules = parts -- for masktune.help

for name, value in pairs(core) do
  if not parts[name] then masktune[name] = value end
end

return setmetatable(masktune, {
  __index = function(self, name)
    local part = parts[name]
    if not part then return nil end
    local value = require(part)
    rawset(self, name, value)
    return value
  end,
})
