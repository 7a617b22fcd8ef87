--- How wide text is, so that drawings are laid out alike wherever they are drawn and whatever fonts are there: the
-- widths of DejaVu Sans, the widest of the usual sans serifs, so that text in another one fits as well.
-- @module masktune.draw.font
local font = {}

local EM = 1000
local CAP_HEIGHT = 0.73 -- of the size
local OTHER = 640 -- a letter that is not in the table

-- From the space to the tilde.
local widths = {
  318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636, 636,
  636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863,
  748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635,
  615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636,
  337, 636, 838,
}

--- The width of a line of text.
-- @string text UTF-8
-- @number size of the font
-- @treturn number
function font.width(text, size)
  local sum = 0
  for character in text:gmatch(utf8.len(text) and utf8.charpattern or ".") do
    sum = sum + (#character == 1 and widths[character:byte() - 31] or OTHER)
  end
  return sum * size / EM
end

--- The height of capitals and digits.
-- @number size of the font
-- @treturn number
function font.cap_height(size) return CAP_HEIGHT * size end

return font
