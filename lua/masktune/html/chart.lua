--- Line charts as SVG, in the colours of the page that they are in (masktune.html).
-- @module masktune.html.chart
local axis = require "masktune.axis"
local check = require "masktune.check"
local escape = require("masktune.html").escape

local chart = {}

local WIDTH, HEIGHT = 560, 340
local LEFT, RIGHT, TOP, BOTTOM = 56, 14, 30, 44
local COLORS = 6

--- The axis of all numbers of these names; from 0 to 1 where there is none.
local function axis_of(series, names, first, last, most)
  local low, high = axis.range(series, names)
  if low > high then low, high = 0, 1 end
  return axis.new({}, low, high, first, last, most)
end

local function points(x, y, place_x, place_y, from, to, by)
  local list = {}
  for i = from, to, by do
    list[#list + 1] = ("%.1f,%.1f"):format(place_x(x[i]), place_y(y[i]))
  end
  return table.concat(list, " ")
end

local schema = {
  title = { type = "string" },
  x = { type = "string" },
  y = { type = "string" },
  series = { type = "list", of = { type = "table" }, min_length = 1 },
}

--- A line chart.
-- @tparam table options `title`, `x`, `y` (labels of the axes), `series`: list of {`name`, `x`, `y` (lists of numbers),
-- `low`, `high` (a band), `dashed`}
-- @treturn string
function chart.lines(options)
  local o = check.options("mt.html.chart", options, schema)
  local x_axis = axis_of(o.series, { "x" }, LEFT, WIDTH - RIGHT, 8)
  local y_axis = axis_of(o.series, { "y", "low", "high" }, HEIGHT - BOTTOM, TOP, 6)
  local place_x, place_y = x_axis.place, y_axis.place
  local names = {}
  for i, line in ipairs(o.series) do
    names[i] = line.name
  end
  local parts = { ('<figure class="chart"><svg viewBox="0 0 %d %d" role="img" aria-label="%s"><text x="%d" y="16" '
    .. 'font-weight="600">%s</text>'):format(WIDTH, HEIGHT, escape(("%s: %s against %s; %s"):format(o.title, o.y, o.x,
      table.concat(names, ", "))), LEFT, escape(o.title)) }
  local function add(text, ...) parts[#parts + 1] = text:format(...) end
  for _, tick in ipairs(y_axis.ticks) do
    local y = place_y(tick.value)
    add('<path class="grid" d="M%d %.1fH%d"/><text x="%d" y="%.1f" text-anchor="end">%s</text>', LEFT, y, WIDTH - RIGHT,
      LEFT - 7, y + 4.5, tick.text)
  end
  for _, tick in ipairs(x_axis.ticks) do
    add('<text x="%.1f" y="%d" text-anchor="middle">%s</text>', place_x(tick.value), HEIGHT - BOTTOM + 18, tick.text)
  end
  add('<path class="axis" d="M%d %dH%d"/>', LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT)
  add('<text x="%d" y="%d" text-anchor="middle">%s</text>', (LEFT + WIDTH - RIGHT) // 2, HEIGHT - 8, escape(o.x))
  add('<text transform="rotate(-90)" x="%d" y="14" text-anchor="middle">%s</text>', -(TOP + HEIGHT - BOTTOM) // 2,
    escape(o.y))
  for i, line in ipairs(o.series) do
    local color = ("var(--s%d)"):format((i - 1) % COLORS + 1)
    if line.low then
      local there = points(line.x, line.high, place_x, place_y, 1, #line.x, 1)
      local back = points(line.x, line.low, place_x, place_y, #line.x, 1, -1)
      add('<polygon class="band" fill="%s" points="%s %s"/>', color, there, back)
    end
    add('<polyline class="line" stroke="%s"%s points="%s"/>', color, line.dashed and ' stroke-dasharray="6 4"' or "",
      points(line.x, line.y, place_x, place_y, 1, #line.x, 1))
    for n = 1, #line.x <= 40 and #line.x or 0 do
      add('<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%s: %g, %.4g</title></circle>', place_x(line.x[n]),
        place_y(line.y[n]), color, escape(line.name), line.x[n], line.y[n])
    end
  end
  add "</svg><figcaption>"
  for i, line in ipairs(o.series) do
    add('<span style="color:var(--s%d)" aria-hidden="true">%s</span> %s &nbsp; ', (i - 1) % COLORS + 1,
      line.dashed and "&#9476;&#9476;" or "&#9473;&#9473;", escape(line.name))
  end
  add "</figcaption></figure>"
  return table.concat(parts)
end

--- Accuracy and loss of a training, side by side; "" without an epoch.
-- @tparam {table,...} history as in the result of mt.train
-- @treturn string
function chart.history(history)
  if #history == 0 then return "" end
  local function drawn(title, label, what, scale)
    local series = {}
    for _, part in ipairs { { "training", "train_" }, { "validation", "val_" } } do
      local line = { name = part[1], x = {}, y = {}, dashed = part[1] == "training" }
      for _, row in ipairs(history) do
        local value = row[part[2] .. what]
        if value then line.x[#line.x + 1], line.y[#line.y + 1] = row.epoch, scale * value end
      end
      if #line.x > 0 then series[#series + 1] = line end
    end
    return #series > 0 and chart.lines { title = title, x = "epoch", y = label, series = series } or ""
  end
  return '<div class="charts">' .. drawn("Accuracy while training", "accuracy, %", "accuracy", 100)
    .. drawn("Loss while training", "cross-entropy", "loss", 1) .. "</div>"
end

return chart
