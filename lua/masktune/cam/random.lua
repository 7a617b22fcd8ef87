--- Random channel weights, uniform in [-1,1): what a method has to beat.
-- Sanity baseline in the sense of Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim 2018, "Sanity Checks for Saliency
-- Maps". Gives max(0, sum_c w_c A_c), float32 {N,h,w}. Option `generator` (default: mt.generator(1), anew for each
-- call); one image after the other draws from it, whatever the batch.
-- @module masktune.cam.random
local core = require "masktune.core"

return {
  summary = "random channel weights: the baseline that a method has to beat",
  paper = "after Adebayo et al. 2018, Sanity Checks for Saliency Maps",
  gradient = false,
  options = { generator = { type = "any", optional = true } },
  rule = function(tap, context)
    local options, weights = { low = -1, high = 1, generator = context.options.generator }, {}
    for i = 1, #tap.value do
      weights[i] = core.rand(tap.value:size(4), options)
    end
    return core.stack(weights, 1)
  end,
}
