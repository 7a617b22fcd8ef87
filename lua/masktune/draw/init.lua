--- Drawings: one list of lines, areas, text and images, which becomes SVG, and where Cairo was there at build time PNG
-- and PDF as well. All charts and figures are drawings.
-- Places are in pixels of the PNG, from the top-left corner, x to the right and y down; fractions count.
-- @module masktune.draw
local check = require "masktune.check"
local core = require "masktune.core"
local dist = require "masktune.dist"
local font = require "masktune.draw.font"
local notice = require "masktune.notice"
local svg = require "masktune.draw.svg"

local POINTS = 1 / 3 -- to the pixel, in PDF and SVG: 1200 pixels are 400 points, as wide as a page's text

local Drawing = {}
Drawing.__index = Drawing
Drawing.__name = "masktune.Drawing"

local function add(self, item) self.items[#self.items + 1] = item end

-- ---- what is drawn ----

--- Draws a line through points; a single one is a dot.
-- @tparam {{number,number},...} points
-- @tparam {integer,integer,integer} color
-- @number width
-- @tparam[opt] {number,number} dash lengths of dash and gap
function Drawing:path(points, color, width, dash)
  if #points == 1 then return self:disc(points[1][1], points[1][2], width / 2, color) end
  add(self, { kind = "path", points = points, color = color, width = width, dash = dash })
end

--- Fills what points enclose.
-- @tparam {{number,number},...} points
-- @tparam {integer,integer,integer} color
-- @number alpha how much of it covers what is below, 0 to 1
function Drawing:polygon(points, color, alpha)
  add(self, { kind = "polygon", points = points, color = color, alpha = alpha })
end

--- Draws a filled circle.
-- @string[opt] title what SVG shows where the pointer rests on it
function Drawing:disc(x, y, radius, color, title)
  add(self, { kind = "disc", x = x, y = y, radius = radius, color = color, title = title })
end

--- Fills a rectangle.
function Drawing:rectangle(x, y, width, height, color)
  add(self, { kind = "rectangle", x = x, y = y, width = width, height = height, color = color })
end

--- Puts an image, uint8 {h,w,3} or {h,w,1}, with its top-left corner at (x, y), each pixel as one of the drawing's.
function Drawing:paste(image, x, y)
  add(self, { kind = "image", image = image, x = x, y = y, width = image:size(2), height = image:size(1) })
end

--- Draws a line of text.
-- @number x
-- @number y of the baseline
-- @string text bytes that are no UTF-8 become question marks
-- @tparam table style `size` of the font, `color`, `anchor` ("left"; "centre"; "right"), `upwards` (false: the text
-- runs up, and x is its baseline), `bold` (false)
function Drawing:text(x, y, text, style)
  if text == "" then return end
  if not utf8.len(text) then text = text:gsub("[\128-\255]", "?") end
  add(self, { kind = "text", x = x, y = y, text = text:gsub("%c", " "), size = style.size, color = style.color,
    anchor = style.anchor or "left", upwards = style.upwards or false, bold = style.bold or false })
end

--- Calls `draw` while nothing is drawn outside a box.
-- @tparam table box `left`, `top`, `right`, `bottom`
-- @tparam function draw
function Drawing:within(box, draw)
  add(self, { kind = "clip", x = box.left, y = box.top, width = box.right - box.left, height = box.bottom - box.top })
  draw()
  add(self, { kind = "unclip" })
end

-- ---- Cairo ----

local function packed(color) return color[1] << 16 | color[2] << 8 | color[3] end

local function trace(sheet, points)
  for i, point in ipairs(points) do
    sheet[i == 1 and "move" or "line"](sheet, point[1], point[2])
  end
end

local anchors = { left = 0, centre = 0.5, right = 1 }

--- What draws an item on a sheet of the core, by its kind.
local painters = {
  path = function(sheet, item)
    local dash = item.dash or {}
    trace(sheet, item.points)
    sheet:stroke(packed(item.color), item.width, dash[1], dash[2])
  end,
  polygon = function(sheet, item)
    trace(sheet, item.points)
    sheet:fill(packed(item.color), item.alpha)
  end,
  disc = function(sheet, item)
    sheet:circle(item.x, item.y, item.radius)
    sheet:fill(packed(item.color))
  end,
  rectangle = function(sheet, item)
    sheet:rectangle(item.x, item.y, item.width, item.height)
    sheet:fill(packed(item.color))
  end,
  image = function(sheet, item) sheet:image(item.image, item.x, item.y, item.width, item.height) end,
  text = function(sheet, item)
    sheet:text(item.x, item.y, item.text, item.size, packed(item.color), anchors[item.anchor], item.upwards, item.bold)
  end,
  clip = function(sheet, item)
    sheet:rectangle(item.x, item.y, item.width, item.height)
    sheet:clip()
  end,
  unclip = function(sheet) sheet:unclip() end,
}

local function painted(self, scale, as_pdf)
  local sheet = core.draw.sheet(self.width, self.height, scale, as_pdf)
  for _, item in ipairs(self.items) do
    painters[item.kind](sheet, item)
  end
  return sheet
end

-- ---- what comes of it ----

local draw = {}

--- Whether drawings can become pixels and PDF: whether Cairo was there when masktune was built.
-- @treturn boolean
function draw.has_cairo() return core.draw.sheet ~= nil end

local function need_cairo(what)
  if draw.has_cairo() then return end
  error(("%s: pixels need Cairo, which was not there at build time (Debian: libcairo2-dev, then make)"):format(what), 0)
end

--- The drawing as an svg element.
-- @tparam[opt] table options `label`: what it shows, for those who do not see it; `colors` ("#0072b2" -> what stands
-- for it on a page that has colours of its own)
-- @treturn string
function Drawing:svg(options) return svg(self, options) end

--- The drawing as pixels.
-- @tparam[opt=1] number scale pixels to the unit
-- @treturn Tensor uint8 {H,W,3}
-- @raise where Cairo was not there at build time
function Drawing:image(scale)
  need_cairo "drawing:image"
  return painted(self, scale or 1, false):pixels()
end

--- Format of a file -> what writes it.
local writers = {
  svg = function(self, path) core.write_file(path, svg(self, { points = POINTS })) end,
  png = function(self, path) core.image.write_png(path, self:image()) end,
  pdf = function(self, path) core.write_file(path, painted(self, POINTS, true):pdf()) end,
}

--- Writes the drawing as a file; of several ranks (masktune.dist), the first does.
-- @string path NAME.png, NAME.pdf or NAME.svg. Without Cairo all become NAME.svg, and a notice says so, once.
-- @treturn string the path that was written
function Drawing:write(path)
  check.argument("drawing:write", "path", path, { type = "string" })
  local name, ending = path:match "^(.*)%.(%w+)$"
  local format = ending and ending:lower()
  if not writers[format or ""] then
    check.fail("drawing:write: argument 'path': NAME.png, NAME.pdf or NAME.svg expected, got '%s'", path)
  end
  if format ~= "svg" and not draw.has_cairo() then
    notice.say("figures are written as SVG: PNG and PDF need Cairo, which was not there at build time (libcairo2-dev)")
    path, format = name .. ".svg", "svg"
  end
  if dist.rank() == 0 then writers[format](self, path) end
  return path
end

function Drawing:__tostring()
  return ("drawing of %dx%d: write(\"NAME.pdf\"), NAME.png or NAME.svg makes a file of it"):format(self.width,
    self.height)
end

--- An empty drawing, white.
-- @tparam integer width
-- @tparam integer height
-- @treturn Drawing
function draw.new(width, height) return setmetatable({ width = width, height = height, items = {} }, Drawing) end

--- The width of a line of text.
-- @string text
-- @number size of the font
-- @treturn number
draw.text_width = font.width

--- The height of capitals and digits.
-- @number size of the font
-- @treturn number
draw.cap_height = font.cap_height

return draw
