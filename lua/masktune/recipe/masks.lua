--- Step 2: masks, made offline and once, and kept as uint8.
-- The heatmaps (at the layer's resolution) are the expensive part and depend on no threshold; masks of any rule follow
-- from them at little cost, so heatmaps are what a recipe keeps.
-- @module masktune.recipe.masks
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local progress = require "masktune.progress"
local streamed = require "masktune.data.streamed"
local tables = require "masktune.tables"

local masks = {}

--- Which pixels are hidden; protocol, rule, k and top have the meaning of mt.mask.threshold.
masks.rule_schema = {
  method = { choices = { "masktune", "randmask" }, default = "masktune" },
  protocol = { choices = { "reference", "paper" }, default = "reference" },
  rule = { choices = { "sigma", "global_mean", "soft", "topk" }, default = "sigma" },
  k = { type = "number", min = 0, default = 2 },
  top = { type = "integer", min = 1, optional = true },
  random = { choices = { "square", "area" }, default = "square" },
}

local explain_schema = {
  layer = { type = "string", optional = true },
  progress = { type = "boolean", default = true },
  label = { type = "string", default = "explain" },
}

local IMAGES_PER_CALL = 1024 -- between two updates of the progress; results do not depend on it

--- xGradCAM heatmaps of all images, with the most probable class as the target.
-- @tparam Module model
-- @tparam table set data set
-- @tparam[opt] table options `layer` (model.cam_layer), `progress` (true), `label`
-- @treturn Tensor heat float32 {N,h,w}, >= 0
-- @treturn Tensor predicted classes, int32 {N}
function masks.explain(model, set, options)
  check.argument("mt.masktune.explain", "model", model, { type = "module" })
  dataset.check("mt.masktune.explain", "argument 'dataset'", set)
  local o = check.options("mt.masktune.explain", options, explain_schema)
  local heats, predictions, size = {}, {}, #set.images
  if size == 0 then error("mt.masktune.explain: argument 'dataset': 1 image or more expected, got 0", 2) end
  local bar = o.progress and progress { total = size, label = o.label, unit = "images" }
  for first = 1, size, IMAGES_PER_CALL do
    local count = math.min(IMAGES_PER_CALL, size - first + 1)
    local images = set.images:narrow(1, first, count)
    local heat, predicted = core.cam.xgradcam(model, images, { layer = o.layer or model.cam_layer })
    heats[#heats + 1], predictions[#predictions + 1] = heat, predicted
    if bar then bar:update(first + count - 1) end
  end
  if bar then bar:finish() end
  return core.cat(heats, 1), core.cat(predictions, 1)
end

--- Whether masks of this kind follow from heatmaps.
function masks.need_heat(o) return o.method == "masktune" or o.random == "area" end

local function image_size(set)
  local shape = set.images:shape()
  return { shape[2], shape[3] }
end

--- The mean of the heatmaps that rule "global_mean" compares with; nil for the other rules.
function masks.global_mean(set, o, heat)
  if not heat or o.rule ~= "global_mean" then return nil end
  return (core.mask.mean(heat, { protocol = o.protocol, size = image_size(set) }))
end

local function threshold(set, o, heat, mean)
  return core.mask.threshold(heat, {
    protocol = o.protocol,
    rule = o.rule,
    size = image_size(set),
    k = o.rule == "sigma" and o.k or nil,
    top = o.top,
    mean = mean,
  })
end

--- Masks of a data set.
-- @tparam table set data set
-- @tparam table o options as of rule_schema
-- @tparam ?Tensor heat as from explain, where need_heat says so
-- @tparam ?number mean as from global_mean, of the training images
-- @tparam integer seed of random masks
-- @treturn Tensor {N,H,W}, uint8 with 1 = keep; float32 in [0, 1] for soft masks
function masks.keep(set, o, heat, mean, seed)
  if o.method == "masktune" then return threshold(set, o, heat, mean) end
  local generator = core.generator(seed)
  if o.random == "square" then
    return core.mask.random(#set.images, { kind = "square", size = image_size(set), generator = generator })
  end
  local keep = threshold(set, o, heat, mean)
  return core.mask.random(#set.images, { kind = "area", keep = keep, generator = generator })
end

--- The data set with its images masked; everything else is shared.
function masks.apply(set, keep)
  local images = streamed.is(set.images) and set.images:masked(keep) or core.mask.apply(set.images, keep)
  return tables.merged(set, { images = images })
end

--- The share of what the images hold that masks hide.
function masks.fraction(keep)
  local kept = 0
  for first = 1, #keep, IMAGES_PER_CALL do
    local count = math.min(IMAGES_PER_CALL, #keep - first + 1)
    kept = kept + keep:narrow(1, first, count):to("float32"):mean():item() * count
  end
  return 1 - kept / #keep
end

local schema = tables.merged(masks.rule_schema, explain_schema, {
  heat = { type = "tensor", optional = true },
  seed = { type = "integer", default = 1 },
})

--- Masks every image of a data set where the model looks (or at random).
-- @tparam Module model
-- @tparam table set data set
-- @tparam[opt] table options `method` ("masktune"; "randmask"); `protocol` ("reference"; "paper"), `rule` ("sigma"),
-- `k` (2), `top` as in mt.mask.threshold, rule "global_mean" with the mean of these images; `random` ("square"; "area":
-- as much of each image as MaskTune masks); `seed` of random masks (1); `heat`: heatmaps from explain, which are not
-- computed again then; `layer`, `progress`, `label` as in explain
-- @treturn table data set
-- @treturn table `keep` (the masks), `heat` (nil where none was needed), `fraction` of the pixels hidden
function masks.mask_dataset(model, set, options)
  local o = check.options("mt.masktune.mask_dataset", options, schema)
  dataset.check("mt.masktune.mask_dataset", "argument 'dataset'", set)
  local heat = o.heat
  if masks.need_heat(o) and not heat then
    heat = masks.explain(model, set, tables.picked(o, explain_schema))
  end
  local keep = masks.keep(set, o, heat, masks.global_mean(set, o, heat), o.seed)
  return masks.apply(set, keep), { keep = keep, heat = heat, fraction = masks.fraction(keep) }
end

return masks
