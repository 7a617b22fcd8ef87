--- One-sided prediction (Gangrade, Kag and Saligrama 2021): each class k learns to be said only where it is right. Of
-- its output f_k = sigmoid(z_k): mean over class k of -log f_k, + lambda_k (mean over the others of -log(1 - f_k) -
-- eps_k) + mu eps_k; the weights and eps_k >= 0 go down, lambda_k >= 0 goes up; beside it the mean over classes has a
-- cross-entropy. An answer's score is the largest output.
-- The paper leaves open how outputs and steps of the multipliers are made, and its code takes thresholds from a grid of
-- 1000 and the best mu of two (0.49, 1.67); here sigmoids, steps of `multiplier_lr` from 1 and 0, and mu is an option.
local core = require "masktune.core"
local groups = require "masktune.data.groups"
local heads = require "masktune.heads"
local abstention = require "masktune.selective.abstention"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

local own = {
  mu = { type = "number", above = 0, default = 0.49 },
  multiplier_lr = { type = "number", min = 0, default = 0.01 },
  auxiliary = { type = "number", min = 0, default = 1 },
}

--- Means over the images that count, of values {B,k} with weights {B,k}; 0 where none does.
local function means(values, counted) return (values * counted):sum(1) / counted:sum(1):clamp(1, math.huge) end

--- The multipliers take a step.
local function step(state, wrong, o)
  local lambda, eps = state.lambda, state.eps
  state.lambda = (lambda + (wrong:detach() - eps) * o.multiplier_lr):relu()
  state.eps = (eps - (o.mu - lambda) * o.multiplier_lr):relu()
end

return {
  title = "One-sided prediction",
  summary = "each class learns to be said only where it is right",
  paper = "Gangrade et al. 2021",
  stages = "training",
  cost = "the epochs",
  schema = tables.merged(abstention.schema, own),
  run = function(model, o, context)
    local classes = heads.find(context.where, model, o.head).outputs
    local objective = training.objective("one_sided", o, own, function(net, batch, run)
      local logits, state = net(batch[batch.input]), run.state
      state.lambda, state.eps = state.lambda or core.ones(classes), state.eps or core.zeros(classes)
      local truth = groups.members(batch.labels, classes):transpose(1, 2)
      local missed, wrong = means((-logits):softplus(), truth), means(logits:softplus(), 1 - truth)
      local loss = (missed + state.lambda * (wrong - state.eps) + state.eps * o.mu):mean()
      step(state, wrong, o)
      return loss + core.cross_entropy(logits, batch.labels) * o.auxiliary, logits
    end)
    local trained = training.train(model, o, context, { name = "one_sided", schema = own, objective = objective })
    local result = training.result(model, tables.merged(o, { weights = "last" }), context, trained)
    local head = heads.find(context.where, model, o.head)
    return abstention.finish(result, model, function(set)
      return abstention.of_features(model, head, set, function(features) return head.module(features):max(2) end)
    end)
  end,
}
