--- AFR, automatic feature reweighting (Qiu et al. 2023): the last layer goes on from where ERM left it, on images the
-- net has not seen, of which those that ERM answers with less confidence weigh more: exp(-gamma p_y), divided by the
-- size of the class with `balance_classes`. Full-batch gradient descent on sum_i mu_i CE_i + l2 |theta - theta_ERM|^2,
-- gradients clipped to norm 1.
-- Its gamma and l2 were chosen on labels of groups, epoch by epoch; here they are options, and the last step counts.
local core = require "masktune.core"
local last_layer = require "masktune.recipe.last_layer"
local tables = require "masktune.tables"
local weighting = require "masktune.recipe.weighting"
local groups = require "masktune.data.groups"

--- Weights of the images, adding up to 1.
local function weights_of(logits, labels, o, context)
  local p = logits:softmax(2):gather(2, labels:reshape(-1, 1)):reshape(-1)
  local weights = (p * -o.gamma):exp()
  if o.balance_classes then
    local _, counts = groups.column(context.where, { labels = labels }, "labels")
    weights = weights * core.tensor(weighting.weights(counts, function(n) return 1 / n end)):index(labels)
  end
  return weights / weights:sum()
end

--- The head after full-batch steps.
local function descend(head, set, weights, o)
  local start = {}
  for name, parameter in head:named_parameters() do
    start[name] = parameter:detach():clone()
  end
  local sgd = core.optim.sgd(head:parameters(), { lr = o.head_lr })
  for _ = 1, o.head_steps do
    local loss = (core.cross_entropy(head(set.features), set.labels, { reduction = "none" }) * weights):sum()
    for name, parameter in head:named_parameters() do
      loss = loss + ((parameter - start[name]) ^ 2):sum() * o.l2
    end
    sgd:zero_grad()
    loss:backward()
    core.optim.clip_grad_norm(head:parameters(), o.clip)
    sgd:step()
  end
  local state = head:state_dict()
  return state.weight, state.bias
end

return {
  title = "AFR",
  summary = "the last layer goes on with what ERM is unsure of weighing more",
  paper = "Qiu et al. 2023",
  labels = "class",
  stages = "ERM, embeddings, head",
  cost = "ERM, 1 pass over what is held out",
  schema = tables.merged(last_layer.schema, {
    fit_on = { choices = { "train", "val", "held_out" }, default = "held_out" },
    gamma = { type = "number", min = 0, default = 4 },
    l2 = { type = "number", min = 0, default = 0 },
    balance_classes = { type = "boolean", default = true },
    head_steps = { type = "integer", min = 1, default = 500 },
    head_lr = { type = "number", above = 0, default = 0.01 },
    clip = { type = "number", above = 0, default = 1 },
  }),
  run = function(model, o, context)
    local begun = last_layer.begin(model, o, context)
    local set = last_layer.embed(model, begun.set, o, context, o.fit_on)
    local head = begun.head.module:clone()
    local logits = core.no_grad(head, set.features)
    local weight, bias = descend(head, set, weights_of(logits, set.labels, o, context), o)
    return last_layer.finish(model, o, context, begun, weight, bias)
  end,
}
