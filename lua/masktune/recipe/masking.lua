--- ERM, masks, fine-tuning, and again where asked: what methods that mask have in common. They differ in the kind of
-- masks (masktune.recipe.masks).
-- @module masktune.recipe.masking
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local explain = require "masktune.explain"
local judges = require "masktune.recipe.judges"
local masks = require "masktune.recipe.masks"
local optimizers = require "masktune.train.optimizer"
local search = require "masktune.recipe.search"
local selection = require "masktune.train.selection"
local tables = require "masktune.tables"

local masking = {}

--- How the fine-tuning is done.
masking.finetune_schema = {
  finetune_from = { choices = { "best", "last" }, default = "last" },
  finetune_lr = { choices = { "last", "auto" }, type = "number", above = 0, default = "last" },
  finetune_schedule = { choices = { "constant", "cosine" }, optional = true },
  finetune_steps = { type = "integer", min = 1, default = 1 },
  auto = { type = "table", default = {} },
  carry_momentum = { type = "boolean", default = true },
  exchange = { type = "boolean", default = false },
}

--- All options of a method that masks.
masking.schema = tables.merged(masking.finetune_schema, masks.rule_schema, masks.cam_schema, {
  mask_from = { choices = { "best", "last" }, default = "best" },
  iterations = { type = "integer", min = 1, max = 3, default = 1 },
  accumulate = { type = "boolean", default = false },
})

--- What "auto" multiplies the last rate of training with.
local FACTORS = { constant = { 1, 2, 4, 8 }, cosine = { 1, 4, 16, 32 } }

local auto_schema = {
  factors = { type = "list", of = { type = "number", above = 0 }, min_length = 1, optional = true },
  k = { type = "list", of = { type = "number", min = 0 }, min_length = 1, optional = true },
  iterations = { type = "list", of = { type = "integer", min = 1, max = 3 }, min_length = 1, optional = true },
  by = { choices = { "judges", "masked", table.unpack(selection.names) }, type = "function", default = "judges" },
}

--- The options, with defaults, checked against each other.
local function checked(model, o, kind, context)
  o.auto = context.check("option 'auto'", o.auto, auto_schema)
  o.finetune_schedule = o.finetune_schedule or (o.finetune_lr == "auto" and "cosine" or "constant")
  o.auto.factors = o.auto.factors or FACTORS[o.finetune_schedule]
  o.ks = o.auto.k or { o.k }
  o.choices = o.auto.iterations or { o.iterations }
  if not o.layers then o.layer = o.layer or model.cam_layer end
  local chooses = o.finetune_lr == "auto" or #o.ks > 1 or #o.choices > 1
  if chooses and not o.val then
    context.refuse("option 'val': data set expected (it decides between candidates), got nil")
  end
  if o.auto.k and (o.rule ~= "sigma" or not masks.need_heat(kind)) then
    context.refuse("option 'auto.k': only masks of rule 'sigma' have a k")
  end
  if o.fill == "impute" and o.rule == "soft" then
    context.refuse("option 'fill': 'impute' needs hard masks, not those of rule 'soft'")
  end
  if (o.rule == "topk") ~= (o.top ~= nil) then
    context.refuse("option 'top': required with rule 'topk', and only with it")
  end
  local cam = masks.need_heat(kind) and explain.method(o.cam, context.where)
  if cam and not (cam.input or o.layer or o.layers) then
    context.refuse("option 'layer': name of a layer expected (the model has no cam_layer), got nil")
  end
  return o
end

local function rates_of(o, last)
  if o.finetune_lr == "last" then return { last } end
  if o.finetune_lr ~= "auto" then return { o.finetune_lr } end
  local rates = {}
  for i, factor in ipairs(o.auto.factors) do
    rates[i] = last * factor
  end
  return rates
end

--- What heatmaps depend on, beside the weights.
local function heat_settings(o)
  return {
    cam = checkpoint.text(o.cam),
    layer = o.layers and table.concat(o.layers, " ") or o.layer or "none",
    training_set = checkpoint.dataset_digest(o.train),
    validation_set = o.val and checkpoint.dataset_digest(o.val) or "none",
    preprocess = checkpoint.text(o.train.preprocess),
  }
