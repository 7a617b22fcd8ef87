--- Mixup (Zhang et al. 2018): every image mixed with another of its batch, labels as well, in a share from Beta(alpha,
-- alpha).
local mixing = require "masktune.mixing"
local objective = require "masktune.objective"
local training = require "masktune.recipe.training"

return training.method {
  name = "mixup",
  title = "Mixup",
  summary = "trains on mixtures of two images",
  paper = "Zhang et al. 2018",
  labels = "class",
  schema = { alpha = { type = "number", above = 0, default = 0.2 } },
  plan = function(o)
    return { objective = objective("mixup", { alpha = o.alpha }, function(model, batch)
      local share = mixing.beta(o.alpha)
      return mixing.loss(model, batch, mixing.order(#batch.labels), share)
    end) }
  end,
}
