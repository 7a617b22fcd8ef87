--- HiResCAM: the map `sum_c g_c A_c`.
-- Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
-- networks". Gives max(0, map), float32 {N,h,w}.
-- @module masktune.cam.hirescam
return {
  summary = "activation times gradient, pixel by pixel: what each pixel adds to the score",
  paper = "Draelos and Carin 2020, HiResCAM",
  rule = function(tap) return (tap.gradient * tap.value):sum(4) end,
}
