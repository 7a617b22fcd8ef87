--- Methods that pull the features of groups together: they differ in the distance between two sets of features.
-- @module masktune.recipe.alignment
local core = require "masktune.core"
local groups = require "masktune.data.groups"
local heads = require "masktune.heads"
local objective = require "masktune.objective"
local training = require "masktune.recipe.training"

local alignment = {}

local schema = {
  penalty = { type = "number", min = 0, default = 1 },
  environments = { type = "string", optional = true },
  head = { type = "string", optional = true },
}

--- The features of each group in the batch.
local function parts_of(features, column, least)
  local members, parts = {}, {}
  for i, group in ipairs(column:totable()) do
    members[group] = members[group] or {}
    table.insert(members[group], i)
  end
  local order = {}
  for group in pairs(members) do
    order[#order + 1] = group
  end
  table.sort(order)
  for _, group in ipairs(order) do
    if #members[group] >= least then parts[#parts + 1] = features:index(members[group]) end
  end
  return parts
end

--- The mean distance over pairs of groups; 0 for fewer than two.
local function penalty_of(parts, distance)
  local sum, pairs_seen = 0, 0
  for i = 1, #parts do
    for j = i + 1, #parts do
      sum, pairs_seen = sum + distance(parts[i], parts[j]), pairs_seen + 1
    end
  end
  return pairs_seen > 0 and sum / pairs_seen or 0
end

--- Makes such a method.
-- @tparam table facts as of training.method, but for `plan`; `distance`: function (features {n,D}, features {m,D}) ->
-- tensor of one number; `least`: how many images a group in the batch needs to count
-- @treturn table method
function alignment.method(facts)
  local distance, least = facts.distance, facts.least
  facts.distance, facts.least = nil, nil
  facts.labels, facts.schema = "class; group or environment in training", schema
  facts.plan = function(o, context, model)
    local field, head = o.environments or o.groups, heads.find(context.where, model, o.head)
    groups.column(context.where, o.train, field)
    local options = { penalty = o.penalty, environments = field }
    return { objective = objective(facts.name, options, function(net, batch)
      local features = heads.features(net, head, batch[batch.input])
      local logits = head.module(features)
      local loss = core.cross_entropy(logits, batch.labels)
      return loss + penalty_of(parts_of(features, batch[field], least), distance) * o.penalty, logits
    end) }
  end
  return training.method(facts)
end

return alignment
