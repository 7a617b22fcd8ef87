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
  draw = "masktune.draw",
  dist = "masktune.dist",
  schedule = "masktune.schedule",
  train = "masktune.train",
  evaluate = "masktune.evaluate",
  choose = "masktune.choose",
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
  live = "masktune.live",
  tables = "masktune.tables",
  cam = "masktune.cam",
  explain = "masktune.explain",
  cam_quality = "masktune.cam_quality",
  help = "masktune.help",
  show = "masktune.show",
  diagnose = "masktune.diagnose",
  onnx = "masktune.onnx",
  experiment = "masktune.experiment",
}
masktune._modules = parts -- for masktune.help

local launched = require "masktune.launched"

for name, value in pairs(core) do
  if not parts[name] then masktune[name] = value end
end

if launched() then require("masktune.dist").start() end

--- All names, sorted.
local function names_of(self)
  local names = {}
  for name in next, self do
    names[#names + 1] = name
  end
  for name in pairs(parts) do
    if rawget(self, name) == nil then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

--- Names in lines of at most 100 columns.
local function wrapped(names)
  local lines, line = {}, " "
  for _, name in ipairs(names) do
    if #line + #name > 100 then
      lines[#lines + 1], line = line, " "
    end
    line = line .. " " .. name
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

return setmetatable(masktune, {
  __index = function(self, name)
    local part = parts[name]
    if not part then return nil end
    local value = require(part)
    rawset(self, name, value)
    return value
  end,
  __pairs = function(self)
    local names, i = names_of(self), 0
    return function()
      i = i + 1
      if names[i] then return names[i], self[names[i]] end
    end
  end,
  __tostring = function(self)
    return ("%s: image classifiers that do not lean on shortcuts\n%s\nprint(mt.models), print(mt.cam), ... list what is"
      .. " in a part"):format(self._VERSION, wrapped(names_of(self)))
  end,
})
