--- Which epoch's weights are the best: what `select` means.
-- @module masktune.train.selection
local check = require "masktune.check"

local selection = {}

--- Name -> score of what mt.evaluate gave for the validation set (or of a row of the history); larger is better.
local named = {
  loss = function(measured) return -measured.loss end,
  brier = function(measured) return -measured.brier end,
  ece = function(measured) return -measured.ece end,
  last = function(_, row) return row.epoch end,
}

-- The last three need the labels of groups.
for _, name in ipairs { "accuracy", "worst_class", "balanced", "auroc", "auprc", "worst_group", "balanced_group",
  "weighted" } do
  named[name] = function(measured) return measured[name] end
end

--- All names but "last", which is about epochs alone.
selection.names = {
  "accuracy", "worst_class", "balanced", "auroc", "auprc", "loss", "brier", "ece", "worst_group", "balanced_group",
  "weighted",
}

--- The option.
selection.rule = { choices = { "last", table.unpack(selection.names) }, type = "function", default = "accuracy" }

--- The score of an epoch; without a validation set the latest is the best.
-- @param choice as of `rule`
-- @tparam table row of the history
-- @tparam ?table measured what mt.evaluate gave for the validation set
-- @tparam[opt] string what "mt.train: option 'select'", for messages
-- @treturn number
function selection.score(choice, row, measured, what)
  if not measured then return row.epoch end
  local score
  if type(choice) == "string" then score = named[choice](measured, row) else score = choice(row, measured) end
  if type(score) == "number" and score == score then return score end
  local name = type(choice) == "string" and "'" .. choice .. "'" or "the function"
  error(("%s: %s gives %s in epoch %d, expected a number"):format(what or "mt.train: option 'select'", name,
    check.describe(score), row.epoch or 1), 0)
end

--- The options of mt.evaluate with which the validation set is measured: groups, where it has some, weighted as those
-- of the training set.
-- @tparam table train
-- @tparam table val
-- @string field with the groups
-- @treturn table
function selection.measuring(train, val, field)
  if not check.is_tensor(val[field]) then return {} end
  local weights = {}
  for _, group in ipairs(val[field]:totable()) do
    weights[group] = 0
  end
  for _, group in ipairs(check.is_tensor(train[field]) and train[field]:totable() or {}) do
    weights[group] = (weights[group] or 0) + 1
  end
  return { groups = field, group_weights = check.is_tensor(train[field]) and weights or nil }
end

return selection