end

--- What fine-tuned weights depend on, beside the weights they start from.
local function finetune_settings(o, kind, heat)
  return tables.merged(o.settings, optimizers.settings(o), tables.picked(o, masks.rule_schema), heat, {
    masks = kind,
    batch = o.batch,
    micro_batch = o.micro_batch or "none",
    seed = o.seed,
    accumulate = o.accumulate,
    carry_momentum = o.carry_momentum,
    augment = checkpoint.text(o.augment),
    objective = checkpoint.text(o.objective),
    class_weights = checkpoint.text(o.class_weights),
    label_smoothing = o.label_smoothing,
    ignore_index = o.ignore_index or "none",
    clip_grad_norm = o.clip_grad_norm or "none",
    sampler = checkpoint.text(o.sampler),
    candidates_k = table.concat(o.ks, " "),
    judged_by = o.auto.by == "judges" and judges.name or checkpoint.text(o.auto.by),
    finetune_steps = o.finetune_steps,
    finetune_schedule = o.finetune_schedule ~= "constant" and o.finetune_schedule or nil,
    exchange = o.exchange or nil,
  })
end

--- Loads weights into the model and explains both data sets, or finds their heatmaps on disk.
local function heatmaps(model, o, from, iteration, folder, settings)
  local name = "heat-" .. iteration
  settings = settings and tables.merged(settings, {
    masked_by = checkpoint.digest(from.masker),
    images = from.digests.train,
  })
  local state = folder:load(name, settings)
  if state then return state end
  local started = core.clock()
  state = { heat = {} }
  model:load_state_dict(from.masker)
  for _, part in ipairs { "train", "val" } do
    if from.sets[part] then
      local options = {
        cam = o.cam, layer = o.layer, layers = o.layers, progress = o.progress,
        label = ("explain %s images"):format(part),
      }
      local rows = folder:path(("%s-%s"):format(name, part), settings)
      state.heat[part] = rows and masks.explain_into(model, from.sets[part], options, rows, settings)
        or masks.explain(model, from.sets[part], options)
    end
  end
  state.seconds = core.clock() - started
  folder:save(name, state, settings)
  for part in pairs(state.heat) do -- they are in the stage now
    folder:remove(("%s-%s"):format(name, part), settings)
  end
  return state
end

local part_number = { train = 1, val = 2 }

--- A function that makes the masks of one iteration: keep(part, k). In a folder they are kept, and made once.
local function mask_maker(o, kind, from, heat, iteration, folder, settings)
  local sets = from.sets
  local mean = masks.global_mean(sets.train, o, heat.train)
  local function rule(k) return tables.merged(o, { k = k }) end
  local function keep(part, k)
    local seed = o.seed * 100 + iteration * 10 + part_number[part]
    if not settings or kind == "none" then return masks.keep(sets[part], kind, rule(k), heat[part], mean, seed) end
    local depends = tables.merged(tables.picked(rule(k), masks.rule_schema), settings.heat, {
      model = checkpoint.digest(from.masker), masks = kind, seed = seed, data_set = from.digests[part], part = part,
    })
    local path = folder:path(("masks-%d-%s"):format(iteration, part), depends)
    return masks.keep_in("mt.masktune", path, depends, sets[part], kind, rule(k), function()
      return heat[part], mean
    end, seed)
  end
  return keep
end

--- One iteration: explain with `from.masker`, mask `from.sets`, fine-tune from `from.start`.
local function iterate(model, o, kind, iteration, from, folder, settings)
  local explained = { heat = {}, seconds = 0 }
  if masks.need_heat(kind) then
    explained = heatmaps(model, o, from, iteration, folder, settings and settings.heat)
  end
  local keep = mask_maker(o, kind, from, explained.heat, iteration, folder, settings)
  local found = search.run(model, {
    name = "finetune-" .. iteration,
    iteration = iteration,
    masker = from.masker,
    start = from.start,
    rates = from.rates,
    ks = o.ks,
    by = o.auto.by,
    train = from.sets.train,
    val = from.sets.val,
    keep = keep,
    seed = o.seed + 7919 * iteration,
    options = o,
    stages = folder,
    settings = settings and tables.merged(settings.finetune, {
      rates = table.concat(from.rates, " "),
      masked_by = checkpoint.digest(from.masker),
      started_from = checkpoint.digest(from.start.model),
    }),
  })
  found.explain_seconds, found.masker = explained.seconds, from.masker
  found.val, found.keep = from.sets.val, {}
  for part in pairs(from.sets) do
    found.keep[part] = keep(part, found.chosen.k)
  end
  return found
