--- LDAM, the label-distribution-aware margin loss (Cao et al. 2019): the logit of the true class is lowered by a margin
-- that is larger for rarer classes, n_y^(-1/4) scaled so that the largest is `max_margin`; then cross-entropy of the
-- logits times `scale`. The authors also normalise features and last-layer weights, which is a net's matter.
local core = require "masktune.core"

local function margins_of(o)
  local margins, largest = {}, 0
  for class, count in ipairs(o.counts) do
    margins[class] = count ^ -0.25
    largest = math.max(largest, margins[class])
  end
  return core.tensor(margins) * (o.max_margin / largest)
end

return {
  summary = "larger margins for rarer classes (LDAM; Cao et al. 2019)",
  schema = {
    counts = { type = "list", of = { type = "number", above = 0 }, min_length = 2 },
    max_margin = { type = "number", above = 0, default = 0.5 },
    scale = { type = "number", above = 0, default = 30 },
  },
  new = function(o)
    local margins = margins_of(o)
    return function(model, batch)
      local logits, labels = model(batch[batch.input]), batch.labels
      local classes = core.arange(1, #o.counts + 1, "int32"):reshape(1, -1)
      local own = labels:reshape(-1, 1):eq(classes):to("float32")
      return core.cross_entropy((logits - own * margins:index(labels):reshape(-1, 1)) * o.scale, labels), logits
    end
  end,
}
