--- Grad-CAM: `w_c = mean g_c` over the pixels.
-- Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra 2017, "Grad-CAM: Visual Explanations from Deep Networks via
-- Gradient-based Localization". Gives max(0, sum_c w_c A_c), float32 {N,h,w}.
-- @module masktune.cam.gradcam
local core = require "masktune.core"

return {
  summary = "channels weighted with the mean of their gradients",
  paper = "Selvaraju et al. 2017, Grad-CAM",
  native = core.cam.gradcam,
  rule = function(tap) return core.cam.rules.gradcam(tap.value, tap.gradient) end,
}
