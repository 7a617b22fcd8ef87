--- Balanced softmax (Ren et al. 2020): cross-entropy of the logits plus the logarithms of the class counts, so that the
-- logits themselves fit balanced data.
local core = require "masktune.core"

return {
  summary = "cross-entropy corrected for the classes' shares (Ren et al. 2020)",
  schema = { counts = { type = "list", of = { type = "number", above = 0 }, min_length = 2 } },
  new = function(o)
    local shift = core.tensor(o.counts):log():reshape(1, -1)
    return function(model, batch)
      local logits = model(batch[batch.input])
      return core.cross_entropy(logits + shift, batch.labels), logits
    end
  end,
}
