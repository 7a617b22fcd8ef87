--- Residual nets for large images (He et al. 2016), as torchvision has them: the same names, the stride of a bottleneck
-- in its 3x3 convolution, and so its published weights as they are. 7x7 stem with stride 2, 3x3 max pooling with stride
-- 2, four stages, the mean over all pixels, `fc`.
local blocks = require "masktune.models.parts.blocks"
local check = require "masktune.check"
local initialise = require "masktune.models.parts.initialise"
local nn = require("masktune.core").nn
local pretrained = require "masktune.models.parts.pretrained"
local tables = require "masktune.tables"

local options_schema = tables.merged(pretrained.schema, {
  classes = { type = "integer", min = 1, default = 1000 },
  input_channels = { type = "integer", min = 1, default = 3 },
})

-- Net -> its block, how many of them each stage has, and the beginning of its published weights' SHA-256.
local designs = {
  resnet18 = { block = blocks.basic, counts = { 2, 2, 2, 2 }, sha256 = "f37072fd" },
  resnet34 = { block = blocks.basic, counts = { 3, 4, 6, 3 }, sha256 = "b627a593" },
  resnet50 = { block = blocks.bottleneck, counts = { 3, 4, 6, 3 }, sha256 = "0676ba61" },
  resnet101 = { block = blocks.bottleneck, counts = { 3, 4, 23, 3 }, sha256 = "63fe2227" },
}

--- torchvision's weights of a net (its first ones, trained on ImageNet).
local function published(name, design)
  return {
    file = ("%s-%s.pth"):format(name, design.sha256),
    sha256 = design.sha256,
    url = "https://download.pytorch.org/models/",
    head = { "fc.weight", "fc.bias" },
    mean = pretrained.imagenet.mean,
    std = pretrained.imagenet.std,
  }
end

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
-- @tparam[opt] table options `classes` (1000), `input_channels` (3); `pretrained`: a file of weights, or true for
-- torchvision's, trained on ImageNet (from the cache folder, else fetched and checked; a head for other classes starts
-- anew, and that is said); `freeze` ("backbone": only the head `fc` is trained). Images of any size from 1 x 1, meant
-- for 224 x 224
-- @treturn Module with `cam_layer` (the last block of `layer4`) and `classes` set
for name, design in pairs(designs) do
  nets[name] = function(options)
    local o = check.options(name, options, options_schema)
    local model = build(o, design)
    initialise.kaiming_normal(model, "Conv2d", "fan_out")
    model.cam_layer = "layer4." .. design.counts[4] - 1
    model.classes = o.classes
    return pretrained.apply(name, model, o, published(name, design))
  end
end

return { entries = nets, summary = "residual net for photos, torchvision's names (He et al. 2016)" }
