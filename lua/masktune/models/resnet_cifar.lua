--- Residual nets for small images (He et al. 2016, section 4.2): a 3x3 stem, three stages of basic blocks with 16, 32
-- and 64 channels, shortcuts without parameters, the mean over all pixels, `linear`. Parameter names:
-- `conv1, bn1, layer{1,2,3}.{0..}.{conv1,bn1,conv2,bn2}, linear`, as in the widely used PyTorch version.
local blocks = require "masktune.models.parts.blocks"
local check = require "masktune.check"
local initialise = require "masktune.models.parts.initialise"
local nn = require("masktune.core").nn

local options_schema = {
  classes = { type = "integer", min = 1, default = 10 },
  input_channels = { type = "integer", min = 1, default = 3 },
}

--- Net -> blocks in each stage; it has 6 * blocks + 2 layers.
local depths = { resnet20 = 3, resnet32 = 5, resnet44 = 7, resnet56 = 9, resnet110 = 18 }

local function build(o, count)
  local items = {
    { "conv1", nn.Conv2d(o.input_channels, 16, 3, { padding = 1, bias = false }) },
    { "bn1", nn.BatchNorm2d(16) },
    { "relu", nn.ReLU() },
  }
  local channels = 16
  for stage, width in ipairs { 16, 32, 64 } do
    local layer
    layer, channels = blocks.stage(blocks.basic, channels, width, count, stage == 1 and 1 or 2, blocks.subsample)
    items[#items + 1] = { "layer" .. stage, layer }
  end
  items[#items + 1] = { "pool", nn.GlobalAvgPool2d() }
  items[#items + 1] = { "linear", nn.Linear(channels, o.classes) }
  return nn.Sequential(items)
end

local nets = {}

--- Builds a net; `mt.models.resnet20`, `resnet44`, `resnet56` and `resnet110` likewise. Weights of convolutions and
-- `linear` start normal with variance 2 / fan_in.
-- @function masktune.models.resnet32
-- @tparam[opt] table options `classes` (10), `input_channels` (3); images of any size from 1 x 1, meant for 32 x 32
-- @treturn Module with `cam_layer` (the last block of `layer3`) and `classes` set
for name, count in pairs(depths) do
  nets[name] = function(options)
    local o = check.options(name, options, options_schema)
    local model = build(o, count)
    initialise.kaiming_normal(model, "Conv2d", "fan_in")
    initialise.kaiming_normal(model, "Linear", "fan_in")
    model.cam_layer = "layer3." .. count - 1
    model.classes = o.classes
    return model
  end
end

return { entries = nets, summary = "residual net for 32x32 images (He et al. 2016, section 4.2)" }
