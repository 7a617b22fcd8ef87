--- Deep ensemble (Lakshminarayanan et al. 2017): nets that start from different weights and see the images in different
-- orders; the mean of their probabilities, scored by SR. The model given is the first; `build` makes the others.
local abstention = require "masktune.selective.abstention"
local core = require "masktune.core"
local predict = require "masktune.selective.predict"
local scores = require "masktune.selective.scores"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

--- Mean probabilities over the members.
local function mean_of(members, set)
  local sum
  for _, member in ipairs(members) do
    local rows = predict(member, set)
    for n, row in ipairs(rows) do
      for class, p in ipairs(row) do
        row[class] = p / #members + (sum and sum[n][class] or 0)
      end
    end
    sum = rows
  end
  return sum
end

return {
  title = "Deep ensemble",
  summary = "the mean of several nets, scored by SR",
  paper = "Lakshminarayanan et al. 2017",
  stages = "trainings",
  cost = "the epochs times the members",
  schema = {
    members = { type = "integer", min = 2, default = 5 },
    build = { type = "function" },
  },
  run = function(model, o, context)
    local first, members = context.erm(), { model }
    model:load_state_dict(first.last.model)
    for i = 2, o.members do
      core.manual_seed(o.seed + 7919 * i)
      members[i] = o.build(i)
      training.train(members[i], tables.merged(o, { seed = o.seed + 7919 * i }), context, {
        name = "member_" .. i, schema = {},
      })
    end
    local result = abstention.finish(context.result(first, "last"), model)
    function result.probabilities(set) return mean_of(members, set) end
    function result.answers(set) return scores.softmax_response(mean_of(members, set)) end
    result.members = members
    return result
  end,
}
