--- What a selective classifier is surest of, and what it rejects first, as a picture.
-- @module masktune.selective.gallery
local check = require "masktune.check"
local core = require "masktune.core"
local coverage = require "masktune.selective.coverage"
local draw = require "masktune.draw"
local figure = require "masktune.figure"

local PANEL, GAP, MARGIN = 128, 18, 28
local TITLE, HEADING, TEXT = 28, 21, 17 -- font sizes
local LINE = 22 -- height of a line of a caption

local ink, faint, frame = { 30, 33, 38 }, { 95, 100, 108 }, { 190, 194, 200 }
local right_color, wrong_color = figure.good, figure.bad

local schema = {
  images = { type = "any" },
  answers = { type = "table" },
  labels = { type = "any" },
  names = { type = "list", of = { type = "string" }, default = {} },
  title = { type = "string", default = "" },
  columns = { type = "integer", min = 1, max = 50, default = 8 },
  rows = { type = "integer", min = 1, max = 50, default = 2 },
}

--- A text that fits into a width: its end gives way to dots.
local function fitted(text, size, width)
  if draw.text_width(text, size) <= width then return text end
  while #text > 0 and draw.text_width(text .. "...", size) > width do
    text = text:sub(1, (utf8.offset(text, -1) or #text) - 1)
  end
  return text .. "..."
end

--- An image as a panel: small ones with their pixels enlarged, none blurred.
local function panel_of(picture)
  local height, width = picture:size(1), picture:size(2)
  local mode = math.max(height, width) <= PANEL // 2 and "nearest" or "bilinear"
  local scale = PANEL / math.max(height, width)
  local size = { math.max(1, math.floor(height * scale + 0.5)), math.max(1, math.floor(width * scale + 0.5)) }
  return core.image.resize(picture, { size = size, mode = mode })
end

local function draw_panel(page, o, position, x, y)
  local panel = panel_of(o.images[position])
  local left, top = x + (PANEL - panel:size(2)) // 2, y + (PANEL - panel:size(1)) // 2
  page:rectangle(left - 1, top - 1, panel:size(2) + 2, panel:size(1) + 2, frame)
  page:paste(panel, left, top)
  local label, predicted = o.labels[position], o.answers.predictions[position]
  local function name(class) return o.names[class] or "class " .. class end
  local color = predicted == label and right_color or wrong_color
  local lines = {
    { "is " .. name(label), ink },
    { "says " .. name(predicted), color },
    { ("score %.2g"):format(o.answers.scores[position]), faint },
  }
  for i, line in ipairs(lines) do
    local text = fitted(line[1], TEXT, PANEL + GAP - 6)
    page:text(x + PANEL / 2, y + PANEL + 4 + i * LINE, text, { size = TEXT, color = line[2], anchor = "centre" })
  end
end

local ROW = PANEL + 3 * LINE + GAP + 8

--- A heading and rows of panels; returns the y below them.
local function draw_group(page, o, heading, positions, y)
  local baseline = y + draw.cap_height(HEADING)
  page:text(MARGIN, baseline, heading, { size = HEADING, color = ink })
  local top = baseline + 16
  for i, position in ipairs(positions) do
    local column, row = (i - 1) % o.columns, (i - 1) // o.columns
    draw_panel(page, o, position, MARGIN + column * (PANEL + GAP), math.floor(top + row * ROW))
  end
  return top + o.rows * ROW + 10
end

--- Draws the images with the highest scores and those with the lowest, which a rising threshold rejects first; under
-- each its label, the prediction (green where right, red where wrong) and the score.
-- @tparam table options `images` uint8 {N,H,W,1 or 3} (a tensor, or streamed); `answers` (`predictions`, `scores`);
-- `labels`; `names` of the classes; `title`; `columns` (8) and `rows` (2) of each group
-- @treturn Drawing `write(path)` makes NAME.png, NAME.pdf or NAME.svg of it
local function gallery(options)
  local o = check.options("mt.selective.gallery", options, schema)
  if check.is_tensor(o.labels) then o.labels = o.labels:totable() end
  local ranking = coverage.ranking(o.answers)
  if #ranking ~= #o.images or #ranking ~= #o.labels then
    check.fail("mt.selective.gallery: %d images, %d scores and %d labels, expected as many of each", #o.images,
      #ranking, #o.labels)
  end
  local shown = math.min(o.columns * o.rows, #ranking)
  local surest, rejected = table.move(ranking, 1, shown, 1, {}), {}
  for i = 1, shown do
    rejected[i] = ranking[#ranking + 1 - i]
  end
  local width = 2 * MARGIN + o.columns * (PANEL + GAP) - GAP
  local head = MARGIN + draw.cap_height(TITLE) + 28
  local group = draw.cap_height(HEADING) + 16 + o.rows * ROW + 10
  local page = draw.new(width, math.ceil(head + 2 * group) + MARGIN // 2)
  page:text(MARGIN, MARGIN + draw.cap_height(TITLE), fitted(o.title, TITLE, width - 2 * MARGIN),
    { size = TITLE, color = ink, bold = true })
  local y = draw_group(page, o, "Most confident", surest, head)
  draw_group(page, o, "Rejected first: lowest scores", rejected, y)
  return page
end

return gallery
