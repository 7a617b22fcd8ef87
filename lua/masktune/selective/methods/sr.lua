--- SR, softmax response: ERM, scored by the largest probability. The baseline of all.
local abstention = require "masktune.selective.abstention"
local predict = require "masktune.selective.predict"
local scores = require "masktune.selective.scores"

return {
  title = "SR",
  summary = "ERM, scored by its largest probability",
  paper = "Geifman and El-Yaniv 2017",
  stages = "training",
  cost = "the epochs",
  run = function(model, _, context)
    local first = context.erm()
    model:load_state_dict(first.last.model)
    return abstention.finish(context.result(first, "last"), model, function(set)
      return scores.softmax_response(predict(model, set)).scores
    end)
  end,
}
