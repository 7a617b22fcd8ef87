--- Re-weighting: an image weighs as one over the size of its group (or class). The power 0.5 is between this and ERM
-- (square root). Without early stopping or a strong weight decay a net that fits all images ends where ERM ends
-- (Byrd and Lipton 2019).
local losses = require "masktune.losses"
local training = require "masktune.recipe.training"
local weighting = require "masktune.recipe.weighting"

return training.method {
  name = "reweight",
  title = "Re-weighting",
  summary = "groups weigh as the inverse of their sizes (to a power)",
  labels = "class; group in training unless by = \"class\"",
  schema = weighting.inverse_schema,
  plan = function(o, context)
    local weights = weighting.inverse(o, context)
    return { objective = losses.weighted { weights = weights, by = weighting.field(o) } }
  end,
}
