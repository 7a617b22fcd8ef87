--- Spectral decoupling (Pezeshki et al. 2021): cross-entropy and a penalty on the logits, so that no feature that
-- predicts early starves the others: coefficient * mean(logit^2). With `targets`, one for each class, the paper's form
-- for CelebA: the mean over the classes in the batch of the mean of (logit_y - target_y)^2. Its targets (2.5 and 0.44)
-- were tuned on group labels.
local core = require "masktune.core"
local groups = require "masktune.data.groups"

local function distance(logits, labels, targets)
  local own = logits:gather(2, labels:reshape(-1, 1)):reshape(-1)
  local wanted = core.tensor(targets):index(labels)
  local means, counts = groups.means((own - wanted) ^ 2, groups.members(labels, #targets))
  return means:sum() / counts:gt(0):sum():item()
end

return {
  summary = "cross-entropy and a penalty on large logits (Pezeshki et al. 2021)",
  schema = {
    coefficient = { type = "number", min = 0, default = 0.1 },
    targets = { type = "list", of = { type = "number" }, min_length = 2, optional = true },
  },
  new = function(o)
    return function(model, batch)
      local logits = model(batch[batch.input])
      local penalty = o.targets and distance(logits, batch.labels, o.targets) or (logits * logits):mean()
      return core.cross_entropy(logits, batch.labels) + penalty * o.coefficient, logits
    end
  end,
}
