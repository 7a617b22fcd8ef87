--- Deep Gamblers (Ziyin et al. 2019): one more output is the stake that is kept back: -log(p_y + p_kept / reward).
-- After `pretrain` epochs of cross-entropy over the classes (a third of the epochs, as published for CIFAR-10: 100 of
-- 300). The score is how improbable the kept stake is (its logarithm: the same order, and no ties where it underflows).
local abstention = require "masktune.selective.abstention"
local core = require "masktune.core"

return abstention.method {
  name = "deep_gamblers",
  title = "Deep Gamblers",
  summary = "one more output keeps back what would be bet",
  paper = "Ziyin et al. 2019",
  schema = {
    reward = { type = "number", above = 1, default = 2.2 },
    pretrain = { type = "integer", min = 0, optional = true },
  },
  part = abstention.reservation,
  loss = function(o, _, part)
    local pretrain = o.pretrain or o.epochs // 3
    return function(batch, features, logits, run)
      if run.epoch <= pretrain then return core.cross_entropy(logits, batch.labels) end
      local all = abstention.log_probabilities(part, features, logits)
      local own, kept = abstention.of_labels(all, batch.labels)
      return -core.stack({ own, kept - math.log(o.reward) }, 1):logsumexp(1):mean()
    end
  end,
  score = abstention.reserved,
}
