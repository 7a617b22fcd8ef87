--- What every image of a data set goes through before a net sees it: a list of steps, the same for each image, in
-- training, evaluation, heatmaps and selective prediction alike. It is a field of the data set (`set.preprocess`), and
-- comes last: masks and augmentation act on pixels in [0,1].
-- @classmod masktune.Preprocess
local check = require "masktune.check"
local core = require "masktune.core"
local steps = require "masktune.data.steps"

local channel_values = { type = "list", of = { type = "number", min = -1e6, max = 1e6 }, min_length = 1 }
local positive_values = { type = "list", of = { type = "number", min = 1e-12, max = 1e6 }, min_length = 1 }
local required_size = { type = "any" }

local function center_crop(images, step)
  local shape, size = images:shape(), step.size
  for axis = 1, 2 do
    if size[axis] > shape[axis + 1] then
      error(("preprocess: center_crop to %dx%d, but the images are %dx%d"):format(size[1], size[2], shape[2],
        shape[3]), 0)
    end
    images = images:narrow(axis + 1, (shape[axis + 1] - size[axis]) // 2 + 1, size[axis])
  end
  return images
end

--- Kind -> as masktune.data.steps wants it, and `run` (images {B,H,W,C}, step) -> images.
local kinds = {
  resize = {
    schema = { size = required_size },
    expand = { size = steps.sides(1) },
    run = function(images, step) return core.image.resize(images, { size = step.size, antialias = true }) end,
  },
  center_crop = { schema = { size = required_size }, expand = { size = steps.sides(1) }, run = center_crop },
  normalize = {
    schema = { mean = channel_values, std = positive_values },
    check = function(step, refuse)
      if #step.std ~= #step.mean then refuse("std", #step.mean .. " numbers (as many as 'mean')") end
    end,
    run = function(images, step) return core.image.normalize(images, { mean = step.mean, std = step.std }) end,
  },
}

local Preprocess = { __name = "masktune.Preprocess" }
Preprocess.__index = Preprocess

--- The steps as one line of text, for settings and reports.
-- @treturn string
function Preprocess:__tostring() return steps.text(self.steps, kinds) end

--- Prepares images.
-- @tparam Tensor images float32 {B,H,W,C} in [0,1]
-- @treturn Tensor float32 {B,h,w,C}
function Preprocess:__call(images)
  check.argument("masktune.Preprocess", "images", images, { type = "tensor" })
  for _, step in ipairs(self.steps) do
    images = kinds[step[1]].run(images, step)
  end
  return images
end

--- The step, where there is but one and it normalises: so much the core can do to images one by one, where they are
-- read.
-- @treturn ?table as core.image.augment takes it
function Preprocess:only_normalizes()
  local first = self.steps[1]
  if #self.steps == 1 and first[1] == "normalize" then return first end
end

--- Makes what a data set has as `preprocess` out of steps, which are done in the list's order:
--
-- * `{"resize", size = 224}`: to that height and width (or {height, width}), bilinear and antialiased
-- * `{"center_crop", size = 224}`: the middle
-- * `{"normalize", mean = {...}, std = {...}}`: (x - mean) / std, one number a channel
--
-- A function (images) -> images does as well, but cannot be told from another when a run is resumed.
-- @usage set.preprocess = mt.data.preprocess { { "normalize", mean = { 0.485, 0.456, 0.406 },
--   std = { 0.229, 0.224, 0.225 } } }
-- @tparam table list
-- @treturn Preprocess callable; tostring gives its steps in full
local function preprocess(list)
  return setmetatable({ steps = steps.checked("mt.data.preprocess", list, kinds) }, Preprocess)
end

return preprocess
