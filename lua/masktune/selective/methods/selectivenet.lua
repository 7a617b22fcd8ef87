--- SelectiveNet (Geifman and El-Yaniv 2019): beside the head f, a head g that says how far to answer, and an auxiliary
-- head h that sees all images: alpha (risk + lambda max(0, coverage - mean g)^2) + (1 - alpha) CE_h. One model for each
-- coverage. The risk is mean(g CE_f), as in the published code and so in the published numbers. The paper divides it by
-- mean g (`divide` = true): then nothing draws g down again where the first steps drove it to 1 for all images.
-- The published code takes the threshold from the test set, and inverts its switch for MC dropout in the risk of SR;
-- here thresholds are the caller's, from validation data.
local abstention = require "masktune.selective.abstention"
local core = require "masktune.core"

--- g: Linear, ReLU, normalisation, a tenth of it, Linear (a sigmoid follows); h: Linear.
local function part(head, o)
  local nn = core.nn
  return nn.Module {
    hidden = nn.Linear(head.inputs, o.hidden),
    norm = nn.BatchNorm1d(o.hidden),
    select = nn.Linear(o.hidden, 1),
    auxiliary = nn.Linear(head.inputs, head.outputs),
    forward = function(self, x) return self.select(self.norm(self.hidden(x):relu()) / 10):reshape(-1) end,
  }
end

return abstention.method {
  name = "selectivenet",
  title = "SelectiveNet",
  summary = "a head that learns what to answer, for one coverage",
  paper = "Geifman and El-Yaniv 2019",
  schema = {
    coverage = { type = "number", above = 0, max = 1, default = 0.9 },
    alpha = { type = "number", min = 0, max = 1, default = 0.5 },
    lambda = { type = "number", min = 0, default = 32 },
    hidden = { type = "integer", min = 1, default = 512 },
    divide = { type = "boolean", default = false },
  },
  part = part,
  loss = function(o, _, selection)
    return function(batch, features, logits)
      local g = selection(features):sigmoid()
      local covered = g:mean()
      local risk = (g * core.cross_entropy(logits, batch.labels, { reduction = "none" })):mean()
      if o.divide then risk = risk / covered end
      local auxiliary = core.cross_entropy(selection.auxiliary(features), batch.labels)
      local short = (o.coverage - covered):relu()
      return (risk + short * short * o.lambda) * o.alpha + auxiliary * (1 - o.alpha)
    end
  end,
  score = function(selection, features) return selection(features) end,
}
