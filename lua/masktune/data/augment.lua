--- Random changes of the training images: a list of steps, made in that order.
-- What happens to an image follows from the seed, the epoch, the image's position in the data set and the step's place
-- in the list: a resumed run sees what an uninterrupted one would have seen, at any thread count and in any batches.
-- @classmod masktune.Augment
local check = require "masktune.check"
local core = require "masktune.core"

local WHERE = "mt.data.augment"
local MOST_STEPS = 16
local MOST_PIXELS = 65536

local Augment = {}
Augment.__index = Augment
Augment.__name = "masktune.Augment"

-- ---- options that are one number or two ----

local function refuse(where, name, expected, value)
  local got = type(value) == "table" and "{" .. table.concat(value, ", ") .. "}" or check.describe(value)
  error(("%s: option '%s': %s expected, got %s"):format(where, name, expected, got), 0)
end

--- A list of two numbers in [low, high]; one number is made a list by `expand`.
local function two_numbers(low, high, expand, expected)
  return function(where, name, value)
    local list = type(value) == "number" and expand(value) or value
    local good = type(list) == "table" and #list == 2
    for i = 1, good and 2 or 0 do
      good = good and type(list[i]) == "number" and list[i] >= low and list[i] <= high
    end
    if not good then refuse(where, name, expected, value) end
    return { list[1], list[2] }
  end
end

--- {low, high}, where a number d stands for middle - d to middle + d, cut off at `least`.
local function range(middle, least, most)
  local pair = two_numbers(least, most, function(d)
    return d >= 0 and { math.max(middle - d, least), middle + d } or nil
  end, ("number >= 0 or {low, high} in [%g, %g]"):format(least, most))
  return function(where, name, value)
    local ends = pair(where, name, value)
    if ends[1] > ends[2] then refuse(where, name, "{low, high} with low <= high", value) end
    return ends
  end
end

local function twice(value) return { value, value } end

--- {height, width} of whole numbers.
local function sides(least)
  local pair = two_numbers(least, MOST_PIXELS, twice,
    ("integer in [%d, %d] or {height, width}"):format(least, MOST_PIXELS))
  return function(where, name, value)
    local list = pair(where, name, value)
    local height, width = math.tointeger(list[1]), math.tointeger(list[2])
    if not (height and width) then refuse(where, name, "integer or {height, width}", value) end
    return { height, width }
  end
end

-- ---- kinds of steps ----

local any = { type = "any", optional = true }
local interpolation = { choices = { "nearest", "bilinear" }, default = "nearest" }
local channel_values = { type = "list", of = { type = "number", min = -1e6, max = 1e6 }, min_length = 1 }
local positive_values = { type = "list", of = { type = "number", min = 1e-12, max = 1e6 }, min_length = 1 }

--- Kind -> `schema` of its options, and those that `expand` turns into two numbers.
local kinds = {
  horizontal_flip = { schema = { probability = { type = "number", min = 0, max = 1, default = 0.5 } }, expand = {} },
  affine = {
    schema = { degrees = any, shift = any, interpolation = interpolation },
    expand = {
      degrees = range(0, -360, 360),
      shift = two_numbers(0, 1, twice, "number in [0, 1] or {vertical, horizontal}"),
    },
  },
  crop = { schema = { size = any, padding = any }, expand = { size = sides(1), padding = sides(0) } },
  resized_crop = {
    schema = { size = any, scale = any, ratio = any },
    expand = { size = sides(1), scale = range(1, 1e-6, 1), ratio = range(1, 1e-3, 1e3) },
  },
  color_jitter = {
    schema = { brightness = any, contrast = any, saturation = any, hue = any },
    expand = {
      brightness = range(1, 0, 1e6), contrast = range(1, 0, 1e6), saturation = range(1, 0, 1e6),
      hue = range(0, -0.5, 0.5),
    },
  },
  normalize = { schema = { mean = channel_values, std = positive_values }, expand = {} },
}

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

--- A step with all its options checked and numbers expanded.
local function checked_step(step, place)
  local kind = type(step) == "table" and kinds[step[1]]
  if not kind then
    local got = check.describe(type(step) == "table" and step[1] or step)
    error(("%s: step %d: {kind, option = value, ...} with a kind of %s expected, got %s"):format(WHERE, place,
      table.concat(sorted_keys(kinds), ", "), got), 0)
  end
  local options = {}
  for name, value in pairs(step) do
    if name ~= 1 then options[name] = value end
  end
  local where = ("%s: step %d (%s)"):format(WHERE, place, step[1])
  local checked = check.options(where, options, kind.schema)
  for name, expand in pairs(kind.expand) do
    if checked[name] ~= nil then checked[name] = expand(where, name, checked[name]) end
  end
  if checked.std and #checked.std ~= #checked.mean then
    refuse(where, "std", #checked.mean .. " numbers (as many as 'mean')", checked.std)
  end
  checked[1] = step[1]
  return checked
end

-- ---- use ----

local function option_text(value)
  return type(value) == "table" and "{" .. table.concat(value, ", ") .. "}" or tostring(value)
end

--- The steps as one line of text, for settings and reports.
-- @treturn string
function Augment:__tostring()
  local steps = {}
  for i, step in ipairs(self.steps) do
    local options = {}
    for _, name in ipairs(sorted_keys(kinds[step[1]].schema)) do
      if step[name] ~= nil then options[#options + 1] = name .. " = " .. option_text(step[name]) end
    end
    steps[i] = ("%s(%s)"):format(step[1], table.concat(options, ", "))
  end
  return table.concat(steps, ", ")
end

--- Transforms a batch; a loader with this as its `augment` calls it so.
-- @tparam Tensor images float32 {B,H,W,C} in [0,1]
-- @param labels not looked at
-- @tparam Tensor indices int32 {B}: the images' positions in the data set
-- @tparam integer epoch
-- @tparam[opt=0] integer seed used where the augmentation has none of its own
-- @treturn Tensor float32 {B,h,w,C}
function Augment:__call(images, labels, indices, epoch, seed) -- luacheck: no unused args
  epoch = check.argument("masktune.Augment", "epoch", epoch, { type = "integer", min = 0 })
  return core.image.augment(images, indices, self.seed or seed or 0, epoch, self.steps)
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
-- * `{"normalize", mean = {...}, std = {...}}`: the same for every image, one number a channel
--
-- All draws are uniform.
-- @usage mt.data.loader { dataset = set, augment = mt.data.augment { { "horizontal_flip" },
--   { "affine", degrees = 15, shift = 0.1 } } }
-- @tparam table steps list of steps; `seed` (the loader's)
-- @treturn Augment callable; tostring gives its steps in full
local function augment(steps)
  check.argument(WHERE, "steps", steps, { type = "list", of = { type = "table" } })
  if #steps > MOST_STEPS then
    error(("%s: %d steps, expected at most %d"):format(WHERE, #steps, MOST_STEPS), 2)
  end
  local self = { steps = {} }
  for name, value in pairs(steps) do
    if name == "seed" then
      self.seed = check.argument(WHERE, "seed", value, { type = "integer" })
    elseif math.type(name) ~= "integer" then
      error(("%s: unknown option %s, expected steps and seed"):format(WHERE, check.describe(name)), 2)
    end
  end
  for i, step in ipairs(steps) do
    self.steps[i] = checked_step(step, i)
  end
  return setmetatable(self, Augment)
end

return augment
