--- CVaR: the mean of the worst share of a batch's losses (Levy et al. 2020, the conditional value at risk, by batches).
-- Of B losses the alpha B largest count; where that is no whole number, the next one counts with the fraction. Small
-- batches make it noisy: of 64 images and alpha = 0.1 it is the mean of six.
local core = require "masktune.core"

--- The weights of the losses, adding up to 1.
local function weights_of(each, alpha)
  local order, share = each:detach():argsort(1, { descending = true }):totable(), alpha * #each
  local weights = {}
  for place, i in ipairs(order) do
    weights[i] = math.max(0, math.min(1, share - (place - 1))) / share
  end
  return core.tensor(weights)
end

return {
  summary = "the mean of the worst losses of a batch (CVaR; Levy et al. 2020)",
  schema = { alpha = { type = "number", above = 0, max = 1, default = 0.1 } },
  new = function(o)
    return function(model, batch)
      local logits = model(batch[batch.input])
      local each = core.cross_entropy(logits, batch.labels, { reduction = "none" })
      return (weights_of(each, o.alpha) * each):sum(), logits
    end
  end,
}
