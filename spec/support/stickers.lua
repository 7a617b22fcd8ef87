--- Photo-like images with a planted shortcut: discs and crosses of any colour, size and place before a blurred, noisy
-- background; a yellow sticker on most images of one class.
local mt = require "masktune"

local stickers = {}

local CLASSES = { "cross", "disc" }

--- 1 inside of the shape, float32 {S,S,1}.
local function shape_of(class, size, row, column, radius)
  local at = mt.arange(1, size + 1)
  local y, x = (at - row):reshape(size, 1), (at - column):reshape(1, size)
  local inside
  if class == 2 then
    inside = (y ^ 2 + x ^ 2):le(radius ^ 2)
  else
    local thick, y_in, x_in = radius / 3, y:abs(), x:abs()
    inside = (y_in:le(thick) * x_in:le(radius) + x_in:le(thick) * y_in:le(radius)):ge(1)
  end
  return inside:to("float32"):reshape(size, size, 1)
end

local function color(generator, low, high)
  return mt.tensor({ generator:uniform(), generator:uniform(), generator:uniform() }) * (high - low) + low
end

--- One image, float32 {S,S,3} in [0,1]; `sticker`: nil, or {row, column}, whose side is `side`.
local function image(generator, class, size, sticker, side)
  local background = mt.image.resize(mt.rand({ 1, 4, 4, 3 }, { generator = generator }), { size = size })[1] * 0.5
  local radius = size * (0.18 + 0.1 * generator:uniform())
  local function middle() return radius + (size - 2 * radius) * generator:uniform() end
  local mask = shape_of(class, size, middle(), middle(), radius)
  local picture = background * (1 - mask) + mask * color(generator, 0.4, 0.9)
  picture = picture + (mt.rand({ size, size, 3 }, { generator = generator }) - 0.5) * 0.15
  picture = picture:clamp(0, 1)
  if sticker then
    local at = mt.arange(1, size + 1)
    local rows = at:ge(sticker[1]) * at:lt(sticker[1] + side)
    local columns = at:ge(sticker[2]) * at:lt(sticker[2] + side)
    local patch = (rows:reshape(size, 1) * columns:reshape(1, size)):to("float32"):reshape(size, size, 1)
    picture = picture * (1 - patch) + patch * mt.tensor { 1, 0.9, 0.05 }
  end
  return picture
end

--- A data set. Every second image is a disc.
-- @tparam table o `count`, `seed`, `size` (48), `share` of the images of class `class` (1) that have the sticker
-- (0.95), `place`: "corner" (bottom right) or "any"
function stickers.data(o)
  local generator, size = mt.generator(o.seed), o.size or 48
  local side = size // 5
  local images, labels, marks = {}, {}, {}
  for n = 1, o.count do
    local class = n % 2 + 1
    local marked = class == (o.class or 1) and generator:uniform() < (o.share or 0.95)
    local last = size - side
    local at = o.place == "any" and { generator:integer(1, last), generator:integer(1, last) } or { last, last }
    images[n] = (image(generator, class, size, marked and at, side) * 255):to("uint8")
    labels[n], marks[n] = class, marked and 1 or 0
  end
  return {
    images = mt.stack(images, 1), labels = mt.tensor(labels, { dtype = "int32" }), classes = 2,
    marked = mt.tensor(marks, { dtype = "uint8" }), class_names = CLASSES, name = "stickers",
  }
end

--- Writes a data set as JPEG files, a folder a class, of mixed sizes.
function stickers.write(set, folder)
  local generator = mt.generator(7)
  for n, label in ipairs(set.labels:totable()) do
    local path = ("%s/%s/img%04d.jpg"):format(folder, set.class_names[label], n)
    if n <= 2 then mt.make_directory(path:match("^(.*)/")) end
    local size = set.images:size(2) + 8 * generator:integer(0, 3)
    mt.image.write_jpeg(path, mt.image.resize(set.images:narrow(1, n, 1), { size = size })[1], { quality = 92 })
  end
end

return stickers
