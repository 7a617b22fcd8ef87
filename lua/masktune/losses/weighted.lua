--- Cross-entropy in which an image weighs as much as its class or group: the mean over the batch of weight * loss
-- (PyTorch's class weights divide by the sum of the batch's weights instead, which takes part of the weighting back).
local core = require "masktune.core"

return {
  summary = "cross-entropy with a weight for each class or group",
  schema = {
    weights = { type = "list", of = { type = "number", min = 0 }, min_length = 1 },
    by = { type = "string", default = "labels" },
  },
  new = function(o)
    local weights = core.tensor(o.weights)
    return function(model, batch)
      local logits = model(batch[batch.input])
      local each = core.cross_entropy(logits, batch.labels, { reduction = "none" })
      return (weights:index(batch[o.by]:to("int32")) * each):mean(), logits
    end
  end,
}
