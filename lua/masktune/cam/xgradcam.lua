--- XGrad-CAM, the method of the MaskTune paper: `w_c = sum(g_c A_c) / (sum A_c + 1e-7)`, sums over the pixels.
-- Fu, Hu, Dong, Guo, Gao and Li 2020, "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs".
-- Gives max(0, sum_c w_c A_c), float32 {N,h,w}; the divisor is as the Python package grad-cam has it.
-- @module masktune.cam.xgradcam
local core = require "masktune.core"

return {
  summary = "channels weighted with their share of the score: sum(g A) / sum A (the MaskTune paper's)",
  paper = "Fu et al. 2020, Axiom-based Grad-CAM",
  native = core.cam.xgradcam,
  rule = function(tap) return core.cam.rules.xgradcam(tap.value, tap.gradient) end,
}
