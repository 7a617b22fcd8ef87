--- Eigen-CAM with a class: the first principal component of `g A`, with eigencam's choice of its sign.
-- The Python package grad-cam's EigenGradCAM, after Muhammad and Yeasin 2020. Gives max(0, map), float32 {N,h,w}.
-- @module masktune.cam.eigengradcam
local core = require "masktune.core"

return {
  summary = "first principal component of activation times gradient",
  paper = "grad-cam's EigenGradCAM, after Muhammad and Yeasin 2020, Eigen-CAM",
  rule = function(tap) return core.cam.principal(tap.gradient * tap.value) end,
}
