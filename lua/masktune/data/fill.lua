--- What takes the place of masked pixels: black, as in the paper, or their surroundings, so that a mask's own outline
-- tells nothing. In photos a black patch that always lies in the same corner is as good a cue as what it hides.
-- @module masktune.data.fill
local core = require "masktune.core"

local IMAGES = 64 -- at once

--- Noise as rough as each image: float32 {N,H,W,C}. Neighbours of white noise of deviation s differ by 2 s / sqrt(pi)
-- in the mean. It follows from the image and its mask alone, so that it does not depend on what is looked at beside it.
local function grain(images, hidden)
  local width, parts = images:size(3), {}
  local steps = (images:narrow(3, 2, width - 1) - images:narrow(3, 1, width - 1)):abs():mean({ 2, 3, 4 }):totable()
  for i, count in ipairs(hidden:sum({ 2, 3 }):totable()) do
    local shape = { 1, images:size(2), width, images:size(4) }
    local deviation = steps[i] * math.sqrt(math.pi) / 2
    parts[i] = core.randn(shape, { generator = core.generator(math.floor(count)) }) * deviation
  end
  return core.cat(parts, 1)
end

--- Pixels filled from those around them (mt.mask.impute) with the image's grain, in the images' own type. Without grain
-- the smooth patch would be as good a cue as what it hides.
local function imputed(images, keep)
  local parts, whole, width = {}, images:dtype() == "uint8", images:size(3)
  for first = 1, #images, IMAGES do
    local count = math.min(IMAGES, #images - first + 1)
    local part = images:narrow(1, first, count)
    if whole then part = part:to("float32") / 255 end
    local kept = keep:narrow(1, first, count)
    local hidden = 1 - kept:to("float32")
    part = core.mask.impute(part, kept) + (width > 1 and grain(part, hidden) * hidden:unsqueeze(4) or 0)
    parts[#parts + 1] = whole and (part:clamp(0, 1) * 255 + 0.5):to("uint8") or part
  end
  return #parts > 0 and core.cat(parts, 1) or images
end

--- Images with masks.
-- @tparam Tensor images {N,H,W,C}, uint8 or float32
-- @tparam Tensor keep as in mask.apply; "impute" takes hard masks only (uint8)
-- @string[opt="zero"] how "zero" or "impute"
-- @treturn Tensor of the images' type
return function(images, keep, how)
  if how == "impute" then return imputed(images, keep) end
  return core.mask.apply(images, keep)
end
