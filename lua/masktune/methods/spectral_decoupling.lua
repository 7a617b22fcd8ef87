--- Spectral decoupling (Pezeshki et al. 2021): masktune.losses.spectral_decoupling.
local losses = require "masktune.losses"
local training = require "masktune.recipe.training"

return training.method {
  name = "spectral_decoupling",
  title = "Spectral Decoupling",
  summary = "a penalty on large logits",
  paper = "Pezeshki et al. 2021",
  labels = "class",
  schema = losses.spectral_decoupling.schema,
  plan = function(o)
    return { objective = losses.spectral_decoupling { coefficient = o.coefficient, targets = o.targets } }
  end,
}
