--- Figures that programs write: PNG where masktune was built with Cairo, else SVG.
local draw = require "masktune.draw"
local mt = require "masktune"

local drawings = { has_cairo = draw.has_cairo() }

--- The height and width of a figure that a program was to write as a PNG.
function drawings.size_of(path)
  if drawings.has_cairo then
    local image = mt.image.read_png(path)
    return image:size(1), image:size(2)
  end
  local width, height = mt.read_file((path:gsub("%.png$", ".svg"))):match 'viewBox="0 0 (%d+) (%d+)"'
  return math.tointeger(tonumber(height)), math.tointeger(tonumber(width))
end

return drawings
