--- SAT, self-adaptive training (Huang, Zhang and Zhang 2020): one more output for no answer, and targets that follow
-- the net: t <- momentum t + (1 - momentum) p_y for the true class, then -t log p_y - (1 - t) log p_none. After
-- `pretrain` epochs of cross-entropy (half of the epochs, as published for CIFAR-10: 150 of 300). Of the published
-- targets (N x k) only the true class's enters the loss, so one number for each image is kept. `entropy` adds its
-- multiple of the mean entropy over the classes, which Feng et al. 2023 found to help with SR (0.01).
local abstention = require "masktune.selective.abstention"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"

return abstention.method {
  name = "sat",
  title = "SAT",
  summary = "targets that follow the net, and an output for no answer",
  paper = "Huang et al. 2020",
  schema = {
    target_momentum = { type = "number", min = 0, max = 1, default = 0.9 },
    pretrain = { type = "integer", min = 0, optional = true },
    entropy = { type = "number", min = 0, default = 0 },
  },
  part = abstention.reservation,
  loss = function(o, _, part)
    local pretrain = o.pretrain or o.epochs // 2
    return function(batch, features, logits, run)
      local all = abstention.log_probabilities(part, features, logits)
      local own, none = abstention.of_labels(all, batch.labels)
      if run.epoch <= pretrain then return -own:mean() end
      local state = run.state
      state.targets = state.targets or core.ones(dataset.count(o.train))
      local targets = state.targets:index(batch.indices) * o.target_momentum
        + own:detach():exp() * (1 - o.target_momentum)
      state.targets[batch.indices] = targets
      local loss = -(targets * own + (1 - targets) * none):mean()
      if o.entropy == 0 then return loss end
      local log_p = logits:log_softmax(2)
      return loss - (log_p:exp() * log_p):sum(2):mean() * o.entropy
    end
  end,
  score = abstention.reserved,
}
