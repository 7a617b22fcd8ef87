--- The blocks of residual nets (He et al. 2016) with PyTorch's names, as functions (inputs, width, stride, shortcut)
-- that give a block and how many channels leave it. shortcut(inputs, outputs, stride) makes the module beside the
-- convolutions where the block changes the shape.
-- @module masktune.models.parts.blocks
local nn = require("masktune.core").nn

local blocks = {}

local function shortcut_for(shortcut, inputs, outputs, stride)
  return (stride ~= 1 or inputs ~= outputs) and shortcut(inputs, outputs, stride) or nil
end

local function conv3x3(inputs, outputs, stride)
  return nn.Conv2d(inputs, outputs, 3, { stride = stride, padding = 1, bias = false })
end

local function conv1x1(inputs, outputs, stride)
  return nn.Conv2d(inputs, outputs, 1, { stride = stride, bias = false })
end

--- Two 3x3 convolutions, the first with the stride.
function blocks.basic(inputs, width, stride, shortcut)
  return nn.Residual {
    { "conv1", conv3x3(inputs, width, stride) },
    { "bn1", nn.BatchNorm2d(width) },
    { "relu", nn.ReLU() },
    { "conv2", conv3x3(width, width, 1) },
    { "bn2", nn.BatchNorm2d(width) },
    downsample = shortcut_for(shortcut, inputs, width, stride),
  }, width
end

--- 1x1 down to `width`, 3x3 with the stride, 1x1 up to four times as many channels.
function blocks.bottleneck(inputs, width, stride, shortcut)
  local outputs = 4 * width
  return nn.Residual {
    { "conv1", conv1x1(inputs, width, 1) },
    { "bn1", nn.BatchNorm2d(width) },
    { "relu1", nn.ReLU() },
    { "conv2", conv3x3(width, width, stride) },
    { "bn2", nn.BatchNorm2d(width) },
    { "relu2", nn.ReLU() },
    { "conv3", conv1x1(width, outputs, 1) },
    { "bn3", nn.BatchNorm2d(outputs) },
    downsample = shortcut_for(shortcut, inputs, outputs, stride),
  }, outputs
end

--- The learned shortcut (option B): a 1x1 convolution and a batch normalisation.
function blocks.projection(inputs, outputs, stride)
  return nn.Sequential { conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs) }
end

--- The shortcut without parameters (option A): every stride-th pixel, new channels zero.
function blocks.subsample(inputs, outputs, stride)
  return nn.Shortcut(inputs, outputs, { stride = stride })
end

--- `count` blocks in a row, the first with the stride, as a Sequential; and how many channels leave it.
function blocks.stage(block, inputs, width, count, stride, shortcut)
  local items, channels = {}, inputs
  for i = 1, count do
    items[i], channels = block(channels, width, i == 1 and stride or 1, shortcut)
  end
  return nn.Sequential(items), channels
end

return blocks
