--- The small convolutional net of the biased-MNIST experiment (the MaskTune authors' reference code).
-- Parameter names are the reference's: `backbone.{0,1,3,4,7,8,10,11}.*` and `linear.{0,1,3}.*`.
local check = require "masktune.check"
local nn = require("masktune.core").nn

local options_schema = {
  classes = { type = "integer", min = 1, default = 2 },
  input = { type = "list", of = { type = "integer", min = 1 }, min_length = 3, default = { 28, 28, 3 } },
}

local hidden = 256

--- Two convolutions and a pooling, items of a Sequential.
local function add_stage(items, inputs, outputs)
  local channels = inputs
  for _ = 1, 2 do
    items[#items + 1] = nn.Conv2d(channels, outputs, 3)
    items[#items + 1] = nn.BatchNorm2d(outputs)
    items[#items + 1] = nn.ReLU()
    channels = outputs
  end
  items[#items + 1] = nn.MaxPool2d(2)
end

--- What two unpadded 3x3 convolutions and a pooling of 2 leave of a height or width.
local function stage_size(size) return (size - 4) // 2 end

--- Builds the net: 3x3 convolutions without padding to 16, 16, pooling, 32, 32, pooling; linear to 256, linear to
-- the classes; batch normalisation and ReLU after all but the last.
-- @function masktune.models.small_cnn
-- @tparam[opt] table options `classes` (2); `input`: {height, width, channels} of the images ({28, 28, 3}), at least
-- 16 x 16
-- @treturn Module with `cam_layer` (the last ReLU before the last pooling) and `classes` set
local function small_cnn(options)
  local o = check.options("small_cnn", options, options_schema)
  local height, width, channels = table.unpack(o.input)
  local rows, columns = stage_size(stage_size(height)), stage_size(stage_size(width))
  if #o.input ~= 3 or rows < 1 or columns < 1 then
    local got = table.concat(o.input, ", ")
    local message = "small_cnn: option 'input' is {%s}, expected {height, width, channels} of at least {16, 16, 1}"
    check.fail(message:format(got))
  end
  local backbone = {}
  add_stage(backbone, channels, 16)
  add_stage(backbone, 16, 32)
  local model = nn.Sequential{
    { "backbone", nn.Sequential(backbone) },
    { "flatten", nn.Flatten() },
    { "linear", nn.Sequential{
      nn.Linear(32 * rows * columns, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, o.classes),
    } },
  }
  model.cam_layer = "backbone.12"
  model.classes = o.classes
  return model
end

return { entries = { small_cnn = small_cnn }, summary = "the small net of the biased-MNIST experiment" }
