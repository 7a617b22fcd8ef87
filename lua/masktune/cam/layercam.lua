--- LayerCAM: the map `sum_c max(0, g_c) A_c`.
-- Jiang, Zhang, Hou, Cheng and Wei 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization".
-- Gives max(0, map), float32 {N,h,w}. Works for early layers too.
-- @module masktune.cam.layercam
return {
  summary = "activations weighted pixel by pixel with positive gradients; good at early layers",
  paper = "Jiang et al. 2021, LayerCAM",
  rule = function(tap) return (tap.gradient:relu() * tap.value):sum(4) end,
}
