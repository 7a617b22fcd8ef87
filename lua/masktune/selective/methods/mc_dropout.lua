--- MC dropout (Gal and Ghahramani 2016): ERM, then many passes with dropout before the last layer; the score is minus
-- the mean over the classes of the variance of their probabilities. The rest of the net runs once: it is in eval mode.
local abstention = require "masktune.selective.abstention"
local core = require "masktune.core"
local heads = require "masktune.heads"
local tables = require "masktune.tables"

--- Minus the mean variance over the passes.
local function score_of(head, features, o)
  local generator = core.generator(o.seed)
  local sum, squares = 0, 0
  for _ = 1, o.passes do
    local dropped = core.dropout(features, o.rate, { generator = generator, training = true })
    local p = head(dropped):softmax(2)
    sum, squares = sum + p, squares + p * p
  end
  local mean = sum / o.passes
  return -(squares / o.passes - mean * mean):mean(2)
end

return {
  title = "MC dropout",
  summary = "ERM, scored by the variance over passes with dropout",
  paper = "Gal and Ghahramani 2016",
  stages = "training",
  cost = "the epochs, many passes of the last layer",
  schema = tables.merged(abstention.schema, {
    passes = { type = "integer", min = 2, default = 100 },
    rate = { type = "number", above = 0, max = 0.99, default = 0.5 },
  }),
  run = function(model, o, context)
    local head, first = heads.find(context.where, model, o.head), context.erm()
    model:load_state_dict(first.last.model)
    return abstention.finish(context.result(first, "last"), model, function(set)
      return abstention.of_features(model, head, set, function(features)
        return score_of(head.module, features, o)
      end)
    end)
  end,
}
