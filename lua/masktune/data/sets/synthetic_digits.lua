--- Digits drawn by our own code, for where MNIST cannot be had. They are not MNIST, and the data set's name says so.
-- Each digit is a skeleton of lines and arcs in a unit box (x to the right, y down); an image bends, slants, scales,
-- turns and shifts a skeleton at random and draws it with a round pen of random width. How much, is set so that they
-- are about as hard to tell apart as MNIST's: for the nearest class mean, for the nearest of 200 to 6,000 images, and
-- for a linear classifier (the specs measure it). Easier digits compete with any shortcut, and show nothing of it.
-- @module masktune.data.synthetic_digits
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"

local SIZE = 28
local CENTRE = (SIZE - 1) / 2

local function line(...) return { points = { ... } } end

--- Part of an ellipse; angles in degrees, 0 to the right, 90 down.
local function arc(cx, cy, rx, ry, from, to) return { cx = cx, cy = cy, rx = rx, ry = ry, from = from, to = to } end

--- Digit -> ways of writing it; each is a list of strokes.
local skeletons = {
  [0] = { { arc(.5, .5, .36, .5, 0, 360) } },
  {
    { line(.5, 0, .5, 1) },
    { line(.28, .22, .54, 0, .54, 1) },
    { line(.28, .22, .54, 0, .54, 1), line(.28, 1, .8, 1) },
  },
  {
    { arc(.47, .29, .34, .29, 195, 395), line(.75, .46, .14, 1, .88, 1) },
    {
      arc(.47, .29, .34, .29, 195, 395), line(.75, .46, .3, .9),
      arc(.27, .85, .14, .13, 0, 300), line(.34, .76, .92, 1),
    },
  },
  {
    { arc(.44, .25, .34, .25, 200, 450), arc(.44, .74, .4, .26, 270, 510) },
    { line(.14, 0, .8, 0, .44, .4), arc(.44, .7, .38, .3, 270, 510) },
  },
  {
    { line(.58, 0, .1, .64, .92, .64), line(.68, .36, .66, 1) },
    { line(.16, 0, .12, .5, .84, .5), line(.84, 0, .82, 1) },
  },
  { { line(.86, 0, .27, 0, .2, .44), arc(.44, .69, .38, .31, 230, 510) } },
  {
    { arc(.86, .72, .7, .72, 255, 180), arc(.5, .72, .34, .28, 180, 540) },
    { line(.62, 0, .22, .56), arc(.5, .71, .34, .29, 200, 560) },
  },
  {
    { line(.1, .02, .86, .02, .4, 1) },
    { line(.1, .02, .86, .02, .4, 1), line(.32, .52, .8, .5) },
  },
  { { arc(.5, .25, .29, .25, 0, 360), arc(.5, .75, .35, .25, 0, 360) } },
  {
    { arc(.46, .3, .33, .3, 0, 360), line(.79, .3, .76, 1) },
    { arc(.46, .3, .33, .3, 0, 360), arc(.3, .36, .5, .64, 0, 80) },
  },
}

local DEGREES_PER_SEGMENT = 24

