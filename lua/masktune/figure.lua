--- Figures that show where a model looks: rows of enlarged images, columns with titles, captions in colour.
-- @module masktune.figure
local check = require "masktune.check"
local core = require "masktune.core"
local image = core.image

local figure = {}

local PANEL = 168 -- side of an image, in pixels
local GAP, MARGIN = 16, 28
local TITLE_SCALE, TEXT_SCALE = 3, 2
local CAPTION_WIDTH = 260

local white, ink, faint = { 255, 255, 255 }, { 25, 28, 33 }, { 120, 125, 133 }
local frame, hidden = { 190, 194, 200 }, { 205, 92, 60 }
figure.good, figure.bad = { 24, 128, 56 }, { 200, 30, 45 }

local function blank(width, height)
  local canvas = core.zeros({ height, width, 3 }, { dtype = "uint8" })
  image.fill_rect(canvas, 0, 0, width, height, white)
  return canvas
end

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

local function centred_text(canvas, x, width, y, text, scale)
  image.draw_text(canvas, x + (width - image.text_width(text, scale)) // 2, y, text, ink, scale)
end

local function column_left(column) return MARGIN + (column - 1) * (PANEL + GAP) end

--- Column titles, each of one or two lines; returns the y below them.
local function draw_titles(canvas, titles, y)
  local _, line_height = image.text_width("X", TEXT_SCALE)
  for column, lines in ipairs(titles) do
    for i, line in ipairs(lines) do
      centred_text(canvas, column_left(column), PANEL, y + (i - 1) * (line_height + 4), line, TEXT_SCALE)
    end
  end
  return y + 2 * (line_height + 4) + 8
end

local function draw_caption(canvas, lines, x, y)
  local _, line_height = image.text_width("X", TEXT_SCALE)
  local top = y + (PANEL - #lines * (line_height + 10)) // 2
  for i, line in ipairs(lines) do
    image.draw_text(canvas, x, top + (i - 1) * (line_height + 10), line.text, line.color or ink, TEXT_SCALE)
  end
end

local function draw_row(canvas, row, y)
  for column, panel in ipairs(row.panels) do
    local x = column_left(column)
    image.fill_rect(canvas, x - 1, y - 1, PANEL + 2, PANEL + 2, frame)
    image.paste(canvas, panel, x, y)
  end
  draw_caption(canvas, row.caption, column_left(#row.panels + 1) + 4, y)
end

--- The key to the colours: the map from low to high, and the masks' colour.
local function draw_key(canvas, y, map)
  local length, height = 160, 16
  local ramp = core.arange(length):reshape(1, length)
  local x = MARGIN
  image.draw_text(canvas, x, y, "heatmap: low", faint, TEXT_SCALE)
  x = x + image.text_width("heatmap: low", TEXT_SCALE) + 10
  local bar = image.resize(image.colormap(ramp, { map = map }), { size = { height, length }, mode = "nearest" })
  image.paste(canvas, bar, x, y)
  image.draw_text(canvas, x + length + 10, y, "high", faint, TEXT_SCALE)
  x = x + length + 10 + image.text_width("high", TEXT_SCALE) + 50
  image.fill_rect(canvas, x, y, height, height, hidden)
  image.draw_text(canvas, x + height + 10, y, "hidden by the mask", faint, TEXT_SCALE)
end

--- Draws rows of panels under column titles.
-- @tparam table content `title`; `subtitle`; `columns`: list of titles, each a list of one or two lines; `rows`: list
-- of `panels` (uint8 {168,168,3} each) and `caption` (list of `text`, `color`); `map` of the key
-- @treturn Tensor uint8 {H,W,3}
local function grid(content)
  local columns = #content.columns
  local width = column_left(columns + 1) + CAPTION_WIDTH + MARGIN
  local _, title_height = image.text_width("X", TITLE_SCALE)
  local _, text_height = image.text_width("X", TEXT_SCALE)
  local head = MARGIN + title_height + 10 + text_height + 24 + 2 * (text_height + 4) + 8
  local height = head + #content.rows * (PANEL + GAP) + 8 + text_height + MARGIN
  local canvas = blank(width, height)
  image.draw_text(canvas, MARGIN, MARGIN, content.title, ink, TITLE_SCALE)
  image.draw_text(canvas, MARGIN, MARGIN + title_height + 10, content.subtitle, faint, TEXT_SCALE)
  local y = draw_titles(canvas, content.columns, MARGIN + title_height + 10 + text_height + 24)
  for _, row in ipairs(content.rows) do
    draw_row(canvas, row, y)
    y = y + PANEL + GAP
  end
  draw_key(canvas, y + 8, content.map)
  return canvas
end

--- Draws the paper's Figure 2 (right): images, where the model looked before, what was masked, where it looks after.
-- @tparam table options `images` uint8 {N,H,W,3}; `before` and `after`: heatmaps float32 {N,h,w}; `keep`: masks
-- {N,H,W}; `captions`: for each image a list of lines `{text =, color =}`; `title`, `subtitle`; `columns`: the four
-- titles, each a list of one or two lines; `map` ("turbo"; "viridis", which is perceptually uniform, "gray"); `smooth`
-- (false: pixels are enlarged as they are; true, for photos: bilinear)
-- @treturn Tensor uint8 {H,W,3}, for mt.image.write_png
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
