--- Square windows in images: where a heatmap is hottest, coldest, or anywhere; hidden, pasted, cut out.
-- A window is its first row and column, from 1; a list of windows is `{rows = {...}, columns = {...}, side = s}`.
-- @module masktune.windows
local core = require "masktune.core"

local windows = {}

--- Mean heat of all windows of each image: {N,(H-s+1)*(W-s+1)}, and how many of them lie side by side.
local function means(heat, height, width, side)
  local fine = core.image.resize(heat, { size = { height, width }, planes = true })
  local pooled = core.avg_pool2d(fine:unsqueeze(4), { kernel = side, stride = 1 })
  return pooled:reshape(#heat, -1), pooled:size(3)
end

local function from_places(places, across, side)
  local found = { rows = {}, columns = {}, side = side }
  for i, place in ipairs(places) do
    found.rows[i], found.columns[i] = (place - 1) // across + 1, (place - 1) % across + 1
  end
  return found
end

--- The windows with the most and with the least heat.
-- @tparam Tensor heat float32 {N,h,w}
-- @tparam integer height of the images
-- @tparam integer width
-- @tparam integer side
-- @treturn table the hottest window of each image
-- @treturn table the coldest
function windows.extremes(heat, height, width, side)
  local mean, across = means(heat, height, width, side)
  return from_places(mean:argmax(2):totable(), across, side), from_places((-mean):argmax(2):totable(), across, side)
end

--- The side of windows that are a share of an image's shorter side, in pixels.
function windows.side(share, height, width) return math.max(1, math.floor(share * math.min(height, width) + 0.5)) end

--- Windows anywhere.
function windows.random(count, height, width, side, generator)
  local found = { rows = {}, columns = {}, side = side }
  for i = 1, count do
    found.rows[i] = generator:integer(1, height - side + 1)
    found.columns[i] = generator:integer(1, width - side + 1)
  end
  return found
end

--- Some of the windows, in the order given.
function windows.index(list, positions)
  local found = { rows = {}, columns = {}, side = list.side }
  for i, position in ipairs(positions) do
    found.rows[i], found.columns[i] = list.rows[position], list.columns[position]
  end
  return found
end

--- 1 inside of a range of each row of a tensor {N,length}.
local function inside(firsts, side, length)
  local first = core.tensor(firsts, { dtype = "int32" }):reshape(#firsts, 1)
  local at = core.arange(1, length + 1, "int32"):reshape(1, length)
  return at:ge(first) * at:lt(first + side)
end

--- Masks that hide the windows: uint8 {N,H,W}, 1 = keep.
function windows.keep(list, height, width)
  local rows = inside(list.rows, list.side, height):unsqueeze(3)
  local columns = inside(list.columns, list.side, width):unsqueeze(2)
  return (rows * columns):eq(0)
end

--- What the windows show: uint8 {N,s,s,C}.
function windows.cut(images, list)
  local parts = {}
  for i, row in ipairs(list.rows) do
    parts[i] = images[i]:narrow(1, row, list.side):narrow(2, list.columns[i], list.side)
  end
  return core.stack(parts, 1)
end

return windows