--- The points of a stroke: x1, y1, x2, y2, ...
local function stroke_points(stroke)
  if stroke.points then return stroke.points end
  local points = {}
  local steps = math.ceil(math.abs(stroke.to - stroke.from) / DEGREES_PER_SEGMENT)
  for step = 0, steps do
    local angle = math.rad(stroke.from + (stroke.to - stroke.from) * step / steps)
    points[#points + 1] = stroke.cx + stroke.rx * math.cos(angle)
    points[#points + 1] = stroke.cy + stroke.ry * math.sin(angle)
  end
  return points
end

local WAVES = 3
local MOST_BEND = 0.09 -- of a wave, in units of the box

--- Three random waves of any direction, from three times as long as the box down to its length: a hand of its own.
local function random_waves(random)
  local waves = {}
  for i = 1, WAVES do
    local angle, frequency = random(0, 2 * math.pi), random(2, 7)
    waves[i] = {
      along_x = frequency * math.cos(angle), along_y = frequency * math.sin(angle), phase = random(0, 2 * math.pi),
      bend_x = random(-MOST_BEND, MOST_BEND), bend_y = random(-MOST_BEND, MOST_BEND),
    }
  end
  return waves
end

local function bent(waves, x, y)
  local to_x, to_y = x, y
  for _, wave in ipairs(waves) do
    local height = math.sin(wave.along_x * x + wave.along_y * y + wave.phase)
    to_x, to_y = to_x + wave.bend_x * height, to_y + wave.bend_y * height
  end
  return to_x, to_y
end

--- A random map from the unit box to pixels: waves, then scale, slant, turn, shift.
-- @tparam function random (low, high) -> number
local function random_placement(random)
  local width, height = random(11, 17), random(17, 21)
  local slant, turn = random(-0.1, 0.4), math.rad(random(-8, 8))
  local shift_x, shift_y = CENTRE + random(-1, 1), CENTRE + random(-1, 1)
  local waves = random_waves(random)
  local cos, sin = math.cos(turn), math.sin(turn)
  return function(x, y)
    x, y = bent(waves, x - 0.5, y - 0.5)
    local px, py = width * x - slant * height * y, height * y
    return cos * px - sin * py + shift_x, sin * px + cos * py + shift_y
  end
end

local MOST_APART = 0.06 -- a stroke from its place in the skeleton, in units of the box

--- Appends a skeleton's segments, packed as float32, to `packed`.
local function append_segments(packed, strokes, random)
  local place, radius, tremble = random_placement(random), random(0.8, 1.7), 0.35
  for _, stroke in ipairs(strokes) do
    local points = stroke_points(stroke)
    local apart_x, apart_y = random(-MOST_APART, MOST_APART), random(-MOST_APART, MOST_APART)
    local from_x, from_y
    for i = 1, #points, 2 do
      local x, y = place(points[i] + apart_x, points[i + 1] + apart_y)
      x, y = x + random(-tremble, tremble), y + random(-tremble, tremble)
      if from_x then packed[#packed + 1] = ("fffff"):pack(from_x, from_y, x, y, radius) end
      from_x, from_y = x, y
    end
  end
end

--- Draws digits. The first images of a longer set are those of a shorter one with the same seed.
-- @tparam table options `count` (required), `seed` (0)
-- @treturn table data set like MNIST's: images uint8 {count,28,28,1}, digits int32 in 0..9, labels int32 = digits + 1;
-- its name is "synthetic digits (not MNIST)"
local function synthetic_digits(options)
  local o = check.options("mt.data.synthetic_digits", options, {
    count = { type = "integer", min = 0 },
    seed = { type = "integer", default = 0 },
  })
  local generator = core.generator(o.seed)
  local function random(low, high) return low + (high - low) * generator:uniform() end
  local packed, starts, digits, labels = {}, { 0 }, {}, {}
  for n = 1, o.count do
    local digit = generator:integer(0, 9)
    local ways = skeletons[digit]
    append_segments(packed, ways[generator:integer(1, #ways)], random)
    starts[n + 1], digits[n], labels[n] = #packed, digit, digit + 1
  end
  local segments = core.from_bytes(table.concat(packed), "float32", { #packed, 5 })
  return dataset.named {
    images = core.image.draw_strokes(segments, core.tensor(starts, { dtype = "int32" }), SIZE, SIZE),
    digits = core.tensor(digits, { dtype = "int32" }),
    labels = core.tensor(labels, { dtype = "int32" }),
    classes = 10,
    name = "synthetic digits (not MNIST)",
  }
end

return {
  entries = { synthetic_digits = synthetic_digits },
  summary = "drawn digits of 28x28, for where MNIST cannot be had",
}
