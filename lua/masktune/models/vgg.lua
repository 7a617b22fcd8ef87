--- VGG-16 with batch normalisation (Simonyan and Zisserman 2015, configuration D) for small images: 13 convolutions of
-- 3x3 in five groups, each group followed by a pooling, then a classifier with one hidden layer of 512.
--
-- The MaskTune authors' code takes the variant that the selective-classification papers share (SelectiveNet and its
-- successors): convolution, ReLU, *then* batch normalisation, with whole channels dropped between the convolutions;
-- its CAM layer is the last of these normalisations. torchvision's has the normalisation before the ReLU and drops
-- nothing; with it, the published weights of `features` load as they are, and the CAM layer is the last ReLU. Parameter
-- names: `features.N.*` (N counts every layer, so it differs between the two) and `classifier.{0,2,4}.*`.
local check = require "masktune.check"
local initialise = require "masktune.models.parts.initialise"
local nn = require("masktune.core").nn

local options_schema = {
  classes = { type = "integer", min = 1, default = 10 },
  input = { type = "list", of = { type = "integer", min = 1 }, min_length = 3, default = { 32, 32, 3 } },
  layout = { choices = { "reference", "torchvision" }, default = "reference" },
}

--- Groups of convolutions: their width, how many, and how often the reference drops a channel between two of them.
local groups = {
  { width = 64, count = 2, drop = 0.3 },
  { width = 128, count = 2, drop = 0.4 },
  { width = 256, count = 3, drop = 0.4 },
  { width = 512, count = 3, drop = 0.4 },
  { width = 512, count = 3, drop = 0.4 },
}
local hidden, last_drop = 512, 0.5
local shrink = 1 << #groups

local layouts = {}

function layouts.reference(items, inputs, group, is_last)
  items[#items + 1] = nn.Conv2d(inputs, group.width, 3, { padding = 1 })
  items[#items + 1] = nn.ReLU()
  items[#items + 1] = nn.BatchNorm2d(group.width)
  if not is_last then items[#items + 1] = nn.Dropout2d(group.drop) end
end

function layouts.torchvision(items, inputs, group)
  items[#items + 1] = nn.Conv2d(inputs, group.width, 3, { padding = 1 })
  items[#items + 1] = nn.BatchNorm2d(group.width)
  items[#items + 1] = nn.ReLU()
end

--- The layers in front of the classifier, and the name of the last before the last pooling.
local function features(channels, layout)
  local items, cam_layer = {}, nil
  for _, group in ipairs(groups) do
    for i = 1, group.count do
      layouts[layout](items, channels, group, i == group.count)
      channels = group.width
    end
    cam_layer = "features." .. #items - 1
    items[#items + 1] = nn.MaxPool2d(2)
  end
  if layout == "reference" then items[#items + 1] = nn.Dropout2d(last_drop) end
  return nn.Sequential(items), cam_layer
end

local function classifier(inputs, classes)
  return nn.Sequential {
    nn.Linear(inputs, hidden), nn.ReLU(), nn.BatchNorm1d(hidden), nn.Dropout(last_drop), nn.Linear(hidden, classes),
  }
end

local nets = {}

--- Builds the net. Convolution weights start normal with variance 2 / fan_out, linear ones with deviation 0.01,
-- biases at zero.
-- @function masktune.models.vgg16_bn
-- @tparam[opt] table options `classes` (10); `input`: {height, width, channels} of the images ({32, 32, 3}), at least
-- 32 x 32; `layout`: "reference" (the default) or "torchvision", see above
-- @treturn Module with `cam_layer` (what the last pooling gets) and `classes` set
function nets.vgg16_bn(options)
  local o = check.options("vgg16_bn", options, options_schema)
  local height, width, channels = table.unpack(o.input)
  local rows, columns = height // shrink, width // shrink
  if #o.input ~= 3 or rows < 1 or columns < 1 then
    local got = table.concat(o.input, ", ")
    local text = "vgg16_bn: option 'input' is {%s}, expected {height, width, channels} of at least {32, 32, 1}"
    check.fail(text:format(got))
  end
  local layers, cam_layer = features(channels, o.layout)
  local model = nn.Sequential {
    { "features", layers },
    { "flatten", nn.Flatten() },
    { "classifier", classifier(groups[#groups].width * rows * columns, o.classes) },
  }
  initialise.kaiming_normal(model, "Conv2d", "fan_out")
  initialise.normal(model, "Linear", 0.01)
  initialise.zero_bias(model, "Conv2d")
  initialise.zero_bias(model, "Linear")
  model.cam_layer = cam_layer
  model.classes = o.classes
  return model
end

return { entries = nets, summary = "VGG-16 with batch normalisation (Simonyan and Zisserman 2015)" }
