--- SmoothGrad: the map `sum_c |mean g_c|`, the mean of the image's gradients under normal noise.
-- Smilkov, Thorat, Kim, Viegas and Wattenberg 2017, "SmoothGrad: removing noise by adding noise". Gives the map,
-- float32 {N,H,W}. Options: `samples` (50), `noise` (0.15: its standard deviation as a share of each image's range,
-- max - min), `generator` (default: mt.generator(1), anew for each call). Draws follow the batches: another `batch`,
-- other noise.
-- @module masktune.cam.smoothgrad
local core = require "masktune.core"

return {
  summary = "the image's gradient, averaged under noise",
  paper = "Smilkov et al. 2017, SmoothGrad",
  input = true,
  gradient = false,
  options = {
    samples = { type = "integer", min = 1, default = 50 },
    noise = { type = "number", min = 0, default = 0.15 },
    generator = { type = "any", optional = true },
  },
  rule = function(tap, context)
    local o, images, mean = context.options, tap.value, nil
    local axes, keep = { 2, 3, 4 }, { keepdim = true }
    local deviation = (images:max(axes, keep) - images:min(axes, keep)) * o.noise
    for _ = 1, o.samples do
      local noise = core.randn(images:shape(), { generator = o.generator }) * deviation
      local gradient = context:input_gradient(images + noise)
      mean = mean and mean + gradient or gradient
    end
    return (mean / o.samples):abs():sum(4)
  end,
}
