--- JTT's groups: in each class the images that the model gets right, and those that it gets wrong.
local evaluate = require "masktune.evaluate"

return {
  summary = "what the model gets wrong (1: right, 2: wrong)",
  paper = "Liu et al. 2021",
  run = function(model, set)
    local labels, parts = set.labels:totable(), {}
    for i, answer in ipairs(evaluate(model, set, { predictions = true }).predictions) do
      parts[i] = answer == labels[i] and 1 or 2
    end
    return parts
  end,
}
