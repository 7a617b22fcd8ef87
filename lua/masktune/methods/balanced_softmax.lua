--- Balanced softmax (Ren et al. 2020): masktune.losses.balanced_softmax, with the training set's class counts.
local losses = require "masktune.losses"
local training = require "masktune.recipe.training"
local weighting = require "masktune.recipe.weighting"

return training.method {
  name = "balanced_softmax",
  title = "Balanced softmax",
  summary = "logits corrected for the classes' shares",
  paper = "Ren et al. 2020",
  labels = "class",
  plan = function(o, context)
    return { objective = losses.balanced_softmax { counts = weighting.class_counts(o, context) } }
  end,
}
