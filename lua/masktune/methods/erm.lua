--- Plain training, the first step of the others.
return {
  title = "ERM",
  summary = "plain training (empirical risk minimisation)",
  labels = "class",
  stages = "training",
  cost = "the epochs",
  run = function(model, _, context)
    local first = context.erm()
    model:load_state_dict(first.last.model)
    return context.result(first, "last")
  end,
}
