--- How training makes its optimiser.
-- @module masktune.train.optimizer
local check = require "masktune.check"
local core = require "masktune.core"

local optimizer = {}

--- The options that describe one.
optimizer.schema = {
  optimizer = { choices = { "sgd", "adam", "adamw" }, type = "any", default = "sgd" },
  momentum = { type = "number", min = 0, default = 0.9 },
  weight_decay = { type = "number", min = 0, default = 1e-4 },
}

--- Name -> constructor (parameters, options, rate).
local named = {
  sgd = function(parameters, o, lr)
    return core.optim.sgd(parameters, { lr = lr, momentum = o.momentum, weight_decay = o.weight_decay })
  end,
  adam = function(parameters, o, lr) return core.optim.adam(parameters, { lr = lr, weight_decay = o.weight_decay }) end,
  adamw = function(parameters, o, lr)
    return core.optim.adamw(parameters, { lr = lr, weight_decay = o.weight_decay })
  end,
}

--- Whether the option is an optimiser that was made already (and not a name, or a function that makes one).
function optimizer.is_made(value) return type(value) ~= "string" and type(value) ~= "function" end

--- The optimiser over the model's parameters.
-- @tparam Module model
-- @tparam table o options as of `schema`; a function is called with the parameters and the rate
-- @number lr
function optimizer.new(model, o, lr)
  local value = o.optimizer
  if optimizer.is_made(value) then return value end
  if type(value) == "function" then return value(model:parameters(), lr) end
  return named[value](model:parameters(), o, lr)
end

--- What of it a checkpoint must agree on.
function optimizer.settings(o)
  if type(o.optimizer) ~= "string" then return { optimizer = "custom" } end
  return { optimizer = o.optimizer, momentum = o.momentum, weight_decay = o.weight_decay }
end

--- Refuses an optimiser where several are needed, one for each stage.
function optimizer.refuse_made(where, o)
  if not optimizer.is_made(o.optimizer) then return end
  check.fail("%s: option 'optimizer': name, or function (parameters, lr) -> optimiser, expected (each stage needs its "
    .. "own), got %s", where, check.describe(o.optimizer))
end

return optimizer
