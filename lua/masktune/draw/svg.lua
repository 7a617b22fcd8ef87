--- Drawings (masktune.draw) as SVG.
-- @module masktune.draw.svg
local markup = require "masktune.markup"

local escape = markup.escape

local FAMILY = "Helvetica, Arial, 'Liberation Sans', 'Nimbus Sans', 'DejaVu Sans', sans-serif"

--- A number in as few characters as a hundredth of a unit needs.
local function number(value)
  local text = ("%.2f"):format(value):gsub("%.?0+$", "")
  return text == "-0" and "0" or text
end

--- A template's %s filled with numbers and texts.
local function filled(template, ...)
  local values = table.pack(...)
  for i = 1, values.n do
    if type(values[i]) == "number" then values[i] = number(values[i]) end
  end
  return template:format(table.unpack(values, 1, values.n))
end

--- Points as an attribute's value.
local function points_of(item)
  local points = {}
  for i, point in ipairs(item.points) do
    points[i] = number(point[1]) .. "," .. number(point[2])
  end
  return table.concat(points, " ")
end

--- What writes an item, by its kind: (item, color: {r, g, b} -> text) -> text
local writers = {}

function writers.path(item, color)
  local dash = item.dash and filled(' stroke-dasharray="%s %s"', item.dash[1], item.dash[2]) or ""
  return filled('<polyline fill="none" stroke="%s" stroke-width="%s" stroke-linecap="round" stroke-linejoin="round"%s '
    .. 'points="%s"/>', color(item.color), item.width, dash, points_of(item))
end

function writers.polygon(item, color)
  return filled('<polygon fill="%s" fill-opacity="%s" points="%s"/>', color(item.color), item.alpha, points_of(item))
end

function writers.disc(item, color)
  local title = item.title and ("<title>%s</title>"):format(escape(item.title)) or ""
  return filled('<circle cx="%s" cy="%s" r="%s" fill="%s">%s</circle>', item.x, item.y, item.radius, color(item.color),
    title)
end

function writers.rectangle(item, color)
  return filled('<rect x="%s" y="%s" width="%s" height="%s" fill="%s"/>', item.x, item.y, item.width, item.height,
    color(item.color))
end

local anchors = { left = "start", centre = "middle", right = "end" }

function writers.text(item, color)
  local place = item.upwards and filled('transform="translate(%s %s) rotate(-90)"', item.x, item.y)
    or filled('x="%s" y="%s"', item.x, item.y)
  return filled('<text %s font-size="%s" fill="%s" text-anchor="%s"%s>%s</text>', place, item.size, color(item.color),
    anchors[item.anchor], item.bold and ' font-weight="bold"' or "", escape(item.text))
end

function writers.image(item)
  return filled('<image x="%s" y="%s" width="%s" height="%s" preserveAspectRatio="none" '
    .. 'image-rendering="pixelated" href="%s"/>', item.x, item.y, item.width, item.height,
    markup.source(item.image, true))
end

--- Of several drawings on a page, the same name means the same box.
function writers.clip(item)
  local uid = filled("box-%s-%s-%s-%s", item.x, item.y, item.width, item.height)
  return filled('<clipPath id="%s"><rect x="%s" y="%s" width="%s" height="%s"/></clipPath><g clip-path="url(#%s)">',
    uid, item.x, item.y, item.width, item.height, uid)
end

function writers.unclip() return "</g>" end

local function hex(color) return ("#%02x%02x%02x"):format(color[1], color[2], color[3]) end

--- A drawing as an svg element.
-- @tparam table drawing `width`, `height`, `items`
-- @tparam[opt] table options `colors` ("#0072b2" -> what stands for it: pages have colours of their own, light and
-- dark; without these the sheet is white), `label` (what it shows, for those who do not see it), `points` (a unit's
-- size in points, where the drawing has a size of its own)
-- @treturn string
return function(drawing, options)
  local o = options or {}
  local function color(rgb)
    local text = hex(rgb)
    return o.colors and o.colors[text] or text
  end
  local size = o.points and filled(' width="%spt" height="%spt"', drawing.width * o.points, drawing.height * o.points)
    or ""
  local label = o.label and (' role="img" aria-label="%s"'):format(escape(o.label)) or ""
  local parts = { filled('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s"%s%s font-family="%s">',
    drawing.width, drawing.height, size, label, FAMILY) }
  if not o.colors then parts[2] = '<rect width="100%" height="100%" fill="#ffffff"/>' end
  for _, item in ipairs(drawing.items) do
    parts[#parts + 1] = writers[item.kind](item, color)
  end
  parts[#parts + 1] = "</svg>\n"
  return table.concat(parts)
end
