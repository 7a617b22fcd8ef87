--- CVaR DRO (Duchi and Namkoong 2018; by batches, Levy et al. 2020): masktune.losses.cvar.
local losses = require "masktune.losses"
local training = require "masktune.recipe.training"

return training.method {
  name = "cvar",
  title = "CVaR DRO",
  summary = "minimises the mean of the worst losses of a batch",
  paper = "Levy et al. 2020",
  labels = "class",
  schema = losses.cvar.schema,
  plan = function(o) return { objective = losses.cvar { alpha = o.alpha } } end,
}
