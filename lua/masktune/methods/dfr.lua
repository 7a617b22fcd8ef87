--- DFR, deep feature reweighting (Kirichenko et al. 2023): a new last layer on group-balanced validation images.
-- `solver` "logistic" is the paper's: features standardised, L1 logistic regression, C chosen by the worst group on
-- half of the validation set, then the mean of `heads` fits on balanced subsamples of all of it (the paper says 10; the
-- published code takes 20). "sgd" is SubpopBench's: cross-entropy + l1 |weight| by gradient steps, groups drawn alike.
-- scikit-learn's solver also penalises the bias and fits classes one by one; here the bias goes free, all classes at
-- once.
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local groups = require "masktune.data.groups"
local last_layer = require "masktune.recipe.last_layer"
local logistic = require "masktune.logistic"
local metrics = require "masktune.metrics"
local objective = require "masktune.objective"
local samplers = require "masktune.data.samplers"
local split = require "masktune.data.split"
local tables = require "masktune.tables"

local LEAST_STD = 1e-6

--- Positions of a random subsample in which all groups have as many images.
local function balanced_subsample(column, generator)
  local members, least = {}, math.huge
  for i, group in ipairs(column:totable()) do
    members[group] = members[group] or {}
    table.insert(members[group], i)
  end
  for _, positions in pairs(members) do
    least = math.min(least, #positions)
  end
  local chosen = {}
  for group = 1, 65536 do
    local positions = members[group]
    if positions then
      for _, place in ipairs(generator:permutation(#positions):narrow(1, 1, least):totable()) do
        chosen[#chosen + 1] = positions[place]
      end
      members[group] = nil
    end
    if not next(members) then break end
  end
  return chosen
end

--- A fit on a balanced subsample.
local function fit(set, o, c, classes, generator)
  local part = dataset.subset(set, balanced_subsample(set[o.groups], generator))
  return logistic.fit {
    features = part.features, labels = part.labels, classes = classes, l1 = 1 / (c * #part.labels),
  }
end

--- The C whose fit on one half does best on the other's worst group.
local function choose(set, o, classes, generator)
  if #o.c == 1 then return o.c[1] end
  local fitted_on, judged_on = split(set, { share = 0.5, seed = o.seed })
  local best, most = nil, -1
  for _, c in ipairs(o.c) do
    local weight, bias = fit(fitted_on, o, c, classes, generator)
    local answers = (judged_on.features:matmul(weight:transpose(1, 2)) + bias):argmax(2)
    local accuracy = metrics.worst_group(answers, judged_on.labels, judged_on[o.groups])
    if accuracy > most then best, most = c, accuracy end
  end
  return best
end

local solvers = {}

function solvers.logistic(set, o, begun)
  local mean = set.features:mean(1, { keepdim = true })
  local std = ((set.features - mean) ^ 2):mean(1, { keepdim = true }):sqrt():clamp(LEAST_STD, math.huge)
  local standard = tables.merged(set, { features = (set.features - mean) / std })
  local generator, classes = core.generator(o.seed), begun.head.outputs
  local c = choose(standard, o, classes, generator)
  local weight, bias = 0, 0
  for _ = 1, o.heads do
    local one_weight, one_bias = fit(standard, o, c, classes, generator)
    weight, bias = weight + one_weight / o.heads, bias + one_bias / o.heads
  end
  weight = weight / std
  return weight, bias - weight:matmul(mean:reshape(-1, 1)):reshape(-1), c
end

function solvers.sgd(set, o, begun)
  local loss = objective("dfr", { l1 = o.l1 }, function(head, batch)
    local logits = head(batch.features)
    return core.cross_entropy(logits, batch.labels) + head.weight:abs():sum() * o.l1, logits
  end)
  local sampler = samplers.balanced { by = o.groups }
  return last_layer.train_head(last_layer.new_head(begun, o), set, o, { objective = loss, sampler = sampler })
end

return {
  title = "DFR",
  summary = "a new last layer on balanced groups of the validation set",
  paper = "Kirichenko et al. 2023",
  labels = "class; group in validation",
  stages = "ERM, embeddings, heads",
  cost = "ERM, 1 pass over the validation set",
  schema = tables.merged(tables.without(last_layer.schema, { "fit_on", "share" }), last_layer.steps_schema, {
    solver = { choices = { "logistic", "sgd" }, default = "logistic" },
    c = { type = "list", of = { type = "number", above = 0 }, min_length = 1,
      default = { 1, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01 } },
    heads = { type = "integer", min = 1, default = 10 },
    l1 = { type = "number", min = 0, default = 0.1 },
  }),
  run = function(model, o, context)
    if not o.val then context.refuse("option 'val': data set with groups expected, got nil") end
    groups.column(context.where, o.val, o.groups)
    o.fit_on = "val"
    local begun = last_layer.begin(model, o, context)
    local set = last_layer.embed(model, begun.set, o, context, "val")
    local weight, bias, c = solvers[o.solver](set, o, begun)
    local result = last_layer.finish(model, o, context, begun, weight, bias)
    result.c = c
    return result
  end,
}
