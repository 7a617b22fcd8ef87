--- The control of every method that fine-tunes: one more plain epoch, at the same rate, in the same order. What a
-- method gains by its masks is what goes beyond this one.
local masking = require "masktune.recipe.masking"
local masks = require "masktune.recipe.masks"
local tables = require "masktune.tables"

--- What an epoch without masks has no use for, at its defaults.
local plain = { mask_from = "best", iterations = 1, accumulate = false, cam = "none" }
for name, rule in pairs(masks.rule_schema) do
  plain[name] = rule.default
end

return {
  title = "one more epoch",
  summary = "one more plain epoch: the control of all fine-tuning",
  labels = "class",
  stages = "ERM, fine-tuning",
  cost = "ERM, 1 epoch for each rate tried",
  schema = masking.finetune_schema,
  run = function(model, o, context) return masking.run(model, tables.merged(o, plain), context, "none") end,
}
