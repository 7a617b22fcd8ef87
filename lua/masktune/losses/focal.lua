--- Focal loss (Lin et al. 2017): the mean over images of (1 - p_y)^gamma times the cross-entropy.
local core = require "masktune.core"

return {
  summary = "focal loss: well-classified images weigh less (Lin et al. 2017)",
  schema = { gamma = { type = "number", min = 0, default = 1 } },
  new = function(o)
    return function(model, batch)
      local logits = model(batch[batch.input])
      local each = core.cross_entropy(logits, batch.labels, { reduction = "none" })
      return ((1 - (-each):exp()) ^ o.gamma * each):mean(), logits
    end
  end,
}
