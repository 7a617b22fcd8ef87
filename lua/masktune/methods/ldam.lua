--- LDAM (Cao et al. 2019): masktune.losses.ldam, with the training set's class counts. Its deferred re-weighting is not
-- part of it.
local losses = require "masktune.losses"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"
local weighting = require "masktune.recipe.weighting"

return training.method {
  name = "ldam",
  title = "LDAM",
  summary = "larger margins for rarer classes",
  paper = "Cao et al. 2019",
  labels = "class",
  schema = tables.without(losses.ldam.schema, { "counts" }),
  plan = function(o, context)
    return { objective = losses.ldam {
      counts = weighting.class_counts(o, context), max_margin = o.max_margin, scale = o.scale,
    } }
  end,
}
