--- A picture to draw plots in: smooth lines, discs, bands and text of any size, on a uint8 {H,W,3} tensor.
-- Places are in pixels, (0, 0) is the centre of the top-left one, x goes right and y down; fractions count. What lies
-- outside is cut off. Everything is strokes of a round pen (mt.image.draw_strokes), which gives how much of each pixel
-- is ink; a stroke is drawn tile by tile, so that each pixel looks only at the segments near it.
-- @module masktune.canvas
local core = require "masktune.core"
local font = require "masktune.canvas.font"

local image = core.image

local Canvas = {}
Canvas.__index = Canvas
Canvas.__name = "masktune.Canvas"

local TILE = 64

--- Whole pixels low to high, as far as they lie in from..to; nil where none does.
local function cut(low, high, from, to)
  low, high = math.max(from, math.floor(low)), math.min(to, math.ceil(high))
  if low <= high then return low, high end
end

--- Appends a segment to the list of every tile that it can colour.
local function add_to_tiles(tiles, segment, canvas)
  local x0, y0, x1, y1, radius = table.unpack(segment)
  local clip, reach = canvas.clip, radius + 1
  local left, right = cut(math.min(x0, x1) - reach, math.max(x0, x1) + reach, clip.left, clip.right)
  local top, bottom = cut(math.min(y0, y1) - reach, math.max(y0, y1) + reach, clip.top, clip.bottom)
  if not left or not top then return end
  for row = top // TILE, bottom // TILE do
    for column = left // TILE, right // TILE do
      local key = row << 32 | column
      tiles[key] = tiles[key] or { row = row, column = column }
      table.insert(tiles[key], segment)
    end
  end
end

