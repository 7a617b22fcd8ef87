--- MaskTune: masks what the net looks at, and fine-tunes on what is left.
local masking = require "masktune.recipe.masking"

return {
  title = "MaskTune",
  summary = "masks what the net looks at, then one epoch on what is left",
  paper = "Asgari Taghanaki et al. 2022",
  labels = "class",
  stages = "ERM, masks, fine-tuning",
  cost = "ERM, heatmaps, 1 epoch for each rate tried",
  schema = masking.schema,
  run = function(model, o, context) return masking.run(model, o, context, "cam") end,
}
