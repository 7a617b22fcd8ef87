--- Class-balanced loss (Cui et al. 2019): a class of n images weighs as (1 - beta) / (1 - beta^n), the inverse of the
-- "effective number" of its images. Weights are scaled to a mean of 1 over the images (the authors': to a sum of k over
-- the classes, so that the more uneven the classes, the smaller the step).
local losses = require "masktune.losses"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"
local weighting = require "masktune.recipe.weighting"

return training.method {
  name = "class_balanced",
  title = "Class-balanced loss",
  summary = "classes weigh as the inverse of their effective numbers",
  paper = "Cui et al. 2019",
  labels = "class; group in training with by = \"group\"",
  schema = {
    beta = { type = "number", min = 0, max = 0.9999999, default = 0.9999 },
    by = tables.merged(weighting.by, { default = "class" }),
  },
  plan = function(o, context)
    local weights = weighting.weights(weighting.counts(o, context), function(n) return 1 / (1 - o.beta ^ n) end)
    return { objective = losses.weighted { weights = weights, by = weighting.field(o) } }
  end,
}
