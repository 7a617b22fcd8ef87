--- Losses, found by name (`mt.losses.focal { gamma = 2 }`). One file each; a new one needs its file and nothing else
-- (masktune.registry): it returns `{summary =, schema = options, new = function(options) -> objective}`.
-- What an objective is, and how it prints: masktune.objective.
-- @module masktune.losses
local check = require "masktune.check"
local objective = require "masktune.objective"
local registry = require "masktune.registry"

local Loss = { __name = "masktune.Loss" }

--- A loss with its options: an objective.
function Loss:__call(options)
  local o = check.options("mt.losses." .. self.name, options, self.schema)
  return objective(self.name, o, self.new(o))
end

return registry.new("masktune.losses", {
  kind = "loss",
  accept = function(value, name, module)
    local good = type(value) == "table" and check.is_callable(value.new) and type(value.summary) == "string"
    if not good then
      error(("%s: loss expected, {summary = text, schema = options, new = function}, got %s"):format(
        module or "mt.losses." .. name, check.describe(value)), 0)
    end
    return setmetatable({ name = name, summary = value.summary, schema = value.schema or {}, new = value.new }, Loss)
  end,
})
