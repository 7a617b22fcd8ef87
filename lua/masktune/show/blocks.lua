--- Pictures in a terminal of 24-bit colours: a character for two pixels, one above the other.
-- @module masktune.show.blocks
local core = require "masktune.core"

local RESET = "\27[0m"
local UPPER_HALF = "\u{2580}"

--- Brings a picture to at most so many columns, keeping its shape.
local function fitted(image, columns)
  local height, width = image:size(1), image:size(2)
  if width <= columns then return image end
  local size = { math.max(1, math.floor(height * columns / width + 0.5)), columns }
  return core.image.resize(image, { size = size, antialias = true })
end

--- A picture as text.
-- @tparam Tensor image uint8 {H,W,3}
-- @tparam table options `columns` of the terminal
-- @treturn string lines, each of which ends with the terminal's own colours
return function(image, options)
  image = fitted(image, options.columns)
  local height, width = image:size(1), image:size(2)
  local bytes, lines = image:bytes(), {}
  local function color(row, column)
    local before = (row * width + column) * 3
    return bytes:byte(before + 1, before + 3)
  end
  for row = 0, height - 1, 2 do
    local cells, last = {}, nil
    for column = 0, width - 1 do
      local code = ("\27[38;2;%d;%d;%d"):format(color(row, column))
      code = row + 1 < height and ("%s;48;2;%d;%d;%dm"):format(code, color(row + 1, column)) or code .. ";49m"
      cells[#cells + 1] = (code == last and "" or code) .. UPPER_HALF
      last = code
    end
    lines[#lines + 1] = table.concat(cells) .. RESET
  end
  return table.concat(lines, "\n") .. "\n"
end
