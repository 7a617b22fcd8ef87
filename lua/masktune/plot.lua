--- Line plots as one puts them into a paper: axes with round ticks, labels, lines with bands and marks, a legend.
-- @module masktune.plot
local axis = require "masktune.axis"
local check = require "masktune.check"
local draw = require "masktune.draw"
local show = require "masktune.show"
local tables = require "masktune.tables"

local plot = {}

local ink, faint, grid_color = { 30, 33, 38 }, { 95, 100, 108 }, { 229, 231, 234 }
local TITLE, SUBTITLE, LABEL, TICK = 30, 22, 24, 21 -- font sizes
local MARGIN, TICK_LENGTH, LINE = 24, 8, 3.2
local BAND_ALPHA = 0.18

--- The colours of series that name none, in their order: told apart in print and by colour-blind readers (Okabe and
-- Ito, then a grey and a brown).
plot.palette = {
  { 0, 114, 178 }, { 213, 94, 0 }, { 0, 158, 115 }, { 204, 121, 167 }, { 86, 180, 233 }, { 230, 159, 0 },
  { 110, 110, 110 }, { 150, 120, 60 },
}

-- ---- axes ----

--- A place on a line of pixels, where a thin line is sharp.
local function whole(place) return math.floor(place + 0.5) end

local function draw_axes(page, area, x, y)
  local cap = draw.cap_height(TICK)
  local widest = 0
  for _, tick in ipairs(y.ticks) do
    local at = whole(y.place(tick.value))
    page:rectangle(area.left, at, area.right - area.left, 1, grid_color)
    page:rectangle(area.left - TICK_LENGTH, at, TICK_LENGTH, 2, ink)
    page:text(area.left - TICK_LENGTH - 8, at + cap / 2, tick.text, { size = TICK, color = ink, anchor = "right" })
    widest = math.max(widest, draw.text_width(tick.text, TICK))
  end
  for _, tick in ipairs(x.ticks) do
    local at = whole(x.place(tick.value))
    page:rectangle(at, area.bottom, 2, TICK_LENGTH, ink)
    local baseline = area.bottom + TICK_LENGTH + 10 + cap
    page:text(at + 0.5, baseline, tick.text, { size = TICK, color = ink, anchor = "centre" })
  end
  page:rectangle(area.left, area.top, 2, area.bottom - area.top + 2, ink)
  page:rectangle(area.left, area.bottom, area.right - area.left, 2, ink)
  local label = { size = LABEL, color = ink, anchor = "centre" }
  page:text((area.left + area.right) / 2, area.bottom + TICK_LENGTH + 2 * cap + 36, x.label, label)
  label.upwards = true
  page:text(area.left - TICK_LENGTH - widest - 28, (area.top + area.bottom) / 2, y.label, label)
end

-- ---- lines ----

local function points_of(line, x, y)
  local points = {}
  for i, value in ipairs(line.x) do
    points[i] = { x.place(value), y.place(line.y[i]) }
  end
  return points
end

--- The corners of a band: along its lower edge, and back along the upper one.
local function band_points(line, x, y)
  local points, count = {}, #line.x
  for i = 1, count do
    points[i] = { x.place(line.x[i]), y.place(line.low[i]) }
    points[2 * count + 1 - i] = { x.place(line.x[i]), y.place(line.high[i]) }
  end
  return points
end

local MARK_SIZE, DOT_SIZE = 6.5, 4.5

--- A disc with a white rim, so that it stands out from the lines.
local function draw_mark(page, px, py, color)
  page:disc(px, py, MARK_SIZE + 2, { 255, 255, 255 })
  page:disc(px, py, MARK_SIZE, color)
end

local function dash_of(line) return line.dashed and { 16, 10 } or nil end

local function draw_series(page, area, series, x, y)
  page:within(area, function()
    for _, line in ipairs(series) do
      if line.low and #line.x > 1 then page:polygon(band_points(line, x, y), line.color, BAND_ALPHA) end
    end
    for _, line in ipairs(series) do
      if not line.marks then page:path(points_of(line, x, y), line.color, LINE, dash_of(line)) end
    end
  end)
  for _, line in ipairs(series) do
    for i, point in ipairs((line.marks or line.dots) and points_of(line, x, y) or {}) do
      local title = ("%s: %.4g, %.4g"):format(line.name or "", line.x[i], line.y[i])
      if line.marks then
        draw_mark(page, point[1], point[2], line.color)
      else
        page:disc(point[1], point[2], DOT_SIZE, line.color, title)
      end
    end
  end
end

-- ---- legend ----

local SAMPLE, ROW, PADDING = 42, 36, 18

local function legend_size(series)
  local widest, rows = 0, 0
  for _, line in ipairs(series) do
    if line.name then
      widest, rows = math.max(widest, draw.text_width(line.name, TICK)), rows + 1
    end
  end
  return 2 * PADDING + SAMPLE + 14 + widest, 2 * PADDING + ROW * (rows - 1) + draw.cap_height(TICK), rows
