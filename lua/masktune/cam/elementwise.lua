--- Grad-CAM element by element: the map `sum_c max(0, g_c A_c)`.
-- The Python package grad-cam's GradCAMElementWise; a variant of HiResCAM (Draelos and Carin 2020) that keeps what
-- speaks for the class before the channels are added. Gives the map, float32 {N,h,w}.
-- @module masktune.cam.elementwise
return {
  summary = "activation times gradient, only what speaks for the class, channel by channel",
  paper = "grad-cam's GradCAMElementWise, after Draelos and Carin 2020",
  rule = function(tap) return (tap.gradient * tap.value):relu():sum(4) end,
}
