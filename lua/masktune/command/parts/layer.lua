--- The layer whose heatmaps are fine enough to mask by.
-- @module masktune.command.parts.layer
local core = require "masktune.core"
local inference = require "masktune.inference"

local layer = {
  --- How heatmaps are made there. xGradCAM weighs channels as wholes, which is right before the last pooling; where
  -- cells are finer, each counts for itself.
  cam = "layercam",
}

local FINE = 8 -- cells of a heatmap's height and width

--- Names of layers at most one level deep, in the order in which they run; the net's own last.
local function candidates(model)
  local names = {}
  local function add(name)
    if name ~= model.cam_layer then names[#names + 1] = name end
  end
  for name, child in model:children() do
    add(name)
    for inner in child:children() do
      add(name .. "." .. inner)
    end
  end
  names[#names + 1] = model.cam_layer
  return names
end

--- The last layer whose output has at least 8 x 8 cells; where none has, the net's own.
-- @tparam Module model with `cam_layer`
-- @tparam Tensor image float32 {1,H,W,C}
-- @treturn string name
-- @treturn integer rows of its output
-- @treturn integer columns
-- @treturn ?string what runs before it
function layer.fine(model, image)
  local names = candidates(model)
  local _, taps = inference.run(function() return core.capture(model, image, { layers = names, gradients = false }) end,
    model)
  local best
  for i, tap in ipairs(taps) do
    local shape = tap.value and tap.value:shape() or {}
    local own = tap.name == model.cam_layer
    local enough = #shape == 4 and shape[2] >= FINE and shape[3] >= FINE
    if own and (enough or not best) or enough and not own then
      best = { tap.name, shape[2], shape[3], names[i - 1] }
    end
  end
  return table.unpack(best)
end

return layer
