--- Line charts as SVG, in the colours of the page that they are in (masktune.html).
-- @module masktune.html.chart
local check = require "masktune.check"
local escape = require("masktune.html").escape

local chart = {}

local WIDTH, HEIGHT = 560, 340
local LEFT, RIGHT, TOP, BOTTOM = 56, 14, 30, 44
local COLORS = 6

--- The smallest of 1, 2 or 5 times a power of ten that gives at most `most` steps over a range.
local function round_step(range, most)
  local power = 10.0 ^ math.floor(math.log(range / most, 10))
  for _, factor in ipairs { 1, 2, 5 } do
    if range / (factor * power) <= most then return factor * power end
  end
  return 10 * power
end

local function range_of(series, names)
  local low, high = math.huge, -math.huge
  for _, line in ipairs(series) do
    for _, name in ipairs(names) do
      for _, number in ipairs(line[name] or {}) do
        low, high = math.min(low, number), math.max(high, number)
      end
    end
  end
  if low > high then low, high = 0, 1 end
  if low == high then low, high = low - 0.5, high + 0.5 end
  return low, high
end

local function axis(low, high, first, last, most)
  local step = round_step(high - low, most)
  low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
  local digits = math.max(0, -math.floor(math.log(step, 10) + 1e-9))
  local ticks = {}
  for number = math.floor(low / step + 0.5), math.floor(high / step + 0.5) do
    ticks[#ticks + 1] = { number * step, ("%." .. digits .. "f"):format(number * step) }
  end
  return function(number) return first + (number - low) / (high - low) * (last - first) end, ticks
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
  local low, high = range_of(o.series, { "x" })
  local place_x, ticks_x = axis(low, high, LEFT, WIDTH - RIGHT, 8)
  low, high = range_of(o.series, { "y", "low", "high" })
  local place_y, ticks_y = axis(low, high, HEIGHT - BOTTOM, TOP, 6)
  local names = {}
  for i, line in ipairs(o.series) do
    names[i] = line.name
  end
  local parts = { ('<figure class="chart"><svg viewBox="0 0 %d %d" role="img" aria-label="%s"><text x="%d" y="16" '
    .. 'font-weight="600">%s</text>'):format(WIDTH, HEIGHT, escape(("%s: %s against %s; %s"):format(o.title, o.y, o.x,
      table.concat(names, ", "))), LEFT, escape(o.title)) }
  local function add(text, ...) parts[#parts + 1] = text:format(...) end
  for _, tick in ipairs(ticks_y) do
    local y = place_y(tick[1])
    add('<path class="grid" d="M%d %.1fH%d"/><text x="%d" y="%.1f" text-anchor="end">%s</text>', LEFT, y, WIDTH - RIGHT,
      LEFT - 7, y + 4.5, tick[2])
  end
  for _, tick in ipairs(ticks_x) do
    add('<text x="%.1f" y="%d" text-anchor="middle">%s</text>', place_x(tick[1]), HEIGHT - BOTTOM + 18, tick[2])
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

return chart
