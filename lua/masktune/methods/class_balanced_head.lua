--- A new last layer on images the net has not seen, with all classes drawn alike (LaBonte et al. 2023, the
-- class-balanced form): no labels of groups.
local last_layer = require "masktune.recipe.last_layer"
local samplers = require "masktune.data.samplers"
local tables = require "masktune.tables"

return {
  title = "Class-balanced head",
  summary = "a new last layer on held-out images, classes drawn alike",
  paper = "LaBonte et al. 2023",
  labels = "class",
  stages = "ERM, embeddings, head",
  cost = "ERM, 1 pass over what is held out",
  schema = tables.merged(last_layer.schema, last_layer.steps_schema, {
    fit_on = { choices = { "train", "val", "held_out" }, default = "held_out" },
    share = { type = "number", above = 0, max = 0.9, default = 0.5 },
  }),
  run = function(model, o, context)
    local begun = last_layer.begin(model, o, context)
    local set = last_layer.embed(model, begun.set, o, context, o.fit_on)
    local sampler = samplers.balanced { by = "labels" }
    local weight, bias = last_layer.train_head(last_layer.new_head(begun, o), set, o, { sampler = sampler })
    return last_layer.finish(model, o, context, begun, weight, bias)
  end,
}
