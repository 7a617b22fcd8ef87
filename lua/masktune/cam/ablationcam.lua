--- Ablation-CAM: `w_c = (s - s_c) / s`, s the target's logit and s_c the same with channel c set to zero. One forward
-- pass a channel through what follows the layer (through all of the net where it is no row of Sequentials down to the
-- layer); no gradient.
-- Desai and Ramaswamy 2020, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
-- Localization", equation 2. Gives max(0, sum_c w_c A_c), float32 {N,h,w}. The Python package grad-cam does the same
-- where the layer's smallest value is 0 (behind a ReLU); elsewhere it subtracts multiples of 10^7 instead.
-- @module masktune.cam.ablationcam
local core = require "masktune.core"

--- The scores of image i, {C}, without each of its channels.
local function scores_of(tap, context, i)
  local value, scores = tap.value:narrow(1, i, 1), {}
  local channels = value:size(4)
  local numbers = core.arange(1, channels + 1, 1, "int32")
  for first = 1, channels, context.batch do
    local count = math.min(context.batch, channels - first + 1)
    local kept = numbers:ne(numbers:narrow(1, first, count):reshape(count, 1)):to("float32")
    local logits = context:replaced(tap, i, value * kept:reshape(count, 1, 1, channels))
    scores[#scores + 1] = context:target_scores(logits, i)
  end
  return core.cat(scores, 1)
end

return {
  summary = "channels weighted with what the score loses without them; a forward pass a channel",
  paper = "Desai and Ramaswamy 2020, Ablation-CAM",
  gradient = false,
  rule = function(tap, context)
    local weights = {}
    for i = 1, #tap.value do
      local score = context:target_scores(context.logits:narrow(1, i, 1), i)
      weights[i] = (score - scores_of(tap, context, i)) / score
    end
    return core.stack(weights, 1)
  end,
}
