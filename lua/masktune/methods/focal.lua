--- Focal loss (Lin et al. 2017): masktune.losses.focal.
local losses = require "masktune.losses"
local training = require "masktune.recipe.training"

return training.method {
  name = "focal",
  title = "Focal loss",
  summary = "well-classified images weigh less",
  paper = "Lin et al. 2017",
  labels = "class",
  schema = losses.focal.schema,
  plan = function(o) return { objective = losses.focal { gamma = o.gamma } } end,
}
