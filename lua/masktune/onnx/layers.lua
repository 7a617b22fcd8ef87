--- How each kind of layer is written as ONNX nodes. What a layer was made with is read from what it prints.
-- @module masktune.onnx.layers
local layers = {}

--- "3, 32, kernel 3x3, stride 2x2, padding same_upper, no bias" as {numbers = {3, 32}, kernel = "3x3", ...}.
local function details_of(module)
  local found = { numbers = {} }
  local text = tostring(module):match("^[^(]*%(([^\n)]*)")
  for piece in text:gmatch("[^,]+") do
    piece = piece:gsub("^%s+", ""):gsub("%s+$", "")
    local name, value = piece:match("^(%S+) (%S+)$")
    if name and name ~= "no" then
      found[name] = value
    elseif tonumber(piece) then
      table.insert(found.numbers, math.tointeger(tonumber(piece)))
    else
      found[piece] = true
    end
  end
  return found
end

--- "3x3" or "3" as {3, 3}.
local function pair(text, default)
  local first, second = (text or default):match("^(%d+)x?(%d*)$")
  first = math.tointeger(tonumber(first))
  return { first, math.tointeger(tonumber(second)) or first }
end

local function pads(text)
  local padding = pair(text, "0")
  return { padding[1], padding[2], padding[1], padding[2] }
end

--- The name of a parameter's tensor in the graph; nil where the layer has none of that name.
local function parameter(graph, path, state, name)
  local key = (path == "" and "" or path .. ".") .. name
  return state[key] and graph:tensor(key, state[key]) or nil
end

--- A value with the layer's weight, and its bias where it has one.
local function weighted(graph, value, path, state)
  return { value, parameter(graph, path, state, "weight"), parameter(graph, path, state, "bias") }
end

--- Attributes of convolutions and poolings.
local function window(details)
  local attributes = { kernel_shape = pair(details.kernel), strides = pair(details.stride, "1") }
  if details.padding == "same_upper" then
    attributes.auto_pad = "SAME_UPPER"
  else
    attributes.pads = pads(details.padding)
  end
  if details.dilation then attributes.dilations = pair(details.dilation) end
  return attributes
end

local function unary(operator)
  return function(graph, value) return graph:node(operator, { value }) end
end

--- Kind -> function (graph, name of the value, module, its path, state dict) -> name of the result.
layers.Identity = function(_, value) return value end
layers.Dropout, layers.Dropout2d = layers.Identity, layers.Identity
layers.ReLU, layers.Sigmoid, layers.Tanh = unary "Relu", unary "Sigmoid", unary "Tanh"
layers.GlobalAvgPool2d = function(graph, value)
  return graph:node("Flatten", { graph:node("GlobalAveragePool", { value }) }, { axis = 1 })
end
layers.Flatten = function(graph, value) return graph:node("Flatten", { value }, { axis = 1 }) end
layers.Softmax = function(graph, value) return graph:node("Softmax", { value }, { axis = 1 }) end
layers.LogSoftmax = function(graph, value) return graph:node("LogSoftmax", { value }, { axis = 1 }) end

layers.ReLU6 = function(graph, value)
  return graph:node("Clip", { value, graph:constant(0.0), graph:constant(6.0) })
end

layers.SiLU = function(graph, value) return graph:node("Mul", { value, graph:node("Sigmoid", { value }) }) end

layers.LeakyReLU = function(graph, value, module)
  return graph:node("LeakyRelu", { value }, { alpha = tonumber(details_of(module).slope) + 0.0 })
end

layers.Conv2d = function(graph, value, module, path, state)
  local details = details_of(module)
  local attributes = window(details)
  attributes.group = math.tointeger(tonumber(details.groups or 1))
  return graph:node("Conv", weighted(graph, value, path, state), attributes)
end

layers.Linear = function(graph, value, _, path, state)
  return graph:node("Gemm", weighted(graph, value, path, state), { transB = 1 })
end

local function batch_norm(graph, value, module, path, state)
  local inputs = { value }
  for i, name in ipairs { "weight", "bias", "running_mean", "running_var" } do
    inputs[i + 1] = parameter(graph, path, state, name)
  end
  return graph:node("BatchNormalization", inputs, { epsilon = tonumber(details_of(module).eps or "1e-5") + 0.0 })
end
layers.BatchNorm2d, layers.BatchNorm1d = batch_norm, batch_norm

layers.MaxPool2d = function(graph, value, module)
  local details = details_of(module)
  local attributes = window(details)
  if details.ceil_mode then attributes.ceil_mode = 1 end
  return graph:node("MaxPool", { value }, attributes)
end

layers.AvgPool2d = function(graph, value, module)
  local attributes = window(details_of(module))
  attributes.count_include_pad = 1
  return graph:node("AveragePool", { value }, attributes)
end

--- Every second pixel (or less) and zeros for new channels (He et al. 2016, option A).
layers.Shortcut = function(graph, value, module)
  local details = details_of(module)
  local stride, more = math.tointeger(tonumber(details.stride or 1)), details.numbers[2] - details.numbers[1]
  if stride > 1 then
    value = graph:node("Slice", { value, graph:constant { 0, 0 }, graph:constant { 1 << 31, 1 << 31 },
      graph:constant { 2, 3 }, graph:constant { stride, stride } })
  end
  local side = more // 2
  return graph:node("Pad", { value, graph:constant { 0, side, 0, 0, 0, side, 0, 0 }, graph:constant(0.0) })
end

--- The body's value plus the shortcut's (or the input), then a ReLU unless it says otherwise.
layers.Residual = function(graph, value, module, path, state)
  local body, beside = value, value
  for name, child in module:children() do
    local inner = (path == "" and "" or path .. ".") .. name
    if name == "downsample" then
      beside = layers.write(graph, value, child, inner, state)
    else
      body = layers.write(graph, body, child, inner, state)
    end
  end
  local sum = graph:node("Add", { body, beside })
  return details_of(module)["no relu"] and sum or graph:node("Relu", { sum })
end

layers.Sequential = function(graph, value, module, path, state)
  for name, child in module:children() do
    value = layers.write(graph, value, child, (path == "" and "" or path .. ".") .. name, state)
  end
  return value
end

--- Writes any module that can be written.
-- @raise for one that cannot, with its name
function layers.write(graph, value, module, path, state)
  local writer = layers[module:class()]
  if writer then return writer(graph, value, module, path, state) end
  error(("mt.onnx.export: layer '%s' is a %s, which is not written"):format(path, module:class()), 0)
end

return layers