end

local STEPS = 16 -- looked at between two points of a line

--- How many points lie in a box, of lines also places between them.
local function points_inside(series, x, y, box)
  local inside = 0
  for _, line in ipairs(series) do
    local points = points_of(line, x, y)
    for i, point in ipairs(points) do
      local next_point = not line.marks and points[i + 1] or point
      for step = 0, STEPS - 1 do
        local px = point[1] + step / STEPS * (next_point[1] - point[1])
        local py = point[2] + step / STEPS * (next_point[2] - point[2])
        if px > box.x and px < box.x + box.width and py > box.y and py < box.y + box.height then inside = inside + 1 end
      end
    end
  end
  return inside
end

--- The corner of the area where the legend hides the fewest points.
local function legend_box(area, series, x, y)
  local width, height = legend_size(series)
  local best, fewest
  for _, corner in ipairs { { 0, 0 }, { 1, 0 }, { 1, 1 }, { 0, 1 } } do
    local box = { width = width, height = height }
    box.x = whole(corner[1] == 0 and area.left + 20 or area.right - width - 4)
    box.y = whole(corner[2] == 0 and area.top + 4 or area.bottom - height - 16)
    local inside = points_inside(series, x, y, box)
    if not best or inside < fewest then best, fewest = box, inside end
  end
  return best
end

local function draw_legend(page, area, series, x, y)
  local _, _, rows = legend_size(series)
  if rows == 0 then return end
  local box = legend_box(area, series, x, y)
  local width, height = whole(box.width), whole(box.height)
  page:rectangle(box.x, box.y, width, height, grid_color)
  page:rectangle(box.x + 1, box.y + 1, width - 2, height - 2, { 255, 255, 255 })
  local cap, left = draw.cap_height(TICK), box.x + PADDING
  local baseline = box.y + PADDING + cap
  for _, line in ipairs(series) do
    if line.name then
      local middle = baseline - cap / 2
      if line.marks then
        draw_mark(page, left + SAMPLE / 2, middle, line.legend_color)
      else
        page:path({ { left, middle }, { left + SAMPLE, middle } }, line.legend_color, LINE, dash_of(line))
      end
      page:text(left + SAMPLE + 14, baseline, line.name, { size = TICK, color = ink })
      baseline = baseline + ROW
    end
  end
end

-- ---- the plot ----

local axis_schema = {
  label = { type = "string" },
  min = { type = "number", optional = true },
  max = { type = "number", optional = true },
}

local numbers = { type = "list", of = { type = "number", min = -1e300, max = 1e300 }, min_length = 1 }
local optional_numbers = { type = "list", of = numbers.of, optional = true }

local color_rule = { type = "list", of = { type = "integer", min = 0, max = 255 }, min_length = 3, optional = true }

local series_schema = {
  name = { type = "string", optional = true },
  x = numbers,
  y = numbers,
  low = optional_numbers,
  high = optional_numbers,
  color = color_rule,
  legend_color = color_rule,
  dashed = { type = "boolean", default = false },
  marks = { type = "boolean", default = false },
  dots = { type = "boolean", default = false },
}

local schema = {
  title = { type = "string", default = "" },
  subtitle = { type = "string", default = "" },
  x = { type = "table" },
  y = { type = "table" },
  series = { type = "list", of = { type = "table" }, min_length = 1 },
  width = { type = "integer", min = 300, max = 10000, default = 1200 },
  height = { type = "integer", min = 200, max = 10000, default = 840 },
}

