--- Figures that show where a model looks: rows of enlarged images, columns with titles, captions in colour.
-- @module masktune.figure
local check = require "masktune.check"
local core = require "masktune.core"
local draw = require "masktune.draw"
local image = core.image

local figure = {}

local PANEL = 168 -- side of an image, in pixels
local GAP, MARGIN = 16, 28
local TITLE, TEXT = 30, 20 -- font sizes
local LINE = 26 -- height of a line of text
local CAPTION_WIDTH = 270

local ink, faint = { 30, 33, 38 }, { 95, 100, 108 }
local frame, hidden = { 190, 194, 200 }, { 205, 92, 60 }
figure.good, figure.bad = { 0, 120, 80 }, { 196, 62, 0 }

--- An image as a panel: pixels enlarged, none blurred; photos (`smooth`) as one looks at photos.
local function enlarged(picture, look)
  return image.resize(picture, {
    size = PANEL, mode = look.smooth and "bilinear" or "nearest", antialias = look.smooth or nil,
  })
end

--- A photo without its colours, which a heatmap's would mix with.
local function grey(picture)
  local mean = picture:to("float32"):mean({ 3 }, { keepdim = true })
  return core.cat({ mean, mean, mean }, 3):to("uint8")
end

--- A heatmap over its image.
local function heat_panel(picture, heat, look)
  local below = enlarged(look.smooth and grey(picture) or picture, look)
  return image.overlay(below, heat, { map = look.map, alpha = 0.6 })
end

--- The image with what the mask hides in one flat colour, so that hidden and black are told apart.
local function mask_panel(picture, keep, look)
  local kept = keep:to("float32"):reshape(keep:size(1), keep:size(2), 1)
  kept = image.resize(kept, { size = PANEL, mode = "nearest" })
  local colour = core.tensor(hidden, { dtype = "float32" })
  return (enlarged(picture, look):to("float32") * kept + colour * (1 - kept)):to("uint8")
end

local function column_left(column) return MARGIN + (column - 1) * (PANEL + GAP) end

--- Column titles, each of one or two lines, below y.
local function draw_titles(page, titles, y)
  for column, lines in ipairs(titles) do
    for i, line in ipairs(lines) do
      page:text(column_left(column) + PANEL / 2, y + i * LINE, line, { size = TEXT, color = ink, anchor = "centre" })
    end
  end
end

local function draw_caption(page, lines, x, y)
  local baseline = y + (PANEL - (#lines - 1) * 1.3 * LINE + draw.cap_height(TEXT)) / 2
  for i, line in ipairs(lines) do
    page:text(x, baseline + (i - 1) * 1.3 * LINE, line.text, { size = TEXT, color = line.color or ink })
  end
end

local function draw_row(page, row, y)
  for column, panel in ipairs(row.panels) do
    local x = column_left(column)
    page:rectangle(x - 1, y - 1, PANEL + 2, PANEL + 2, frame)
    page:paste(panel, x, y)
  end
  draw_caption(page, row.caption, column_left(#row.panels + 1) + 4, y)
end

--- The key to the colours: the map from low to high, and the masks' colour.
local function draw_key(page, y, map)
  local length, height, style = 160, 16, { size = TEXT, color = faint }
  local ramp = core.arange(length):reshape(1, length)
  local x, baseline = MARGIN, y + (height + draw.cap_height(TEXT)) / 2
  local function word(text)
    page:text(x, baseline, text, style)
    x = x + math.ceil(draw.text_width(text, TEXT)) + 12
  end
  word "heatmap: low"
  page:paste(image.resize(image.colormap(ramp, { map = map }), { size = { height, length }, mode = "nearest" }), x, y)
  x = x + length + 12
  word "high"
  x = x + 36
  page:rectangle(x, y, height, height, hidden)
  x = x + height + 12
  word "hidden by the mask"
end

--- Draws rows of panels under column titles.
-- @tparam table content `title`; `subtitle`; `columns`: list of titles, each a list of one or two lines; `rows`: list
-- of `panels` (uint8 {168,168,3} each) and `caption` (list of `text`, `color`); `map` of the key
-- @treturn Drawing
local function grid(content)
  local width = column_left(#content.columns + 1) + CAPTION_WIDTH + MARGIN
  local subtitle = MARGIN + draw.cap_height(TITLE) + 16 + draw.cap_height(TEXT)
  local head = math.floor(subtitle + 14 + 2 * LINE + 14)
  local height = head + #content.rows * (PANEL + GAP) + 8 + LINE + MARGIN
  local page = draw.new(width, height)
  page:text(MARGIN, MARGIN + draw.cap_height(TITLE), content.title, { size = TITLE, color = ink, bold = true })
  page:text(MARGIN, subtitle, content.subtitle, { size = TEXT, color = faint })
  draw_titles(page, content.columns, subtitle + 14)
  for i, row in ipairs(content.rows) do
    draw_row(page, row, head + (i - 1) * (PANEL + GAP))
  end
  draw_key(page, head + #content.rows * (PANEL + GAP) + 8, content.map)
  return page
end

--- Draws the paper's Figure 2 (right): images, where the model looked before, what was masked, where it looks after.
-- @tparam table options `images` uint8 {N,H,W,3}; `before` and `after`: heatmaps float32 {N,h,w}; `keep`: masks
-- {N,H,W}; `captions`: for each image a list of lines `{text =, color =}`; `title`, `subtitle`; `columns`: the four
-- titles, each a list of one or two lines; `map` ("turbo"; "viridis", which is perceptually uniform, "gray"); `smooth`
-- (false: pixels are enlarged as they are; true, for photos: bilinear)
-- @treturn Drawing `write(path)` makes NAME.png, NAME.pdf or NAME.svg of it
function figure.comparison(options)
  local o = check.options("mt.figure.comparison", options, {
    images = { type = "tensor" },
    before = { type = "tensor" },
    after = { type = "tensor" },
    keep = { type = "any" },
    captions = { type = "list", of = { type = "table" } },
    title = { type = "string" },
    subtitle = { type = "string" },
    columns = { type = "list", of = { type = "table" }, min_length = 4 },
    map = { choices = { "turbo", "viridis", "gray" }, default = "turbo" },
    smooth = { type = "boolean", default = false },
  })
  for _, name in ipairs { "before", "after", "keep", "captions" } do
    if #o[name] ~= #o.images then
      check.fail("mt.figure.comparison: option '%s': %d entries expected (one per image), got %d", name, #o.images,
        #o[name])
    end
  end
  local rows = {}
  for i = 1, #o.images do
    local picture = o.images[i]
    rows[i] = {
      panels = {
        enlarged(picture, o),
        heat_panel(picture, o.before[i], o),
        mask_panel(picture, o.keep[i], o),
        heat_panel(picture, o.after[i], o),
      },
      caption = o.captions[i],
    }
  end
  return grid { title = o.title, subtitle = o.subtitle, columns = o.columns, rows = rows, map = o.map }
end

return figure
