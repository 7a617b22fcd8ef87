--- Selective classifiers that train something beside the head, on the same features: what they have in common.
-- @module masktune.selective.abstention
local core = require "masktune.core"
local embeddings = require "masktune.embeddings"
local heads = require "masktune.heads"
local predict = require "masktune.selective.predict"
local scores = require "masktune.selective.scores"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

local abstention = {}

--- The options of all of them: all parts are of the last epoch.
abstention.schema = { head = { type = "string", optional = true } }

--- Numbers for all images in double precision, from their features.
-- @tparam Module model
-- @tparam table head
-- @tparam table set
-- @tparam function f (features {N,D}) -> tensor {N} or {N,m}
-- @treturn table
function abstention.of_features(model, head, set, f)
  local seen = embeddings(model, set, { head = head.name })
  return core.no_grad(f, seen.features):totable()
end

--- What a result says beside the weights.
-- @tparam table result
-- @tparam Module model
-- @tparam function score (set) -> list of numbers, the higher the surer
-- @treturn table result
function abstention.finish(result, model, score)
  function result.probabilities(set) return predict(model, set) end
  function result.answers(set)
    return { predictions = scores.softmax_response(predict(model, set)).predictions, scores = score(set) }
  end
  return result
end

--- A method whose second part is trained beside the model.
-- @tparam table facts as of masktune.recipe.method_registry, but for `run`; `name`; `part`: function (head, o) ->
-- Module; `loss`: function (o, head, part, context) -> compute(batch, features, logits, run) -> loss; `score`: function
-- (part, features, logits) -> tensor {N}
-- @treturn table method
function abstention.method(facts)
  local schema = tables.merged(abstention.schema, facts.schema)
  local told = tables.without(facts, { "name", "part", "loss", "score" })
  return tables.merged({ stages = "training", cost = "the epochs" }, told, {
    schema = schema,
    run = function(model, o, context)
      local head = heads.find(context.where, model, o.head)
      core.manual_seed(o.seed)
      local part = facts.part(head, o)
      local compute = facts.loss(o, head, part, context)
      local plan = tables.merged(training.beside("part", part, o), {
        name = facts.name, schema = schema,
        objective = training.objective(facts.name, o, facts.schema, function(net, batch, run)
          local features = heads.features(net, head, batch[batch.input])
          local logits = head.module(features)
          return compute(batch, features, logits, run), logits
        end),
      })
      local trained = training.train(model, o, context, plan)
      part:eval()
      local result = training.result(model, tables.merged(o, { weights = "last" }), context, trained)
      return abstention.finish(result, model, function(set)
        return abstention.of_features(model, head, set, function(features)
          return facts.score(part, features, head.module(features))
        end)
      end)
    end,
  })
end

--- An output that stands for no answer, beside the head's: its weights are the part.
function abstention.reservation(head) return core.nn.Linear(head.inputs, 1) end

--- Log-probabilities of the classes and, last, of no answer: {B,k+1}.
function abstention.log_probabilities(part, features, logits)
  return core.cat({ logits, part(features) }, 2):log_softmax(2)
end

--- The score of those with a reservation: how improbable no answer is.
function abstention.reserved(part, features, logits)
  local all = abstention.log_probabilities(part, features, logits)
  return -all:narrow(2, all:size(2), 1):reshape(-1)
end

--- The log-probability of the labels, and of no answer.
function abstention.of_labels(all, labels)
  local own = all:gather(2, labels:reshape(-1, 1)):reshape(-1)
  return own, all:narrow(2, all:size(2), 1):reshape(-1)
end

return abstention
