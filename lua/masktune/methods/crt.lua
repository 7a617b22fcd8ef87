--- CRT, classifier re-training (Kang et al. 2020): ERM, then a new last layer on its frozen features, with all groups
-- (or classes) drawn alike, or weighing alike (`balance` = "weights": SubpopBench's ReWeightCRT).
local last_layer = require "masktune.recipe.last_layer"
local losses = require "masktune.losses"
local samplers = require "masktune.data.samplers"
local tables = require "masktune.tables"
local weighting = require "masktune.recipe.weighting"

--- What makes groups count alike: options of mt.train.
local balances = {
  sampler = function(o) return { sampler = samplers.balanced { by = weighting.field(o) } } end,
  weights = function(o, context)
    local weights = weighting.weights(weighting.counts(o, context), function(n) return 1 / n end)
    return { objective = losses.weighted { weights = weights, by = weighting.field(o) } }
  end,
}

return {
  title = "CRT",
  summary = "a new last layer on balanced groups",
  paper = "Kang et al. 2020",
  labels = "class; group in training unless by = \"class\"",
  stages = "ERM, embeddings, head",
  cost = "ERM, 1 pass",
  schema = tables.merged(tables.without(last_layer.schema, { "fit_on", "share" }), last_layer.steps_schema, {
    by = weighting.by, balance = { choices = { "sampler", "weights" }, default = "sampler" },
  }),
  run = function(model, o, context)
    weighting.counts(o, context)
    o.fit_on = "train"
    local begun = last_layer.begin(model, o, context)
    local set = last_layer.embed(model, begun.set, o, context, "train")
    local head = last_layer.new_head(begun, o)
    local weight, bias = last_layer.train_head(head, set, o, balances[o.balance](o, context))
    return last_layer.finish(model, o, context, begun, weight, bias)
  end,
}
