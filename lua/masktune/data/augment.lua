--- Random changes of the training images: a list of steps, made in that order. For training alone; what every image
-- must go through, in evaluation as well, is the data set's `preprocess` (masktune.data.preprocess).
-- What happens to an image follows from the seed, the epoch, the image's position in the data set and the step's place
-- in the list: a resumed run sees what an uninterrupted one would have seen, at any thread count and in any batches.
-- @classmod masktune.Augment
local check = require "masktune.check"
local core = require "masktune.core"
local steps = require "masktune.data.steps"

local WHERE = "mt.data.augment"

local any = { type = "any", optional = true }
local interpolation = { choices = { "nearest", "bilinear" }, default = "nearest" }

--- Kind -> as masktune.data.steps wants it.
local kinds = {
  horizontal_flip = { schema = { probability = { type = "number", min = 0, max = 1, default = 0.5 } } },
  affine = {
    schema = { degrees = any, shift = any, interpolation = interpolation },
    expand = {
      degrees = steps.range(0, -360, 360),
      shift = steps.two_numbers(0, 1, steps.twice, "number in [0, 1] or {vertical, horizontal}"),
    },
  },
  crop = { schema = { size = any, padding = any }, expand = { size = steps.sides(1), padding = steps.sides(0) } },
  resized_crop = {
    schema = { size = any, scale = any, ratio = any },
    expand = { size = steps.sides(1), scale = steps.range(1, 1e-6, 1), ratio = steps.range(1, 1e-3, 1e3) },
  },
  color_jitter = {
    schema = { brightness = any, contrast = any, saturation = any, hue = any },
    expand = {
      brightness = steps.range(1, 0, 1e6), contrast = steps.range(1, 0, 1e6), saturation = steps.range(1, 0, 1e6),
      hue = steps.range(0, -0.5, 0.5),
    },
  },
}

local Augment = { __name = "masktune.Augment" }
Augment.__index = Augment

--- The steps as one line of text, for settings and reports.
-- @treturn string
function Augment:__tostring() return steps.text(self.steps, kinds) end

--- Transforms the images of a batch; a loader with this as its `augment` calls it so.
-- @tparam Tensor images float32 {B,H,W,C} in [0,1]
-- @tparam table batch the record they come from: `indices`, int32 {B}, are the images' positions in the data set
-- @tparam integer epoch
-- @tparam[opt=0] integer seed used where the augmentation has none of its own
-- @treturn Tensor float32 {B,h,w,C}
function Augment:__call(images, batch, epoch, seed)
  epoch = check.argument("masktune.Augment", "epoch", epoch, { type = "integer", min = 0 })
  return core.image.augment(images, batch.indices, self.seed or seed or 0, epoch, self.steps)
end

--- What the core needs to make the same changes to images one by one, where they are read.
-- @treturn {table,...} steps as core.image.augment takes them
-- @treturn ?integer seed, where it has one of its own
function Augment:core_steps() return self.steps, self.seed end

--- Refuses `normalize`, which once was a step here: images were then normalised in training and raw in evaluation.
local function refuse_normalize(list)
  for i, step in ipairs(type(list) == "table" and list or {}) do
    if type(step) == "table" and step[1] == "normalize" then
      check.fail("%s: step %d: normalize is no random change; every image needs it: "
        .. "set.preprocess = mt.data.preprocess{{\"normalize\", mean = ..., std = ...}}", WHERE, i)
    end
  end
end

--- Makes what mt.data.loader and mt.train take as `augment` out of steps, which are done in the list's order:
--
-- * `{"horizontal_flip", probability = 0.5}`
-- * `{"affine", degrees = 15, shift = 0.1, interpolation = "nearest"}`: turned about the centre by up to `degrees` (or
--   {low, high}), then shifted by up to that share of the height and width (or {vertical, horizontal}), in whole
--   pixels; zeros come in. "nearest" as torchvision's RandomAffine, or "bilinear"
-- * `{"crop", size = 32, padding = 4}`: zeros around, then a box at random (`size`: that of the images)
-- * `{"resized_crop", size = 32, scale = {0.08, 1}, ratio = {3/4, 4/3}}`: a box with that share of the area and that
--   width / height (drawn on a logarithmic scale), brought to `size` (that of the images), bilinear and antialiased
-- * `{"color_jitter", brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1}`: factors from 1 - b to 1 + b (or
--   {low, high}), the hue turned by up to that share of the circle; in random order. For 1 or 3 channels in [0,1]
--
-- All draws are uniform.
-- @usage mt.data.loader { dataset = set, augment = mt.data.augment { { "horizontal_flip" },
--   { "affine", degrees = 15, shift = 0.1 } } }
-- @tparam table list list of steps; `seed` (the loader's)
-- @treturn Augment callable; tostring gives its steps in full
local function augment(list)
  refuse_normalize(list)
  local self = { steps = steps.checked(WHERE, list, kinds) }
  for name, value in pairs(list) do
    if name == "seed" then
      self.seed = check.argument(WHERE, "seed", value, { type = "integer" })
    elseif math.type(name) ~= "integer" then
      check.fail("%s: unknown option %s, expected steps and seed", WHERE, check.describe(name))
    end
  end
  return setmetatable(self, Augment)
end

return augment
