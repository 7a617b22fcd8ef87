--- FullGrad: the input's and the biases' shares of the score. `|x g|` of the image's channels, and `|b_c g_c|` at the
-- output of every Conv2d with a bias and every BatchNorm2d (there b is what the layer adds in eval mode:
-- `bias - weight mean / sqrt(var + eps)`), each channel's map scaled to [0,1] by (x - min) / (max - min + 1e-7) and
-- enlarged bilinearly to the image; the map is their sum.
-- Srinivas and Fleuret 2019, "Full-Gradient Representation for Neural Network Visualization", with the scaling of the
-- Python package grad-cam. Looks at the whole net: no option `layer`. Gives the map, float32 {N,H,W}.
-- @module masktune.cam.fullgrad
local check = require "masktune.check"
local core = require "masktune.core"
local engine = require "masktune.explain.engine"
local inference = require "masktune.inference"

--- What a layer adds to its input whatever that is, {C}; nil: nothing.
local function bias_of(module)
  if module:class() == "Conv2d" then return module.bias end
  local zeros = core.zeros(1, 1, 1, #module.bias)
  return inference.run(function(norm) return norm(zeros) end, module):reshape(-1)
end

local function has_bias(module)
  local class = module:class()
  return (class == "Conv2d" or class == "BatchNorm2d") and module.bias ~= nil
end

local function layers_with_bias(model)
  local names, seen = {}, {}
  for path, module in model:modules() do
    if has_bias(module) and not seen[module] then
      names[#names + 1], seen[module] = path, true
    end
  end
  return names
end

-- Winograd's convolutions leave rounding where a gradient is zero: up to 1e-6 of the layer's largest, which the scaling
-- would take for the map of a channel.
local ROUNDING = 2 ^ -20

--- The sizes of a layer's gradients, {n,h,w,C}, zero where they are but rounding.
local function sizes_of(gradient)
  local sizes = gradient:abs()
  local n = sizes:size(1)
  local largest = sizes:reshape(n, sizes:numel() // n):max(2):reshape(n, 1, 1, 1)
  return sizes:masked_fill(sizes:lt(largest * ROUNDING), 0)
end

--- The sum of the channels' maps, each scaled: {n,h,w,C} to {n,h,w}.
local function scaled_sum(maps)
  local n, h, w, channels = table.unpack(maps:shape())
  local planes = maps:permute(1, 4, 2, 3):reshape(n * channels, h, w)
  return engine.scaled(planes):reshape(n, channels, h, w):sum(2)
end

return {
  summary = "the image's and all biases' shares of the score; looks at the whole net",
  paper = "Srinivas and Fleuret 2019, FullGrad",
  input = true,
  layers = layers_with_bias,
  rule = function(tap, context)
    local sum = scaled_sum(sizes_of(tap.gradient) * tap.value:abs())
    local size = { sum:size(2), sum:size(3) }
    for _, layer in ipairs(context.taps) do
      if layer.runs > 1 then
        check.fail("mt.cam.fullgrad: layer '%s' runs %d times, expected once", layer.name, layer.runs)
      end
      if layer.gradient then
        local share = scaled_sum(sizes_of(layer.gradient) * bias_of(layer.module):abs())
        sum = sum + core.image.resize(share, { size = size, planes = true })
      end
    end
    return sum
  end,
}
