--- What the hottest windows show: is it always the same thing, wherever it lies?
-- Windows are compared by their pixels, brought to 4x4: the root of the mean squared difference, in [0,1]; and by the
-- colour of what is most colourful in them, wherever in the window it lies.
-- @module masktune.diagnose.content
local core = require "masktune.core"

local content = {}

local CELLS = 4
local ALIKE = 0.15 -- a difference that still counts as the same thing

--- Windows as rows of numbers in [0,1]: float32 {N,d}.
local function described(cuts)
  local images = cuts:dtype() == "uint8" and cuts:to("float32") / 255 or cuts
  return core.image.resize(images, { size = { CELLS, CELLS } }):reshape(#cuts, -1)
end

--- Differences of all rows of a to all rows of b: float32 {#a,#b}.
local function differences(a, b)
  local width = a:size(2)
  local squares = (a ^ 2):sum(2):reshape(#a, 1) + (b ^ 2):sum(2):reshape(1, #b) - core.matmul(a, b:transpose(1, 2)) * 2
  return (squares / width):clamp(0, 1) ^ 0.5
end

local FINE, VIVID = 8, 0.3 -- cells; how far a colour is from gray

--- The colour of the most colourful quarter of each window's cells: float32 {N,C}; and whether it is one, uint8 {N}.
local function tints(cuts)
  local images = cuts:dtype() == "uint8" and cuts:to("float32") / 255 or cuts
  local cells = core.image.resize(images, { size = { FINE, FINE } }):reshape(#cuts, FINE * FINE, -1)
  local vividness = cells:max(3) - cells:min(3)
  local least = vividness:sort(2):narrow(2, FINE * FINE * 3 // 4 + 1, 1)
  local chosen = vividness:ge(least):to("float32")
  local mean = (cells * chosen:unsqueeze(3)):sum(2) / chosen:sum(2):reshape(#cuts, 1)
  return mean, (mean:max(2) - mean:min(2)):ge(VIVID)
end

--- The share of windows that are like the most typical one, and that of other windows that are.
-- @tparam Tensor rows what windows are compared by, float32 {N,D}
-- @tparam Tensor theirs the same of the other windows
-- @tparam[opt] Tensor there uint8 {N}: 0 where a window is like no other
-- @tparam[opt] Tensor are_there the same of the other windows
local function commonest(rows, theirs, there, are_there)
  local alike = differences(rows, rows):le(ALIKE)
  if there then alike = alike * there:reshape(-1, 1) * there:reshape(1, -1) end
  local typical = alike:to("float32"):sum(2):argmax(1):item()
  local near = differences(theirs, rows:narrow(1, typical, 1)):le(ALIKE)
  if are_there then near = near * are_there:reshape(-1, 1) end
  return {
    share = alike[typical]:to("float32"):mean():item(), elsewhere = near:to("float32"):mean():item(),
    typical = typical, alike = alike[typical]:totable(),
  }
end

local function same_tint(cuts, others)
  local rows, there = tints(cuts)
  local theirs, are_there = tints(others)
  return commonest(rows, theirs, there, are_there)
end

local hues = {
  { "red", { 1, 0, 0 } }, { "green", { 0, 1, 0 } }, { "blue", { 0, 0, 1 } }, { "yellow", { 1, 1, 0 } },
  { "magenta", { 1, 0, 1 } }, { "cyan", { 0, 1, 1 } }, { "orange", { 1, 0.5, 0 } },
}

--- A colour's name: the hue it is nearest to where it has one, else how bright it is.
-- @tparam {number,...} rgb in [0,1]
-- @treturn string
function content.color(rgb)
  local low, high = math.min(table.unpack(rgb)), math.max(table.unpack(rgb))
  if #rgb < 3 or high - low < 0.15 then return high < 0.25 and "black" or high > 0.75 and "white" or "gray" end
  local name, least = nil, math.huge
  for _, hue in ipairs(hues) do
    local distance = 0
    for c = 1, 3 do
      distance = distance + ((rgb[c] - low) / (high - low) - hue[2][c]) ^ 2
    end
    if distance < least then name, least = hue[1], distance end
  end
  return name
end

--- The colour of the most colourful quarter of a window's cells: a cue seldom fills its window.
local function vivid(cells)
  table.sort(cells, function(a, b)
    return math.max(table.unpack(a)) - math.min(table.unpack(a)) > math.max(table.unpack(b)) - math.min(table.unpack(b))
  end)
  local mean, count = {}, #cells // 4
  for c = 1, #cells[1] do
    mean[c] = 0
    for i = 1, count do
      mean[c] = mean[c] + cells[i][c] / count
    end
  end
  return mean
end

--- The thing that most windows of a class show.
-- @tparam Tensor cuts {N,s,s,C} of the class
-- @tparam Tensor others {M,s,s,C}: anything from images of other classes
-- @treturn table `share` of the class's windows that are like the most typical one, `elsewhere`: share of the others;
-- `typical`: its place in `cuts`; `alike`: for each window whether it is like it; `color`: its name
function content.commonest(cuts, others)
  local rows, channels = described(cuts), cuts:size(4)
  local found = commonest(rows, described(others))
  local tint = channels >= 3 and same_tint(cuts, others)
  if tint and tint.share - tint.elsewhere > found.share - found.elsewhere then found = tint end
  found.color = content.color(vivid(rows:narrow(1, found.typical, 1):reshape(-1, channels):totable()))
  return found
end

return content