local function checked_series(list)
  local series = {}
  for i, line in ipairs(list) do
    local where = ("mt.plot.lines: option 'series'[%d]"):format(i)
    local o = check.options(where, line, series_schema)
    for _, name in ipairs { "y", "low", "high" } do
      if o[name] and #o[name] ~= #o.x then
        check.fail("%s: option '%s': %d numbers expected (one per x), got %d", where, name, #o.x, #o[name])
      end
    end
    if (o.low == nil) ~= (o.high == nil) then
      check.fail(where .. ": options 'low' and 'high': both or neither expected")
    end
    for n = 2, o.low and #o.x or 0 do
      if o.x[n] <= o.x[n - 1] then check.fail(where .. ": option 'x': rising numbers expected (for a band)") end
    end
    o.color = o.color or plot.palette[(i - 1) % #plot.palette + 1]
    o.legend_color = o.legend_color or o.color
    series[i] = o
  end
  return series
end

--- Where the curves go, between title, labels and margins.
local function area_of(o)
  local head = MARGIN
  if o.title ~= "" then head = head + draw.cap_height(TITLE) + 14 end
  if o.subtitle ~= "" then head = head + draw.cap_height(SUBTITLE) + 14 end
  return { left = MARGIN + 110, right = o.width - MARGIN - 20, top = whole(head + 14), bottom = o.height - 112 }
end

--- Draws lines.
-- @tparam table options `x`, `y`: each a table of `label`, and `min` and `max` (else from the data, at round numbers);
-- `series`: list of `x`, `y` (lists of numbers), `name` (in the legend), `low` and `high` (a band; x rises then),
-- `color` ({r, g, b}), `legend_color` (`color`), `dashed` (false), `marks` (false: a line; true: a disc at each point),
-- `dots` (false; true: the line, and a small disc at each point);
-- `title`, `subtitle`; `width` (1200), `height` (840) in pixels
-- @treturn Drawing `write(path)` makes NAME.png, NAME.pdf or NAME.svg of it
function plot.lines(options)
  local o = check.options("mt.plot.lines", options, schema)
  o.x = check.options("mt.plot.lines: option 'x'", o.x, axis_schema)
  o.y = check.options("mt.plot.lines: option 'y'", o.y, axis_schema)
  local series, area = checked_series(o.series), area_of(o)
  local low, high = axis.range(series, { "x" })
  local x = axis.new(o.x, low, high, area.left, area.right, 10)
  low, high = axis.range(series, { "y", "low", "high" })
  local y = axis.new(o.y, low, high, area.bottom, area.top, 9)
  local page = draw.new(o.width, o.height)
  local baseline = MARGIN + draw.cap_height(TITLE)
  page:text(area.left, baseline, o.title, { size = TITLE, color = ink, bold = true })
  if o.title ~= "" then baseline = baseline + 16 + draw.cap_height(SUBTITLE) end
  page:text(area.left, baseline, o.subtitle, { size = SUBTITLE, color = faint })
  draw_axes(page, area, x, y)
  draw_series(page, area, series, x, y)
  draw_legend(page, area, series, x, y)
  return page
end

-- ---- histories ----

--- What a history has, in the order in which it is drawn: by the figure's name.
local curves = {
  accuracy = {
    title = "Accuracy", label = "accuracy, %", scale = 100,
    { field = "train_accuracy", name = "training", dashed = true },
    { field = "val_accuracy", name = "validation" },
    { field = "val_worst_class", name = "worst class" },
    { field = "val_worst_group", name = "worst group" },
  },
  loss = {
    title = "Loss", label = "cross-entropy", scale = 1,
    { field = "train_loss", name = "training", dashed = true },
    { field = "val_loss", name = "validation" },
  },
}

local MOST_DOTS = 40

--- Draws the learning curves of a training.
-- @tparam {table,...} history as in the result of mt.train
-- @string what "accuracy" (in per cent) or "loss"
-- @tparam[opt] table options `title`, `width`, `height` as of mt.plot.lines
-- @treturn ?Drawing nil where the history has none of it
function plot.curves(history, what, options)
  local o = check.options("mt.plot.curves", options, tables.picked(schema, { title = 1, width = 1, height = 1 }))
  check.argument("mt.plot.curves", "what", what, { choices = { "accuracy", "loss" } })
  local series, kind = {}, curves[what]
  for _, curve in ipairs(kind) do
    local x, y = {}, {}
    for _, row in ipairs(history) do
      if row[curve.field] then x[#x + 1], y[#y + 1] = row.epoch, kind.scale * row[curve.field] end
    end
    if #x > 0 then
      series[#series + 1] = { x = x, y = y, name = curve.name, dashed = curve.dashed, dots = #x <= MOST_DOTS }
    end
  end
  if #series == 0 then return nil end
  return plot.lines {
    title = o.title ~= "" and o.title or kind.title, x = { label = "epoch" }, y = { label = kind.label },
    series = series, width = o.width, height = o.height,
  }
end

local function history_of(what)
  local list = type(what) == "table" and (what.history or what)
  if type(list) == "table" and type(list[1]) == "table" and list[1].epoch then return list end
  check.fail("mt.plot: argument 'history': the history of mt.train, or a result that has one, expected, got %s",
    check.describe(what))
end

--- The learning curves of a training, in per cent, shown as `mt.show` shows pictures; where masktune was built without
-- Cairo, an SVG file whose path is printed.
-- @function plot
-- @tparam table history as in the result of mt.train or mt.masktune, or such a result
-- @tparam[opt] table options of mt.show, and `title`
-- @treturn ?string what mt.show gives
function plot.history(history, options)
  local o = options or {}
  local drawing = plot.curves(history_of(history), "accuracy", { title = o.title })
  if not drawing then check.fail "mt.plot: argument 'history': it holds no accuracy" end
  if draw.has_cairo() then return show(drawing:image(), tables.without(o, { "title" })) end
  local path = drawing:write(o.path or os.tmpname() .. ".svg")
  if o.print ~= false then print(path) end
  return path
end

return setmetatable(plot, { __call = function(_, ...) return plot.history(...) end })
