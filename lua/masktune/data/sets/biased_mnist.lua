--- Biased MNIST (paper, section 3.1): is a digit below 5 or not, with a colour that says so in training and lies in
-- the biased test.
-- @module masktune.data.biased_mnist
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"

local CLASSES = 2

--- Class of a digit: 0-4 are class 1, 5-9 class 2.
local function class_of(digit) return digit < 5 and 1 or 2 end

--- For every class the positions of its images, and the labels as an int32 tensor.
local function classify(digits)
  local members, labels = { {}, {} }, {}
  for position, digit in ipairs(digits:totable()) do
    local class = class_of(digit)
    labels[position] = class
    table.insert(members[class], position)
  end
  return members, core.tensor(labels, { dtype = "int32" })
end

local function rounded(x) return math.floor(x + 0.5) end

--- How many images of each class carry the bias.
local function counts_of(split, members, ratio)
  if split == "original" then return { 0, 0 } end
  if split == "biased" then return { 0, #members[2] } end
  return { rounded(ratio * #members[1]), rounded((1 - ratio) * #members[2]) }
end

--- uint8 {N}: 1 for exactly counts[class] images of each class: its first ones, or a random choice that seed fixes.
local function choose(members, counts, size, mark, seed)
  local marks = {}
  for position = 1, size do
    marks[position] = 0
  end
  local generator = core.generator(seed)
  for class = 1, CLASSES do
    local order = mark == "random" and generator:permutation(#members[class]):totable()
    for i = 1, counts[class] do
      marks[members[class][order and order[i] or i]] = 1
    end
  end
  return core.tensor(marks, { dtype = "uint8" })
end

local byte_rule = { type = "integer", min = 0, max = 255 }

--- Builds one split of biased MNIST from grey digits.
-- Splits: "train" marks round(ratio * n) images of class 1 and round((1 - ratio) * n) of class 2; "original" marks
-- none; "biased" marks all of class 2 and none of class 1. Which images: the first ones of each class (`mark` =
-- "first", the reference's way: the exceptions then come from few writers, and the shortcut is harder to unlearn) or a
-- "random" choice that `seed` fixes.
-- Biases: "square" paints a size x size square in the top-left corner, with `squares = 2` in the top-right corner too;
-- "background" paints the pixels that are 0, "foreground" the others.
-- @tparam table options `source` (a data set with images uint8 {N,H,W,1} and digits {N} in 0..9, as of mt.data.mnist
-- or mt.data.synthetic_digits), `split` ("train"), `bias` ("square"), `squares` (1 or 2; 1), `ratio` (0.99), `size`
-- (4), `color` ({0, 0, 255}, blue), `mark` ("first"), `seed` (0)
-- @treturn table data set: images uint8 {N,H,W,3}, labels int32 {N} in 1..2, digits int32 {N}, biased uint8 {N} (1
-- where the image carries the bias), attribute int32 {N} = biased + 1, group int32 {N} = (label - 1) * 2 + attribute
local function biased_mnist(options)
  local o = check.options("mt.data.biased_mnist", options, {
    source = { type = "table" },
    split = { choices = { "train", "original", "biased" }, default = "train" },
    bias = { choices = { "square", "background", "foreground" }, default = "square" },
    squares = { type = "integer", min = 1, max = 2, default = 1 },
    ratio = { type = "number", min = 0, max = 1, default = 0.99 },
    size = { type = "integer", min = 1, default = 4 },
    color = { type = "list", of = byte_rule, min_length = 3, default = { 0, 0, 255 } },
    mark = { choices = { "first", "random" }, default = "first" },
    seed = { type = "integer", default = 0 },
  })
  local source = dataset.check("mt.data.biased_mnist", "option 'source'", o.source)
  check.argument("mt.data.biased_mnist", "source.digits", source.digits, { type = "tensor" })
  local members, labels = classify(source.digits)
  local biased = choose(members, counts_of(o.split, members, o.ratio), #labels, o.mark, o.seed)
  local attribute = biased:to("int32") + 1
  return dataset.named {
    images = core.image.paint(source.images, biased, {
      bias = o.bias, squares = o.squares, size = o.size, color = o.color,
    }),
    labels = labels,
    digits = source.digits,
    biased = biased,
    attribute = attribute,
    group = (labels - 1) * 2 + attribute,
    group_names = { "below 5, plain", "below 5, biased", "from 5, plain", "from 5, biased" },
    classes = CLASSES,
    name = ("biased %s (%s)"):format(source.name or "digits", o.split),
    split = o.split,
  }
end

return {
  entries = { biased_mnist = biased_mnist },
  summary = "digits below 5 or not, with a blue square that gives the class away (paper, 3.1)",
}
