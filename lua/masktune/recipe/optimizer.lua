--- How a recipe makes its optimiser.
-- @module masktune.recipe.optimizer
local core = require "masktune.core"

local optimizer = {}

--- The options that describe one.
optimizer.schema = {
  optimizer = { choices = { "sgd", "adam" }, type = "function", default = "sgd" },
  momentum = { type = "number", min = 0, default = 0.9 },
  weight_decay = { type = "number", min = 0, default = 1e-4 },
}

--- A new optimiser over the model's parameters.
-- @tparam Module model
-- @tparam table o options as of `schema`; a function is called with the parameters and the rate
-- @number lr
function optimizer.new(model, o, lr)
  local parameters = model:parameters()
  if o.optimizer == "sgd" then
    return core.optim.sgd(parameters, { lr = lr, momentum = o.momentum, weight_decay = o.weight_decay })
  elseif o.optimizer == "adam" then
    return core.optim.adam(parameters, { lr = lr, weight_decay = o.weight_decay })
  end
  return o.optimizer(parameters, lr)
end

--- What of it a checkpoint must agree on.
function optimizer.settings(o)
  return {
    optimizer = type(o.optimizer) == "string" and o.optimizer or "custom",
    momentum = o.momentum,
    weight_decay = o.weight_decay,
  }
end

return optimizer
