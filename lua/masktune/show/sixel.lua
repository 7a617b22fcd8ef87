--- Pictures as sixels (DEC's terminals; VT330/VT340 Programmer Reference Manual, chapter 14): bands of six rows, in the
-- 216 colours of a cube of six steps.
-- @module masktune.show.sixel
local core = require "masktune.core"

local STEPS = 5 -- of each colour, above 0

--- How the sixels of a band begin: its colours, each with the rows (bits) it has in every column.
local function colors_of(indices, first, height, width)
  local bands = {}
  for row = first, math.min(first + 5, height - 1) do
    for column = 0, width - 1 do
      local color = indices[row * width + column + 1]
      local band = bands[color] or {}
      band[column] = (band[column] or 0) | 1 << (row - first)
      bands[color] = band
    end
  end
  return bands
end

--- One colour of a band, equal columns run together.
local function encoded(band, width)
  local parts, column = {}, 0
  while column < width do
    local bits, count = band[column] or 0, 1
    while column + count < width and (band[column + count] or 0) == bits do count = count + 1 end
    local sixel = string.char(63 + bits)
    parts[#parts + 1] = count > 3 and ("!%d%s"):format(count, sixel) or sixel:rep(count)
    column = column + count
  end
  return table.concat(parts)
end

--- @tparam Tensor image uint8 {H,W,3}
-- @treturn string
return function(image)
  local height, width = image:size(1), image:size(2)
  local steps = (image:to "float32" * (STEPS / 255)):round()
  local weights = core.tensor { 36, 6, 1 }:reshape(1, 1, 3)
  local indices = (steps * weights):sum(3):to "int32":reshape(-1):totable()
  local parts = { ('\27Pq"1;1;%d;%d'):format(width, height) }
  local function percent(step) return step * 100 // STEPS end
  for color = 0, 215 do
    local red, green, blue = color // 36, color // 6 % 6, color % 6
    parts[#parts + 1] = ("#%d;2;%d;%d;%d"):format(color, percent(red), percent(green), percent(blue))
  end
  for first = 0, height - 1, 6 do
    local bands, order = colors_of(indices, first, height, width), {}
    for color in pairs(bands) do
      order[#order + 1] = color
    end
    table.sort(order)
    for i, color in ipairs(order) do
      parts[#parts + 1] = ("#%d%s%s"):format(color, encoded(bands[color], width), i < #order and "$" or "-")
    end
  end
  return table.concat(parts) .. "\27\\\n"
end
