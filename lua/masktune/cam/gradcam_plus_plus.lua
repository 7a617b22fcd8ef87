--- Grad-CAM++: `w_c = sum(relu(g_c) a_c)` with `a_c = g_c^2 / (2 g_c^2 + sum(A_c) g_c^3 + 1e-6)`, sums over the pixels.
-- Chattopadhay, Sarkar, Howlader and Balasubramanian 2018, "Grad-CAM++: Generalized Gradient-based Visual Explanations
-- for Deep Convolutional Networks", equation 19. Gives max(0, sum_c w_c A_c), float32 {N,h,w}.
-- @module masktune.cam.gradcam_plus_plus
local gradcam_plus_plus = {
  summary = "Grad-CAM with gradients weighted pixel by pixel, for several objects of a class",
  paper = "Chattopadhay et al. 2018, Grad-CAM++",
  rule = function(tap)
    local g = tap.gradient
    local squared, sums = g * g, tap.value:sum({ 2, 3 }, { keepdim = true })
    local alpha = squared / (2 * squared + sums * squared * g + 1e-6)
    return (g:relu() * alpha):sum { 2, 3 }
  end,
}

return { entries = { ["gradcam++"] = gradcam_plus_plus } } -- a name that no file can have
