--- A new last layer on the embeddings of MaskTune's masked images: the net stays as ERM left it, and only what is made
-- of its features changes. No labels of groups. With `with_originals` the images as they are come too.
local last_layer = require "masktune.recipe.last_layer"
local masks = require "masktune.recipe.masks"
local tables = require "masktune.tables"
local dataset = require "masktune.data.dataset"

--- The images masked where the net looks.
local function masked(model, o)
  local mask_options = tables.merged(tables.picked(o, masks.rule_schema), tables.picked(o, masks.cam_schema))
  if not o.layers then mask_options.layer = o.layer or model.cam_layer end
  local explained = tables.merged(tables.picked(mask_options, masks.cam_schema), { progress = o.progress })
  local heat = masks.explain(model, o.train, explained)
  local keep = masks.keep(o.train, "cam", mask_options, heat, masks.global_mean(o.train, mask_options, heat), o.seed)
  return masks.apply(o.train, keep)
end

return {
  title = "Head on masked images",
  summary = "a new last layer on the embeddings of masked images",
  labels = "class",
  stages = "ERM, masks, embeddings, head",
  cost = "ERM, heatmaps, 1 pass",
  schema = tables.merged(
    tables.without(last_layer.schema, { "fit_on", "share" }), last_layer.steps_schema, masks.rule_schema,
    masks.cam_schema, { with_originals = { type = "boolean", default = false } }),
  run = function(model, o, context)
    o.fit_on = "train"
    local begun = last_layer.begin(model, o, context)
    local set = last_layer.embed(model, masked(model, o), o, context, "masked")
    if o.with_originals then
      set = dataset.concat { set, last_layer.embed(model, o.train, o, context, "train") }
    end
    local weight, bias = last_layer.train_head(last_layer.new_head(begun, o), set, o)
    return last_layer.finish(model, o, context, begun, weight, bias)
  end,
}