end

local function settings_of(o, kind)
  local heat = heat_settings(o)
  return { heat = heat, finetune = finetune_settings(o, kind, heat) }
end

local function run_iterations(model, o, kind, first, folder)
  local from = {
    sets = { train = o.train, val = o.val },
    masker = first[o.mask_from].model,
    start = first[o.finetune_from],
    rates = rates_of(o, first.lr),
  }
  local settings = folder.folder and settings_of(o, kind)
  from.digests = settings and { train = settings.heat.training_set, val = settings.heat.validation_set }
  local done = {}
  for iteration = 1, math.max(table.unpack(o.choices)) do
    local found = iterate(model, o, kind, iteration, from, folder, settings)
    done[iteration] = found
    from.masker, from.start = found.best.model, found.best
    if o.accumulate then
      local sets = {}
      for part, set in pairs(from.sets) do
        sets[part] = masks.apply(set, found.keep[part], o.fill)
        if settings then from.digests[part] = checkpoint.dataset_digest(sets[part]) end
      end
      from.sets = sets
    end
  end
  return done
end

--- The number of iterations to stop after: judged by the validation split as each iteration masked it.
local function choose_iterations(model, o, done)
  if #o.choices == 1 then return o.choices[1] end
  local jury, rows = {}, {}
  for i, found in ipairs(done) do
    model:load_state_dict(found.masker)
    jury[i] = judges.new(model, found.val, found.keep.val, o.seed, o.fill)
  end
  for i, count in ipairs(o.choices) do
    model:load_state_dict(done[count].best.model)
    rows[i] = judges.measure(model, jury)
    done[count].judged = rows[i].judged
  end
  return o.choices[search.winner(rows)]
end

--- What the iterations tell a reader.
local function describe(result, o, done, chosen)
  local best = done[chosen].chosen
  local fine = {
    candidates = {}, iterations = chosen, lr = best.lr, k = best.k,
    options = { finetune_lr = best.lr, finetune_schedule = o.finetune_schedule },
  }
  result.seconds.mask, result.seconds.finetune = 0, 0
  for i, found in ipairs(done) do
    table.move(found.tried, 1, #found.tried, #fine.candidates + 1, fine.candidates)
    local fraction, empty = masks.hidden(found.keep.train)
    result.masks[i] = {
      keep = found.keep.train, fraction = fraction, empty = empty, chosen = found.chosen, judged = found.judged,
    }
    result.seconds.mask = result.seconds.mask + found.explain_seconds
    for _, row in ipairs(found.tried) do
      result.seconds.finetune = result.seconds.finetune + row.seconds
    end
  end
  result.finetune = fine
  return result
end

--- Runs a method that masks.
-- @tparam Module model ends with the final weights
-- @tparam table o options as of `schema` and of mt.train
-- @tparam table context as in masktune.recipe.run
-- @string kind of masks: "cam", "square", "area", "none"
-- @treturn table what mt.masktune says of its result
function masking.run(model, o, context, kind)
  if dataset.input(o.train) ~= "images" and kind ~= "none" then
    context.refuse("option 'train': data set of images expected, its inputs are '%s'", dataset.input(o.train))
  end
  checked(model, o, kind, context)
  local first = context.erm()
  local result = context.result(first, o.finetune_from)
  result.masks = {}
  local done = run_iterations(model, o, kind, first, context.stages)
  local chosen = choose_iterations(model, o, done)
  model:load_state_dict(done[chosen].best.model)
  return describe(result, o, done, chosen)
end

return masking
