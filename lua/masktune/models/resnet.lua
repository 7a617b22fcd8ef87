--- Residual nets for large images (He et al. 2016), as torchvision has them: the same names, the stride of a bottleneck
-- in its 3x3 convolution, and so its published weights as they are. 7x7 stem with stride 2, 3x3 max pooling with stride
-- 2, four stages, the mean over all pixels, `fc`.
local blocks = require "masktune.models.parts.blocks"
local check = require "masktune.check"
local initialise = require "masktune.models.parts.initialise"
local nn = require("masktune.core").nn

local options_schema = {
  classes = { type = "integer", min = 1, default = 1000 },
  input_channels = { type = "integer", min = 1, default = 3 },
}

--- Net -> its block and how many of them each stage has.
local designs = {
  resnet18 = { block = blocks.basic, counts = { 2, 2, 2, 2 } },
  resnet34 = { block = blocks.basic, counts = { 3, 4, 6, 3 } },
  resnet50 = { block = blocks.bottleneck, counts = { 3, 4, 6, 3 } },
  resnet101 = { block = blocks.bottleneck, counts = { 3, 4, 23, 3 } },
}

local function build(o, design)
  local items = {
    { "conv1", nn.Conv2d(o.input_channels, 64, 7, { stride = 2, padding = 3, bias = false }) },
    { "bn1", nn.BatchNorm2d(64) },
    { "relu", nn.ReLU() },
    { "maxpool", nn.MaxPool2d(3, { stride = 2, padding = 1 }) },
  }
  local channels, width = 64, 64
  for stage, count in ipairs(design.counts) do
    local layer
    layer, channels = blocks.stage(design.block, channels, width, count, stage == 1 and 1 or 2, blocks.projection)
    items[#items + 1] = { "layer" .. stage, layer }
    width = 2 * width
  end
  items[#items + 1] = { "avgpool", nn.GlobalAvgPool2d() }
  items[#items + 1] = { "fc", nn.Linear(channels, o.classes) }
  return nn.Sequential(items)
end

local nets = {}

--- Builds a net; `mt.models.resnet18`, `resnet34` and `resnet101` likewise. Convolution weights start normal with
-- variance 2 / fan_out, normalisations as the identity.
-- @function masktune.models.resnet50
-- @tparam[opt] table options `classes` (1000), `input_channels` (3); images of any size from 1 x 1, meant for 224 x 224
-- @treturn Module with `cam_layer` (the last block of `layer4`) and `classes` set
for name, design in pairs(designs) do
  nets[name] = function(options)
    local o = check.options(name, options, options_schema)
    local model = build(o, design)
    initialise.kaiming_normal(model, "Conv2d", "fan_out")
    model.cam_layer = "layer4." .. design.counts[4] - 1
    model.classes = o.classes
    return model
  end
end

return { entries = nets, summary = "residual net for photos, torchvision's names (He et al. 2016)" }
