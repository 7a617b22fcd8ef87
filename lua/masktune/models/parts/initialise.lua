--- Initial weights for whole nets, drawn from the default generator in the tree's order.
-- @module masktune.models.parts.initialise
local core = require "masktune.core"

local initialise = {}

--- Class -> (values that one output sums over, values that one input goes into), from the weight's shape in memory.
local fans = {
  Conv2d = function(height, width, inputs, outputs) return height * width * inputs, height * width * outputs end,
  Linear = function(outputs, inputs) return inputs, outputs end,
}

--- Normal weights with standard deviation sqrt(2 / fan) (He et al. 2015, for nets with ReLU), as PyTorch's
-- `kaiming_normal_` draws them. Biases stay as they are.
-- @tparam Module model
-- @string class "Conv2d" or "Linear": the layers it is for
-- @string mode "fan_in" or "fan_out"
function initialise.kaiming_normal(model, class, mode)
  for _, layer in model:modules() do
    if layer:class() == class then
      local shape = layer.weight:shape()
      local fan_in, fan_out = fans[class](table.unpack(shape))
      layer.weight = core.randn(shape) * math.sqrt(2.0 / (mode == "fan_in" and fan_in or fan_out))
    end
  end
end

--- Normal weights with a given standard deviation.
-- @tparam Module model
-- @string class the layers it is for
-- @number std
function initialise.normal(model, class, std)
  for _, layer in model:modules() do
    if layer:class() == class then layer.weight = core.randn(layer.weight:shape()) * std end
  end
end

--- Biases of zero.
-- @tparam Module model
-- @string class the layers it is for
function initialise.zero_bias(model, class)
  for _, layer in model:modules() do
    if layer:class() == class and layer.bias then layer.bias = core.zeros(layer.bias:shape()) end
  end
end

return initialise
