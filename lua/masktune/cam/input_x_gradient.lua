--- Input x gradient: the map `sum_c x_c g_c` of the image's channels.
-- Shrikumar, Greenside, Shcherbina and Kundaje 2016, "Not Just a Black Box: Learning Important Features Through
-- Propagating Activation Differences". Gives max(0, map): the pixels that speak for the class, float32 {N,H,W}.
-- @module masktune.cam.input_x_gradient
return {
  summary = "the image times its gradient",
  paper = "Shrikumar et al. 2016, Not Just a Black Box",
  input = true,
  rule = function(tap) return (tap.value * tap.gradient):sum(4) end,
}
