--- Which epoch's weights are the best: what `select` means.
-- @module masktune.train.selection
local check = require "masktune.check"

local selection = {}

--- Name -> score of an epoch's row of the history; larger is better.
local named = {
  accuracy = function(row) return row.val_accuracy end,
  worst_class = function(row) return row.val_worst_class end,
  worst_group = function(row) return row.val_worst_group end,
  loss = function(row) return -row.val_loss end,
  last = function(row) return row.epoch end,
}

--- The option.
selection.rule = {
  choices = { "accuracy", "worst_class", "worst_group", "loss", "last" }, type = "function", default = "accuracy",
}

--- The score of an epoch; without a validation set the latest is the best.
-- @param choice as of `rule`
-- @tparam table row of the history
-- @tparam ?table measured what mt.evaluate gave for the validation set
-- @treturn number
function selection.score(choice, row, measured)
  if not measured then return row.epoch end
  local score
  if type(choice) == "string" then score = named[choice](row) else score = choice(row, measured) end
  if type(score) == "number" and score == score then return score end
  error(("mt.train: option 'select': %s gives %s in epoch %d, expected a number"):format(
    type(choice) == "string" and "'" .. choice .. "'" or "the function", check.describe(score), row.epoch), 0)
end

return selection
