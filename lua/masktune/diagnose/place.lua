--- Where heat lies: is it always the same place?
-- @module masktune.diagnose.place
local place = {}

--- Whether two windows have their middles within half a side of each other.
local function close(list, i, j)
  return math.abs(list.rows[i] - list.rows[j]) <= list.side / 2
    and math.abs(list.columns[i] - list.columns[j]) <= list.side / 2
end

local function third(first, side, length)
  local middle = (first - 1 + side / 2) / length
  return middle < 0.33 and 1 or middle > 0.67 and 3 or 2
end

local names = {
  { "top-left corner", "top edge", "top-right corner" },
  { "left edge", "middle", "right edge" },
  { "bottom-left corner", "bottom edge", "bottom-right corner" },
}

--- The place where most windows lie.
-- @tparam table list windows, one or more
-- @tparam integer height of the images
-- @tparam integer width
-- @treturn table `share` of the windows that lie within half a side of `row`, `column` (the first of the window there);
-- `name` ("top-left corner", "middle", ...)
function place.densest(list, height, width)
  local best, most = 1, 0
  for i = 1, #list.rows do
    local count = 0
    for j = 1, #list.rows do
      if close(list, i, j) then count = count + 1 end
    end
    if count > most then best, most = i, count end
  end
  local row, column = list.rows[best], list.columns[best]
  return {
    share = most / #list.rows, row = row, column = column,
    name = names[third(row, list.side, height)][third(column, list.side, width)],
  }
end

--- The average heatmap of some images, each scaled to the sum 1, and how evenly it is spread.
-- @tparam Tensor heat float32 {N,h,w}, none of them 0 everywhere
-- @treturn Tensor float32 {h,w}, sum 1
-- @treturn number its entropy over that of heat that is the same everywhere: 1 is spread evenly, 0 a single cell
-- @treturn number the share of it in the outermost cells, over the share of cells that these are
function place.average(heat)
  local rows, columns = heat:size(2), heat:size(3)
  local scaled = heat / heat:sum({ 2, 3 }, { keepdim = true })
  local mean = scaled:mean(1)
  local cells, outer, outer_heat = mean:reshape(-1):totable(), 0, 0
  local entropy = 0
  for i, share in ipairs(cells) do
    local row, column = (i - 1) // columns + 1, (i - 1) % columns + 1
    if share > 0 then entropy = entropy - share * math.log(share) end
    if row == 1 or row == rows or column == 1 or column == columns then
      outer, outer_heat = outer + 1, outer_heat + share
    end
  end
  return mean, #cells > 1 and entropy / math.log(#cells) or 0, outer_heat / (outer / #cells)
end

return place
