--- MobileNetV2 (Sandler et al. 2018), as torchvision has it: the same names, and so its published weights as they are.
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

--- Stages: how many times wider inside, channels, blocks, stride of the first (table 2 of the paper).
local stages = {
  { expand = 1, width = 16, count = 1, stride = 1 },
  { expand = 6, width = 24, count = 2, stride = 2 },
  { expand = 6, width = 32, count = 3, stride = 2 },
  { expand = 6, width = 64, count = 4, stride = 2 },
  { expand = 6, width = 96, count = 3, stride = 1 },
  { expand = 6, width = 160, count = 3, stride = 2 },
  { expand = 6, width = 320, count = 1, stride = 1 },
}

local published = {
  file = "mobilenet_v2-b0353104.pth",
  sha256 = "b0353104",
  url = "https://download.pytorch.org/models/",
  head = { "classifier.1.weight", "classifier.1.bias" },
  mean = pretrained.imagenet.mean,
  std = pretrained.imagenet.std,
}

--- Convolution, normalisation, ReLU6.
local function unit(inputs, outputs, kernel, stride, groups)
  return nn.Sequential {
    nn.Conv2d(inputs, outputs, kernel, { stride = stride, groups = groups, padding = (kernel - 1) // 2, bias = false }),
    nn.BatchNorm2d(outputs),
    nn.ReLU6(),
  }
end

--- An inverted bottleneck: wider, depthwise, narrower; beside a shortcut where nothing changes shape.
local function block(inputs, stage, stride)
  local inside, items = inputs * stage.expand, {}
  if stage.expand > 1 then items[1] = unit(inputs, inside, 1, 1) end
  items[#items + 1] = unit(inside, inside, 3, stride, inside)
  items[#items + 1] = nn.Conv2d(inside, stage.width, 1, { bias = false })
  items[#items + 1] = nn.BatchNorm2d(stage.width)
  local all = { { "conv", nn.Sequential(items) } }
  if stride > 1 or inputs ~= stage.width then return nn.Sequential(all) end
  all.relu = false
  return nn.Residual(all)
end

--- Builds the net. Convolution weights start normal with variance 2 / fan_out, the last layer's with deviation 0.01.
-- @function masktune.models.mobilenet_v2
-- @tparam[opt] table options `classes` (1000), `dropout` (0.2, before the last layer); `pretrained`: a file of weights,
-- or true for torchvision's, trained on ImageNet (from the cache folder, else fetched and checked); `freeze`
-- ("backbone": only `classifier` is trained). Images of any size from 1 x 1, meant for 224 x 224
-- @treturn Module with `cam_layer` (the last block of `features`) and `classes` set
local function mobilenet_v2(options)
  local o = check.options("mobilenet_v2", options, options_schema)
  local features, channels = { unit(3, STEM, 3, 2) }, STEM
  for _, stage in ipairs(stages) do
    for i = 1, stage.count do
      features[#features + 1] = block(channels, stage, i == 1 and stage.stride or 1)
      channels = stage.width
    end
  end
  features[#features + 1] = unit(channels, HEAD, 1, 1)
  local model = nn.Sequential {
    { "features", nn.Sequential(features) },
    { "pool", nn.GlobalAvgPool2d() },
    { "classifier", nn.Sequential { nn.Dropout(o.dropout), nn.Linear(HEAD, o.classes) } },
  }
  initialise.kaiming_normal(model, "Conv2d", "fan_out")
  initialise.normal(model, "Linear", 0.01)
  initialise.zero_bias(model, "Linear")
  model.cam_layer = "features." .. #features - 1
  model.classes = o.classes
  return pretrained.apply("mobilenet_v2", model, o, published)
end

return {
  entries = { mobilenet_v2 = mobilenet_v2 },
  summary = "MobileNetV2 for photos, torchvision's names (Sandler et al. 2018)",
}
