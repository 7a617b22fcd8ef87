--- RandMask, the control of MaskTune: the same, with masks at random: the reference's square holes, or as much of each
-- image as MaskTune would mask.
local masking = require "masktune.recipe.masking"
local tables = require "masktune.tables"

return {
  title = "RandMask",
  summary = "masks at random (squares, or the area that MaskTune masks), then one epoch",
  paper = "Asgari Taghanaki et al. 2022",
  labels = "class",
  stages = "ERM, masks, fine-tuning",
  cost = "ERM, 1 epoch for each rate tried",
  schema = tables.merged(masking.schema, { random = { choices = { "square", "area" }, default = "square" } }),
  run = function(model, o, context) return masking.run(model, o, context, o.random) end,
}
