--- Eigen-CAM: the pixels' activations, less their mean, along their first principal component. No class, no gradient.
-- Muhammad and Yeasin 2020, "Eigen-CAM: Class Activation Map using Principal Components". A component's sign is free;
-- it is chosen so that the value farthest from zero is positive (Chung and Ying 2025, "Seg-Eigen-CAM", equation 13),
-- where the Python package grad-cam leaves it to chance. Gives max(0, map), float32 {N,h,w}.
-- @module masktune.cam.eigencam
local core = require "masktune.core"

return {
  summary = "first principal component of the activations; no class, no gradient",
  paper = "Muhammad and Yeasin 2020, Eigen-CAM",
  gradient = false,
  rule = function(tap) return core.cam.principal(tap.value) end,
}
