--- Step 2: masks, made offline and once, and kept as one bit a pixel.
-- The heatmaps (at the layer's resolution) are the expensive part and depend on no threshold; masks of any rule follow
-- from them at little cost, so heatmaps are what a recipe keeps as they grow. Masked images are no second copy of the
-- data set: masks are put on when a batch is made (masktune.data.streamed).
-- @module masktune.recipe.masks
local check = require "masktune.check"
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local dist = require "masktune.dist"
local encoded = require "masktune.data.encoded"
local explain = require "masktune.explain"
local fill = require "masktune.data.fill"
local interrupt = require "masktune.interrupt"
local loader = require "masktune.data.loader"
local notice = require "masktune.notice"
local progress = require "masktune.progress"
local row_file = require "masktune.data.row_file"
local samplers = require "masktune.data.samplers"
local streamed = require "masktune.data.streamed"
local tables = require "masktune.tables"
local windows = require "masktune.windows"

local masks = {}

--- How heatmaps become masks; protocol, rule, k and top have the meaning of mt.mask.threshold, but for rule "window":
-- it hides the hottest square of each image, whose side is `window` (0.25) of the image's shorter one. A cue is often a
-- thing of some size whose heat lies on a part of it; what hides it in part leaves it in sight. `empty` is about images
-- of which the rule hides nothing: they stay as they are ("keep"), or the paper's rule is used for them ("paper").
-- `fill`: what takes the place of what is hidden, black ("zero") or its surroundings ("impute": masktune.data.fill).
masks.rule_schema = {
  protocol = { choices = { "reference", "paper" }, default = "paper" },
  rule = { choices = { "sigma", "global_mean", "soft", "topk", "window" }, default = "sigma" },
  window = { type = "number", above = 0, max = 0.9, optional = true },
  k = { type = "number", min = 0, default = 2 },
  top = { type = "integer", min = 1, optional = true },
  empty = { choices = { "keep", "paper" }, default = "keep" },
  fill = { choices = { "zero", "impute" }, default = "zero" },
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

--- What an explanation works with: `method`, its options `own`, how many images at once, and the run of images that is
-- this rank's. Where the method draws random numbers, all ranks explain all: those of an image depend on the images
-- before it.
local function explanation(model, set, o)
  local method, count = explain.method(o.cam, "mt.masktune.explain"), dataset.count(set)
  local e = {
    method = method, own = masks.cam_options(method, model, o), step = images_per_call(dataset.inputs(set)),
    bar = progress.of_ranks(o.progress, { total = count, label = o.label, unit = "images" }), first = 1, last = count,
  }
  e.dealt = dist.world() > 1 and not e.own.generator
  if e.dealt then e.first, e.last = dist.part(count) end
  return e
end

--- The heat of some images, and the predicted classes.
local function heat_of(e, model, set, images, first)
  local heat, predicted = e.method(model, images, e.own)
  check_heat(set, heat, first)
  if first == 1 then say_if_coarse(set, heat, e.method, e.own.layer or e.own.layers and e.own.layers[1]) end
  interrupt.check("the heatmaps")
  if e.bar then e.bar:update(first + #heat - e.first) end
  return heat, predicted
end

--- Images that have to be read are read ahead. What cannot be read is black where it may be left out, so that every
-- image has a heatmap.
local function parts_ahead(set, e, from)
  local rest = samplers.subset { indices = core.arange(from, e.last + 1, "int32"), shuffle = false }
  local following, _, _, closing = loader { dataset = set, batch = e.step, sampler = rest }:epoch(1)
  return function()
    local batch = following()
    if not batch then return nil end
    local first = from
    from = from + #batch.labels
    return batch[batch.input], first
  end, nil, nil, closing
end

--- Iterates over this rank's images from position `from` on, some at a time: images as a net takes them, and the
-- first's position.
local function parts_of(set, e, from)
  local images = dataset.inputs(set)
  if from <= e.last and streamed.is(images) and images:has_to_be_read() then return parts_ahead(set, e, from) end
  return function()
    local first = from
    if first > e.last then return nil end
    from = from + e.step
    return prepared(set, first, math.min(e.step, e.last - first + 1)), first
  end
end

local function explain_all(model, set, o)
  local heats, predictions = {}, {}
  local e = explanation(model, set, o)
  for images, first in parts_of(set, e, e.first) do
    heats[#heats + 1], predictions[#predictions + 1] = heat_of(e, model, set, images, first)
  end
  if e.bar then e.bar:finish() end
  if not e.dealt then return core.cat(heats, 1), core.cat(predictions, 1) end
  return dist.gather_all(heats, "float32"), dist.gather_all(predictions, "int32")
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
  return dist.guarded(explain_all, model, set, o)
end

--- The shape of the heatmaps that an earlier run has left; nil where there are none. A method that draws random numbers
-- image after image has to begin with the first: what is there is removed.
local function heat_shape(e, path)
  if e.own.generator then
    core.remove_file(path)
    core.remove_file(path .. ".partial")
  end
  return row_file.shape(path, "heat")
end

--- Explains this rank's first images, which tells the size of heatmaps: the first one's position and the heat (nil
-- where the rank has no images), and the shape of all.
local function first_heat(e, model, set)
  local following, _, _, closing = parts_of(set, e, e.first)
  local reader <close> = closing -- luacheck: ignore 211
  local images, position = following()
  local heat = images and heat_of(e, model, set, images, position)
  local size = core.tensor({ heat and heat:size(2) or 0, heat and heat:size(3) or 0 }, { dtype = "int32" })
  dist.all_reduce(size, "max")
  return position, heat, { dataset.count(set), size[1]:item(), size[2]:item() }
end

--- How many heatmaps of this rank's are there already, from its first on.
local function heat_there(e, file, shape)
  local one, there = core.zeros(1, shape[2], shape[3]), 0
  while e.first + there <= e.last and file:get(e.first + there, one) == 1 do
    there = there + 1
  end
  return there
end

local function explain_all_into(model, set, o, path, settings)
  local e = explanation(model, set, o)
  local shape, first, heat = dist.from_first(heat_shape, e, path), nil, nil
  if not shape then
    first, heat, shape = first_heat(e, model, set)
  end
  local puts = e.dealt or dist.rank() == 0
  local rows = { name = "heat", dtype = "float32", shape = shape, settings = settings }
  local file = row_file.filled("mt.masktune", path, rows, function(file)
    if heat and puts then file:put(first, heat) end
    for images, position in parts_of(set, e, e.first + (heat and #heat or heat_there(e, file, shape))) do
      local some = heat_of(e, model, set, images, position)
      if puts then file:put(position, some) end
    end
  end)
  if e.bar then e.bar:finish() end
  local all = core.zeros(shape)
  file:get(1, all)
  file:close()
  return all
end

--- The heatmaps as from explain, put into a file as they come; what an earlier run has put there is not made again.
-- Ranks fill a part of it each, so it must be where all of them see it.
-- @tparam Module model
-- @tparam table set data set
-- @tparam table options as of explain
-- @string path of a file of rows
-- @tparam table settings all that the heatmaps depend on
-- @treturn Tensor heat
function masks.explain_into(model, set, options, path, settings)
  local o = check.options("mt.masktune.explain", options, explain_schema)
  return dist.guarded(explain_all_into, model, dataset.for_model(set, model), o, path, settings)
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

local WINDOW = 0.25 -- of the image's shorter side

--- Masks that hide the hottest window of each image, nothing where heat is the same everywhere.
local function by_window(set, o, heat)
  local size = image_size(set)
  local hottest = windows.extremes(heat, size[1], size[2], windows.side(o.window or WINDOW, size[1], size[2]))
  local flat = heat:max({ 2, 3 }):eq(heat:min { 2, 3 }):reshape(#heat, 1, 1)
  return core.maximum(windows.keep(hottest, size[1], size[2]), flat)
end

local function threshold(set, o, heat, mean, protocol)
  if o.rule == "window" then return by_window(set, o, heat) end
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
  local shares, pixels = {}, keep:size(2) * keep:size(3)
  if core.data.is_masks(keep) then
    for i, count in ipairs(keep:counts():totable()) do
      shares[i] = count / pixels
    end
    return shares
  end
  for first = 1, #keep, MOST_IMAGES do
    local count = math.min(MOST_IMAGES, #keep - first + 1)
    local part = keep:narrow(1, first, count):to("float32"):reshape(count, pixels):mean(2)
    table.move(part:totable(), 1, count, first, shares)
  end
  return shares
end

--- Makes masks some images at a time, so that only their bits are there for all: make(first, count) -> keep
-- {count,H,W}. Bits go into the file of rows, where one is given. Soft masks have no bits, and stay as they are.
--
-- Where the masks of an image do not depend on those of others (`dealt`), ranks make a run of them each.
local function made_in_parts(set, file, dealt, make)
  local size, count, parts, soft = image_size(set), dataset.count(set), {}, false
  local from, to = 1, math.max(count, 1)
  dealt = dealt and dist.world() > 1
  if dealt then from, to = dist.part(count) end
  for first = from, to, MOST_IMAGES do
    local keep = make(first, math.min(MOST_IMAGES, to - first + 1, count - first + 1))
    soft = keep:dtype() ~= "uint8"
    local rows = soft and keep or core.data.pack(keep)
    if not file then
      parts[#parts + 1] = rows
    elseif dealt or dist.rank() == 0 then
      file:put(first, rows)
    end
  end
  if file then return nil end
  if dealt then soft = dist.sums(soft and 1 or 0) > 0 end
  local all = dealt and dist.gather_all(parts, soft and "float32" or "uint8") or core.cat(parts, 1)
  return soft and all or core.data.masks(all, size[1], size[2])
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

local function say_empty(set, o, empty, uses_paper)
  local count, name = dataset.count(set), set.name or "the data set"
  if empty == 0 then return end
  if uses_paper then
    notice.say("%d of %d images of %s are masked by the paper's rule, since the reference's hides nothing of them",
      empty, count, name)
  else
    notice.say("%d of %d images of %s have nothing masked: no value of their heatmaps is above the threshold (protocol "
      .. "%s)%s", empty, count, name, o.protocol,
      o.protocol ~= "paper" and "; empty = \"paper\" uses the paper's rule for them" or "")
  end
end

--- Masks from heatmaps. Images of which nothing is hidden are counted and said: with the reference's protocol heat
-- that lies in a single spot has no value above its own mean and two deviations.
local function by_heat(set, o, heat, mean, _, file)
  local empty, uses_paper = 0, o.empty == "paper" and o.protocol ~= "paper"
  local keep = made_in_parts(set, file, true, function(first, count)
    local some = heat:narrow(1, first, count)
    local part = threshold(set, o, some, mean)
    local without = empty_ones(part)
    empty = empty + #without
    return uses_paper and #without > 0 and by_paper(set, o, some, mean, part, without) or part
  end)
  say_empty(set, o, math.tointeger((dist.sums(empty))), uses_paper)
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

--- Kind of masks -> whether they follow from heatmaps, and how they are made: keep(set, o, heat, mean, generator,
-- file of rows or nil).
local kinds = {
  cam = { heat = true, keep = by_heat },
  square = {
    keep = function(set, _, _, _, generator, file)
      local size = image_size(set)
      return made_in_parts(set, file, false, function(_, count)
        return core.mask.random(count, { kind = "square", size = size, generator = generator })
      end)
    end,
  },
  area = {
    heat = true,
    keep = function(set, o, heat, mean, generator, file)
      local keep = by_heat(set, o, heat, mean)
      return made_in_parts(set, file, false, function(first, count)
        local part = keep:narrow(1, first, count)
        if part:dtype() ~= "uint8" then part = hardened(part) end
        return core.mask.random(count, { kind = "area", keep = part, generator = generator })
      end)
    end,
  },
  none = { keep = function() return nil end },
}

--- The kinds, as an option.
masks.kind_rule = { choices = { "cam", "square", "area", "none" }, default = "cam" }

--- Whether masks of this kind follow from heatmaps.
function masks.need_heat(kind) return kinds[kind].heat == true end

--- The rows of the file for the masks of a data set; nil for masks that have no bits.
local function mask_rows(set, kind, o, settings)
  local size, count = image_size(set), dataset.count(set)
  if kind == "none" or kind == "cam" and o.rule == "soft" or count == 0 then return nil end
  return {
    name = "masks", dtype = "uint8", shape = { count, (size[1] * size[2] + 7) // 8 },
    settings = tables.merged(settings, { height = size[1], width = size[2] }),
  }
end

--- Masks of a data set.
-- @tparam table set data set
-- @string kind as of kind_rule
-- @tparam table o options as of rule_schema
-- @tparam ?Tensor heat as from explain, where need_heat says so
-- @tparam ?number mean as from global_mean, of the training images
-- @tparam integer seed of random masks
-- @treturn ?Masks|Tensor {N,H,W}: one bit a pixel, 1 = keep; float32 in [0, 1] for soft masks; nil for "none"
function masks.keep(set, kind, o, heat, mean, seed)
  return kinds[kind].keep(set, o, heat, mean, core.generator(seed))
end

--- The same masks in a file, where they stay; those of a whole file are not made again.
-- @string where the public function, for messages
-- @string path
-- @tparam table settings all that the masks depend on
-- @tparam table set
-- @string kind
-- @tparam table o
-- @tparam function heat () -> heat, mean
-- @tparam integer seed
-- @raise where the file was made with other settings: which
function masks.keep_in(where, path, settings, set, kind, o, heat, seed)
  local rows, size = mask_rows(set, kind, o, settings), image_size(set)
  local function make(file)
    local values, mean = heat()
    return kinds[kind].keep(set, o, values, mean, core.generator(seed), file)
  end
  if not rows then return make(nil) end
  return core.data.masks(row_file.filled(where, path, rows, make), size[1], size[2])
end

--- Masked images that are filled from their surroundings, as a tensor of their own; where they stay in files the masks
-- are black, which is said.
local function filled(images, keep)
  if encoded.is(images) then
    local done = filled(images.pixels, keep)
    return done and images:of_pixels(streamed.of_tensor(done))
  end
  if streamed.is(images) and not images:is_in_memory() then
    notice.say("masks are black: images that stay in their files are not filled from their surroundings (a larger "
      .. "memory_limit keeps them in memory)")
    return nil
  end
  if streamed.is(images) then images = images:narrow(1, 1, #images) end
  return fill(images, check.is_tensor(keep) and keep or keep:to("uint8"), "impute")
end

--- The data set with its images masked when they are looked at; everything else is shared. Without masks, the set
-- itself. Images of floats, which are seldom many, are masked at once, and so are those that are filled.
-- @tparam table set
-- @tparam ?Masks|Tensor keep
-- @string[opt="zero"] how what takes the place of what is hidden: "zero" (black), "impute" (masktune.data.fill)
function masks.apply(set, keep, how)
  if not keep then return set end
  local images = set.images
  if not images then error("masks: data set of images expected, its inputs are '" .. dataset.input(set) .. "'", 0) end
  local done = how == "impute" and filled(images, keep)
  if not done and not streamed.is(images) then
    if images:dtype() ~= "uint8" then done = core.mask.apply(images, keep) else images = streamed.of_tensor(images) end
  end
  return dataset.named(tables.merged(set, { images = done or images:masked(keep) }))
end

--- What masks do not keep.
local function complement(keep)
  if core.data.is_masks(keep) then return keep:complement() end
  if keep:dtype() == "uint8" then return keep:eq(0) end
  return 1 - keep
end

--- The data set with what masks hide of other images pasted over its own; everything else is shared.
-- @tparam table set data set
-- @tparam table givers data set of as many images, of the same kind
-- @tparam Masks|Tensor keep the masks of the givers: what is not kept is pasted
-- @treturn table data set
function masks.paste(set, givers, keep)
  local rest, pasted = masks.apply(set, keep).images, masks.apply(givers, complement(keep)).images
  return tables.merged(set, { images = streamed.is(rest) and rest:plus(pasted) or rest + pasted })
end

--- What masks hide.
-- @tparam ?Masks|Tensor keep
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
  file = { type = "string", optional = true },
  export = { type = "string", optional = true },
})

--- What the masks in a file depend on.
local function settings_of(model, set, o)
  local heat = masks.need_heat(o.masks)
  return tables.merged(tables.picked(o, masks.rule_schema), {
    model = heat and checkpoint.digest(model:state_dict()) or "none",
    cam = heat and checkpoint.text(o.cam) or "none",
    layer = heat and (o.layers and table.concat(o.layers, " ") or o.layer or model.cam_layer) or "none",
    heat = o.heat and checkpoint.digest(o.heat) or "of the model",
    masks = o.masks,
    seed = o.seed,
    data_set = checkpoint.dataset_digest(set),
  })
end

--- Masks every image of a data set where the model looks (or at random).
-- @tparam Module model
-- @tparam table set data set
-- @tparam[opt] table options `masks` ("cam": where the model looks; "square": the reference's random squares; "area":
-- at random as much of each image as "cam" would; "none"); `protocol` ("paper"; "reference"), `rule` ("sigma"), `k`
-- (2), `top` as in mt.mask.threshold, rule "global_mean" with the mean of these images; rule "window": the hottest
-- square, whose side is `window` (0.25) of the image's shorter one; `empty` ("keep": an image of
-- which the rule hides nothing stays as it is; "paper": the paper's rule masks it); `fill` ("zero": black; "impute":
-- from the surroundings, for images in memory); `seed` of random masks (1); `heat`:
-- heatmaps from explain, which are not computed again then; `cam`, `layer`, `progress`, `label` as in explain; `file`:
-- path of a safetensors file in which the masks are kept, one bit a pixel (`masks` uint8 {N, ceil(H * W / 8)}, as
-- numpy.unpackbits reads it): made where it is not there, else read, without asking the model anything; refused where
-- its model, layer, rule or data set are others; `export`: a folder for the masked images as PNG files
-- @treturn table data set, whose uint8 images are masked when they are looked at: there is no second copy
-- @treturn table `keep` (the masks: one bit a pixel; with `index`, `narrow`, `to`, `bytes` and `[i]` as if they were a
-- uint8 tensor {N,H,W}; soft ones are a float32 tensor), `heat` (nil where none was needed), `fraction` of the pixels
-- hidden, `empty`: images of which nothing is
function masks.mask_dataset(model, set, options)
  local o = check.options("mt.masktune.mask_dataset", options, schema)
  dataset.check("mt.masktune.mask_dataset", "argument 'dataset'", set)
  local heat = o.heat
  local function find_heat()
    if masks.need_heat(o.masks) and not heat then
      heat = masks.explain(model, set, tables.picked(o, explain_schema))
    end
    return heat, masks.global_mean(set, o, heat)
  end
  local keep
  if o.file then
    keep = masks.keep_in("mt.masktune.mask_dataset", o.file, settings_of(model, set, o), set, o.masks, o, find_heat,
      o.seed)
  else
    local values, mean = find_heat()
    keep = masks.keep(set, o.masks, o, values, mean, o.seed)
  end
  local masked = masks.apply(set, keep, o.fill)
  if o.export then masks.export(masked, o.export) end
  local fraction, empty = masks.hidden(keep)
  return masked, { keep = keep, heat = heat, fraction = fraction, empty = empty }
end

--- Writes the images of a data set as PNG files: NUMBER.png, or NUMBER-NAME.png where the set knows its files' names.
-- @tparam table set of images of 1 or 3 channels, uint8 or float32 in [0,1]
-- @string folder made where it is missing
-- @tparam[opt] table options `keep`: masks {N,H,W}, which are put on
function masks.export(set, folder, options)
  dataset.check("mt.masktune.export", "argument 'dataset'", set)
  check.argument("mt.masktune.export", "folder", folder, { type = "string" })
  local o = check.options("mt.masktune.export", options, { keep = { type = "any", optional = true } })
  core.make_directory(folder)
  local count, images = dataset.count(set), masks.apply(set, o.keep).images
  local digits = #tostring(count)
  for i = 1, count do
    local file = set.files and check.is_tensor(set.file) and set.files[set.file[i]:item()]
    local name = file and "-" .. file:match("([^/]*)$"):gsub("%.[^.]*$", "") or ""
    core.image.write_png(("%s/%0" .. digits .. "d%s.png"):format(folder, i, name), images[i])
  end
end

return masks
