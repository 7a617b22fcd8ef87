--- Plain training, the first step of the others.
local training = require "masktune.recipe.training"

return {
  title = "ERM",
  summary = "plain training (empirical risk minimisation)",
  labels = "class",
  stages = "training",
  cost = "the epochs",
  schema = training.schema,
  run = function(model, o, context)
    local first = context.erm()
    model:load_state_dict(first[o.weights].model)
    return context.result(first, o.weights)
  end,
}
