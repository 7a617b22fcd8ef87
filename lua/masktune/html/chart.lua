--- Drawings (masktune.draw) in pages, in the page's colours: light and dark.
-- @module masktune.html.chart
local plot = require "masktune.plot"

local chart = {}

--- The size of a chart in a page: its letters are larger there, beside its lines, than on paper.
chart.size = { width = 820, height = 500 }

local colors = {
  ["#ffffff"] = "var(--paper)", ["#1e2126"] = "var(--ink)", ["#5f646c"] = "var(--faint)", ["#e5e7ea"] = "var(--line)",
  ["#0072b2"] = "var(--s1)", ["#d55e00"] = "var(--s2)", ["#009e73"] = "var(--s3)", ["#cc79a7"] = "var(--s4)",
  ["#56b4e9"] = "var(--s5)", ["#e69f00"] = "var(--s6)",
}

--- A drawing as part of a page.
-- @tparam Drawing drawing
-- @string label what it shows, for those who do not see it
-- @treturn string
function chart.of(drawing, label)
  return ('<figure class="chart">%s</figure>'):format(drawing:svg { colors = colors, label = label })
end

--- Accuracy and loss of a training, side by side; "" without an epoch.
-- @tparam {table,...} history as in the result of mt.train
-- @treturn string
function chart.history(history)
  local parts = {}
  for _, what in ipairs { "accuracy", "loss" } do
    local title = what == "loss" and "Loss while training" or "Accuracy while training"
    local drawing = plot.curves(history, what, { title = title, width = chart.size.width, height = chart.size.height })
    if drawing then parts[#parts + 1] = chart.of(drawing, title .. ", by epoch, of training and validation images") end
  end
  return #parts > 0 and '<div class="charts">' .. table.concat(parts) .. "</div>" or ""
end

return chart