--- How much of each pixel of a tile is ink, float32 {h,w,1} in [0, 1].
local function tile_ink(segments, x, y, width, height)
  local packed = {}
  for i, segment in ipairs(segments) do
    packed[i] = ("<fffff"):pack(segment[1] - x, segment[2] - y, segment[3] - x, segment[4] - y, segment[5])
  end
  local rows = core.from_bytes(table.concat(packed), "float32", { #packed, 5 })
  local starts = core.tensor({ 0, #packed }, { dtype = "int32" })
  return image.draw_strokes(rows, starts, height, width)[1]:to("float32") / 255
end

local function draw_segments(canvas, segments, color, alpha)
  local tiles = {}
  for _, segment in ipairs(segments) do
    add_to_tiles(tiles, segment, canvas)
  end
  local ink_color = core.tensor(color, { dtype = "float32" })
  for _, tile in pairs(tiles) do -- in any order: tiles do not overlap
    local x, right = cut(tile.column * TILE, tile.column * TILE + TILE - 1, canvas.clip.left, canvas.clip.right)
    local y, bottom = cut(tile.row * TILE, tile.row * TILE + TILE - 1, canvas.clip.top, canvas.clip.bottom)
    local width, height = right - x + 1, bottom - y + 1
    local ink = tile_ink(tile, x, y, width, height) * alpha
    local below = canvas.image:narrow(1, y + 1, height):narrow(2, x + 1, width):to("float32")
    image.paste(canvas.image, (below + (ink_color - below) * ink + 0.5):to("uint8"), x, y)
  end
end

--- A list of segments from a list of points {x, y}; a single point is a dot.
local function append_path(segments, points, radius)
  if #points == 1 then segments[#segments + 1] = { points[1][1], points[1][2], points[1][1], points[1][2], radius } end
  for i = 1, #points - 1 do
    segments[#segments + 1] = { points[i][1], points[i][2], points[i + 1][1], points[i + 1][2], radius }
  end
end

--- The pieces of a path that a dashed line shows.
local function dashes(points, dash, gap)
  local pieces, piece = {}, { points[1] }
  local left, on = dash, true
  for i = 2, #points do
    local from, to = points[i - 1], points[i]
    local length, done = math.sqrt((to[1] - from[1]) ^ 2 + (to[2] - from[2]) ^ 2), 0
    while length - done > left do
      done = done + left
      local at = { from[1] + (to[1] - from[1]) * done / length, from[2] + (to[2] - from[2]) * done / length }
      piece[#piece + 1] = at
      if on then pieces[#pieces + 1] = piece end
      piece, on = { at }, not on
      left = on and dash or gap
    end
    left = left - (length - done)
    piece[#piece + 1] = to
  end
  if on then pieces[#pieces + 1] = piece end
  return pieces
end

--- Calls `draw` while nothing is drawn outside a box of pixels (paths, discs, bands and text).
-- @tparam {table} box `left`, `top`, `right`, `bottom`, inclusive
-- @tparam function draw
function Canvas:within(box, draw)
  local before = self.clip
  self.clip = {
    left = math.max(box.left, before.left), right = math.min(box.right, before.right),
    top = math.max(box.top, before.top), bottom = math.min(box.bottom, before.bottom),
  }
  draw()
  self.clip = before
end

--- Draws a line through points.
-- @tparam {{number,number},...} points
-- @tparam {integer,integer,integer} color
-- @number width
-- @tparam[opt] {number,number} dash lengths of dash and gap
function Canvas:path(points, color, width, dash)
  local segments = {}
  for _, piece in ipairs(dash and dashes(points, dash[1], dash[2]) or { points }) do
    append_path(segments, piece, width / 2)
  end
  draw_segments(self, segments, color, 1)
end

--- Draws a filled circle.
function Canvas:disc(x, y, radius, color) draw_segments(self, { { x, y, x, y, radius } }, color, 1) end

--- Fills what lies between two lines with the same x, of one place per pixel column.
-- @tparam {{number,number,number},...} columns {x, low y, high y}
-- @tparam {integer,integer,integer} color
-- @number alpha how much of it covers what is below, 0 to 1
function Canvas:band(columns, color, alpha)
  local segments = {}
  for i, column in ipairs(columns) do
    segments[i] = { column[1], column[2], column[1], column[3], 0.5 }
  end
  draw_segments(self, segments, color, alpha)
end

--- Fills a rectangle of whole pixels.
function Canvas:rectangle(x, y, width, height, color) image.fill_rect(self.image, x, y, width, height, color) end

--- Puts an image, uint8 {h,w,3} or {h,w,1}, with its top-left corner at (x, y).
function Canvas:paste(picture, x, y) image.paste(self.image, picture, x, y) end

local anchors = { left = 0, centre = 0.5, right = 1 }

--- Draws a line of text.
-- @number x
-- @number y of the baseline
-- @string text
-- @tparam table style `size` of the font, `color`, `anchor` ("left"; "centre"; "right"), `upwards` (false: the text
-- runs up, and x is its baseline), `bold` (false)
function Canvas:text(x, y, text, style)
  local scale, segments = style.size / font.EM, {}
  local pen = scale * (style.bold and 1.25 or 0.95)
  local shift = -anchors[style.anchor or "left"] * font.width(text) * scale
  font.each_stroke(text, function(points)
    for _, point in ipairs(points) do
      local along, up = shift + point[1] * scale, point[2] * scale
      point[1], point[2] = x + along, y - up
      if style.upwards then point[1], point[2] = x - up, y - along end
    end
    append_path(segments, points, pen)
  end)
  draw_segments(self, segments, style.color, 1)
end

local canvas = {}

--- The width of a line of text in pixels.
-- @string text
-- @number size of the font
-- @treturn number
function canvas.text_width(text, size) return font.width(text) * size / font.EM end

--- The height of capitals and digits in pixels.
-- @number size of the font
-- @treturn number
function canvas.cap_height(size) return font.CAP_HEIGHT * size / font.EM end

--- An empty picture.
-- @tparam integer width
-- @tparam integer height
-- @tparam[opt] {integer,integer,integer} color white
-- @treturn Canvas with the picture as `image`
function canvas.new(width, height, color)
  local self = {
    image = core.zeros({ height, width, 3 }, { dtype = "uint8" }),
    clip = { left = 0, top = 0, right = width - 1, bottom = height - 1 },
  }
  image.fill_rect(self.image, 0, 0, width, height, color or { 255, 255, 255 })
  return setmetatable(self, Canvas)
end

return canvas
