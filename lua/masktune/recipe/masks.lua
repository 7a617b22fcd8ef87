--- Step 2: masks, made offline and once, and kept as uint8.
-- The heatmaps (at the layer's resolution) are the expensive part and depend on no threshold; masks of any rule follow
-- from them at little cost, so heatmaps are what a recipe keeps.
-- @module masktune.recipe.masks
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local dist = require "masktune.dist"
local explain = require "masktune.explain"
local interrupt = require "masktune.interrupt"
local notice = require "masktune.notice"
local progress = require "masktune.progress"
local streamed = require "masktune.data.streamed"
local tables = require "masktune.tables"

local masks = {}

--- How heatmaps become masks; protocol, rule, k and top have the meaning of mt.mask.threshold. `empty` is about images
-- of which the rule hides nothing: they stay as they are ("keep"), or the paper's rule is used for them ("paper").
masks.rule_schema = {
  protocol = { choices = { "reference", "paper" }, default = "reference" },
  rule = { choices = { "sigma", "global_mean", "soft", "topk" }, default = "sigma" },
  k = { type = "number", min = 0, default = 2 },
  top = { type = "integer", min = 1, optional = true },
  empty = { choices = { "keep", "paper" }, default = "keep" },
}

--- Where heatmaps come from.
masks.cam_schema = {
  cam = { type = "any", default = "xgradcam" },
  layer = { type = "string", optional = true },
  layers = { type = "list", of = { type = "string" }, min_length = 1, optional = true },
}

-- ---- heatmaps ----

local explain_schema = tables.merged(masks.cam_schema, {
  progress = { type = "boolean", default = true },
  label = { type = "string", default = "explain" },
})

local MOST_IMAGES = 1024 -- between two updates of the progress; results do not depend on it
local MOST_BYTES = 64 << 20 -- of float images at once, likewise
local FEW_CELLS = 3 -- of a heatmap's height or width

--- How many images are looked at together.
local function images_per_call(inputs)
  local values = 4
  for axis = 2, #inputs:shape() do
    values = values * inputs:size(axis)
  end
  return math.max(16, math.min(MOST_IMAGES, MOST_BYTES // math.max(values, 1)))
end

--- Images first to first + count - 1 as the net takes them.
local function prepared(set, first, count)
  local images = dataset.inputs(set):narrow(1, first, count)
  local indices = core.arange(first, first + count, "int32")
  dataset.check_finite(set, images, indices)
  if not set.preprocess then return images end
  if images:dtype() == "uint8" then images = core.image.batch(images, core.arange(1, count + 1, "int32")) end
  return set.preprocess(images)
end

--- Refuses heat that is not finite: then the net's own values are not, on this image.
local function check_heat(set, heat, first)
  local sum = heat:sum():item()
  if sum - sum == 0 then return end
  for i = 1, #heat do
    local one = heat[i]:sum():item()
    if one - one ~= 0 then
      error(("mt.masktune.explain: the heat of %s is not finite: the net's values overflow there (was its learning "
        .. "rate too large?)"):format(dataset.name_of(set, first + i - 1)), 0)
    end
  end
end

local function say_if_coarse(set, heat, method, layer)
  if method.input then return end
  local rows, columns = heat:size(2), heat:size(3)
  local shape = dataset.inputs(set):shape()
  if rows > FEW_CELLS and columns > FEW_CELLS then return end
  notice.say("layer '%s' gives heatmaps of only %dx%d cells for images of %dx%d: masks will be coarse; an earlier "
    .. "layer has finer ones", layer, rows, columns, shape[2], shape[3])
end

--- What a heatmap method is called with: the layers, where it looks at some, and one generator for all its calls.
function masks.cam_options(method, model, o)
  local own = {}
  if not method.input then
    own.layers = o.layers
    own.layer = o.layer or not o.layers and model.cam_layer or nil
  end
  if method.options.generator then own.generator = core.generator(1) end
  return own
end

--- The heatmaps and predictions of a run of images.
local function explain_run(model, set, method, own, run)
  local heats, predictions, step = {}, {}, images_per_call(dataset.inputs(set))
  for first = run.first, run.last, step do
    local count = math.min(step, run.last - first + 1)
    local heat, predicted = method(model, prepared(set, first, count), own)
    check_heat(set, heat, first)
    heats[#heats + 1], predictions[#predictions + 1] = heat, predicted
    interrupt.check("the heatmaps")
    if run.bar then run.bar:update(first + count - run.first) end
  end
  if run.bar then run.bar:finish() end
  if #heats == 0 then return core.zeros { 0, 1, 1 }, core.zeros({ 0 }, "int32") end
  return core.cat(heats, 1), core.cat(predictions, 1)
end

--- Each rank explains a run of images. Where the method draws random numbers, all explain all: those of an image depend
-- on the images before it.
local function explain_all(model, set, method, o)
  local own, size = masks.cam_options(method, model, o), dataset.count(set)
  local bar = progress.of_ranks(o.progress, { total = size, label = o.label, unit = "images" })
  local heat, predicted
  if own.generator then
    heat, predicted = explain_run(model, set, method, own, { first = 1, last = size, bar = bar })
  else
    local first, last = dist.part(size)
    heat, predicted = explain_run(model, set, method, own, { first = first, last = last, bar = bar })
    heat, predicted = dist.gather(heat), dist.gather(predicted)
  end
  say_if_coarse(set, heat, method, own.layer or own.layers and own.layers[1])
  return heat, predicted
end

--- Heatmaps of all images, with the most probable class as the target.
-- @tparam Module model
-- @tparam table set data set
-- @tparam[opt] table options `cam` ("xgradcam"; the name of another of mt.cam, or a rule as masktune.cam describes it),
-- `layer` (model.cam_layer) or `layers` (a list, whose heatmaps are averaged), `progress` (true), `label`
-- @treturn Tensor heat float32 {N,h,w}, >= 0
-- @treturn Tensor predicted classes, int32 {N}
function masks.explain(model, set, options)
  check.argument("mt.masktune.explain", "model", model, { type = "module" })
  dataset.check("mt.masktune.explain", "argument 'dataset'", set)
  local o = check.options("mt.masktune.explain", options, explain_schema)
  set = dataset.for_model(set, model)
  if dataset.count(set) == 0 then
    check.fail("mt.masktune.explain: argument 'dataset': 1 image or more expected, got 0")
  end
  return dist.guarded(explain_all, model, set, explain.method(o.cam, "mt.masktune.explain"), o)
end

-- ---- masks ----

local function image_size(set)
  local shape = dataset.inputs(set):shape()
  return { shape[2], shape[3] }
end

--- The mean of the heatmaps that rule "global_mean" compares with; nil for the other rules.
function masks.global_mean(set, o, heat)
  if not heat or o.rule ~= "global_mean" then return nil end
  return (core.mask.mean(heat, { protocol = o.protocol, size = image_size(set) }))
end

local function threshold(set, o, heat, mean, protocol)
  return core.mask.threshold(heat, {
    protocol = protocol or o.protocol,
    rule = o.rule,
    size = image_size(set),
    k = o.rule == "sigma" and o.k or nil,
    top = o.top,
    mean = mean,
  })
end

--- For each image the share of its pixels that a mask keeps.
local function kept_shares(keep)
  local shares = {}
  for first = 1, #keep, MOST_IMAGES do
    local count = math.min(MOST_IMAGES, #keep - first + 1)
    local part = keep:narrow(1, first, count):to("float32"):reshape(count, keep:size(2) * keep:size(3)):mean(2)
    table.move(part:totable(), 1, count, first, shares)
  end
  return shares
end

--- The positions of the images of which nothing is hidden.
local function empty_ones(keep)
  local empty = {}
  for i, share in ipairs(kept_shares(keep)) do
    if share == 1 then empty[#empty + 1] = i end
  end
  return empty
end

--- The masks with those of `positions` made by the paper's rule.
local function by_paper(set, o, heat, mean, keep, positions)
  local theirs = threshold(set, o, heat:index(positions), mean, "paper")
  local rows = {}
  for i = 1, #keep do
    rows[i] = i
  end
  for i, position in ipairs(positions) do
    rows[position] = #keep + i
  end
  return core.cat({ keep, theirs }, 1):index(rows)
end

--- Masks from heatmaps. Images of which nothing is hidden are counted and said: with the reference's protocol heat
-- that lies in a single spot has no value above its own mean and two deviations.
local function by_heat(set, o, heat, mean)
  local keep = threshold(set, o, heat, mean)
  local empty = empty_ones(keep)
  if #empty == 0 then return keep end
  if o.empty == "paper" and o.protocol ~= "paper" then
    keep = by_paper(set, o, heat, mean, keep, empty)
    notice.say("%d of %d images of %s are masked by the paper's rule, since the reference's hides nothing of them",
      #empty, #keep, set.name or "the data set")
  else
    notice.say("%d of %d images of %s have nothing masked: no value of their heatmaps is above the threshold (protocol "
      .. "%s)%s", #empty, #keep, set.name or "the data set", o.protocol,
      o.protocol ~= "paper" and "; empty = \"paper\" uses the paper's rule for them" or "")
  end
  return keep
end

--- Masks of as many pixels as soft ones hide in sum, image by image; where they lie does not matter here.
local function hardened(keep)
  local rows, columns = keep:size(2), keep:size(3)
  local hidden = {}
  for i, share in ipairs(kept_shares(keep)) do
    hidden[i] = math.floor((1 - share) * rows * columns + 0.5)
  end
  local pixels = core.arange(1, rows * columns + 1, "int32"):reshape(1, rows * columns)
  return pixels:gt(core.tensor(hidden, { dtype = "int32" }):reshape(#keep, 1)):reshape(#keep, rows, columns)
end

--- Kind of masks -> whether they follow from heatmaps, and how they are made: keep(set, o, heat, mean, generator).
local kinds = {
  cam = { heat = true, keep = by_heat },
  square = {
    keep = function(set, _, _, _, generator)
      return core.mask.random(dataset.count(set), {
        kind = "square", size = image_size(set), generator = generator,
      })
    end,
  },
  area = {
    heat = true,
    keep = function(set, o, heat, mean, generator)
      local keep = by_heat(set, o, heat, mean)
      if keep:dtype() ~= "uint8" then keep = hardened(keep) end
      return core.mask.random(dataset.count(set), { kind = "area", keep = keep, generator = generator })
    end,
  },
  none = { keep = function() return nil end },
}

--- The kinds, as an option.
masks.kind_rule = { choices = { "cam", "square", "area", "none" }, default = "cam" }

--- Whether masks of this kind follow from heatmaps.
function masks.need_heat(kind) return kinds[kind].heat == true end

--- Masks of a data set.
-- @tparam table set data set
-- @string kind as of kind_rule
-- @tparam table o options as of rule_schema
-- @tparam ?Tensor heat as from explain, where need_heat says so
-- @tparam ?number mean as from global_mean, of the training images
-- @tparam integer seed of random masks
-- @treturn ?Tensor {N,H,W}, uint8 with 1 = keep; float32 in [0, 1] for soft masks; nil for "none"
function masks.keep(set, kind, o, heat, mean, seed)
  return kinds[kind].keep(set, o, heat, mean, core.generator(seed))
end

--- The data set with its images masked; everything else is shared. Without masks, the set itself.
function masks.apply(set, keep)
  if not keep then return set end
  local images = set.images
  if not images then error("masks: data set of images expected, its inputs are '" .. dataset.input(set) .. "'", 0) end
  return tables.merged(set, {
    images = streamed.is(images) and images:masked(keep) or core.mask.apply(images, keep),
  })
end

--- What masks do not keep.
local function complement(keep)
  if keep:dtype() == "uint8" then return keep:eq(0) end
  return 1 - keep
end

--- The sum of images that do not overlap, in their own type.
local function sum(a, b)
  local parts = {}
  for first = 1, #a, MOST_IMAGES do
    local count = math.min(MOST_IMAGES, #a - first + 1)
    parts[#parts + 1] = (a:narrow(1, first, count) + b:narrow(1, first, count)):to(a:dtype())
  end
  return core.cat(parts, 1)
end

--- The data set with what masks hide of other images pasted over its own; everything else is shared.
-- @tparam table set data set
-- @tparam table givers data set of as many images, of the same kind
-- @tparam Tensor keep the masks of the givers: what is not kept is pasted
-- @treturn table data set
function masks.paste(set, givers, keep)
  local rest, pasted = masks.apply(set, keep).images, masks.apply(givers, complement(keep)).images
  return tables.merged(set, { images = streamed.is(rest) and rest:plus(pasted) or sum(rest, pasted) })
end

--- What masks hide.
-- @tparam ?Tensor keep
-- @treturn number share of all pixels
-- @treturn integer images of which nothing is hidden
function masks.hidden(keep)
  if not keep then return 0, 0 end
  local kept, empty, shares = 0, 0, kept_shares(keep)
  for _, share in ipairs(shares) do
    kept = kept + share
    empty = empty + (share == 1 and 1 or 0)
  end
  return 1 - kept / #shares, empty
end

local schema = tables.merged(masks.rule_schema, explain_schema, {
  masks = masks.kind_rule,
  heat = { type = "tensor", optional = true },
  seed = { type = "integer", default = 1 },
})

--- Masks every image of a data set where the model looks (or at random).
-- @tparam Module model
-- @tparam table set data set
-- @tparam[opt] table options `masks` ("cam": where the model looks; "square": the reference's random squares; "area":
-- at random as much of each image as "cam" would; "none"); `protocol` ("reference"; "paper"), `rule` ("sigma"), `k`
-- (2), `top` as in mt.mask.threshold, rule "global_mean" with the mean of these images; `empty` ("keep": an image of
-- which the rule hides nothing stays as it is; "paper": the paper's rule masks it); `seed` of random masks (1); `heat`:
-- heatmaps from explain, which are not computed again then; `cam`, `layer`, `progress`, `label` as in explain
-- @treturn table data set
-- @treturn table `keep` (the masks), `heat` (nil where none was needed), `fraction` of the pixels hidden, `empty`:
-- images of which nothing is
function masks.mask_dataset(model, set, options)
  local o = check.options("mt.masktune.mask_dataset", options, schema)
  dataset.check("mt.masktune.mask_dataset", "argument 'dataset'", set)
  local heat = o.heat
  if masks.need_heat(o.masks) and not heat then
    heat = masks.explain(model, set, tables.picked(o, explain_schema))
  end
  local keep = masks.keep(set, o.masks, o, heat, masks.global_mean(set, o, heat), o.seed)
  local fraction, empty = masks.hidden(keep)
  return masks.apply(set, keep), { keep = keep, heat = heat, fraction = fraction, empty = empty }
end

return masks
