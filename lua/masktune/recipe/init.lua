--- The whole recipe, `mt.masktune(model, options)`, and its steps one by one: `mt.masktune.erm`, `.explain`,
-- `.mask_dataset`, `.finetune`.
-- A stage (ERM, heatmaps and fine-tuning of an iteration) depends on nothing but its settings and the weights it starts
-- from, random numbers included; so a stage can be skipped when its result is on disk, and repeated when it is not, and
-- the final weights are the same bits.
-- @module masktune.recipe
local check = require "masktune.check"
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local erm = require "masktune.recipe.erm"
local finetune = require "masktune.recipe.finetune"
local masks = require "masktune.recipe.masks"
local optimizers = require "masktune.recipe.optimizer"
local schedules = require "masktune.schedule"
local search = require "masktune.recipe.search"
local stages = require "masktune.recipe.stages"
local tables = require "masktune.tables"

local schema = tables.merged(erm.schema, masks.rule_schema, {
  method = { choices = { "masktune", "randmask", "erm" }, default = "masktune" },
  mask_from = { choices = { "best", "last" }, default = "best" },
  finetune_from = { choices = { "best", "last" }, default = "last" },
  finetune_lr = { choices = { "last", "auto" }, type = "number", above = 0, default = "last" },
  auto = { type = "table", default = {} },
  iterations = { type = "integer", min = 1, max = 3, default = 1 },
  accumulate = { type = "boolean", default = false },
  carry_momentum = { type = "boolean", default = true },
  layer = { type = "string", optional = true },
  initial = { type = "table", optional = true },
})

local auto_schema = {
  factors = { type = "list", of = { type = "number", above = 0 }, min_length = 1, default = { 1, 2, 4, 8 } },
  k = { type = "list", of = { type = "number", min = 0 }, min_length = 1, optional = true },
  iterations = { type = "list", of = { type = "integer", min = 1, max = 3 }, min_length = 1, optional = true },
}

local function refuse(message, ...) error("mt.masktune: " .. message:format(...), 4) end

--- The options, with defaults, checked against each other.
local function checked_options(model, options)
  local o = check.options("mt.masktune", options, schema, 2)
  o.auto = check.options("mt.masktune: option 'auto'", o.auto, auto_schema, 2)
  o.schedule = o.schedule or schedules.quarters(o.lr, o.epochs)
  o.ks = o.auto.k or { o.k }
  o.choices = o.auto.iterations or { o.iterations }
  o.layer = o.layer or model.cam_layer
  dataset.check("mt.masktune", "option 'train'", o.train, 2)
  if o.val then dataset.check("mt.masktune", "option 'val'", o.val, 2) end
  local chooses = o.finetune_lr == "auto" or #o.ks > 1 or #o.choices > 1
  if chooses and not o.val then refuse("option 'val': data set expected (it decides between candidates), got nil") end
  if o.auto.k and (o.rule ~= "sigma" or not masks.need_heat(o)) then
    refuse("option 'auto.k': only masks of rule 'sigma' have a k")
  end
  if (o.rule == "topk") ~= (o.top ~= nil) then refuse("option 'top': required with rule 'topk', and only with it") end
  if not o.layer then refuse("option 'layer': name of a layer expected (the model has no cam_layer), got nil") end
  return o
end

--- The result of ERM: made, resumed, or given (the result of mt.masktune.erm, or a state dict).
local function initial_of(model, o, folder)
  if not o.initial then
    local options = tables.merged(tables.picked(o, erm.schema), { checkpoint = folder:path("erm") })
    return erm.run(model, options)
  end
  if o.initial.last then return o.initial end
  local state = { model = o.initial }
  return { history = {}, best = state, last = state, lr = o.schedule:lr(o.epochs) }
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

local function shared_settings(o)
  return tables.merged(o.settings, optimizers.settings(o), tables.picked(o, masks.rule_schema), {
    batch = o.batch,
    seed = o.seed,
    layer = o.layer,
    accumulate = o.accumulate,
    carry_momentum = o.carry_momentum,
    augment = checkpoint.augment_text(o.augment),
    candidates_k = table.concat(o.ks, " "),
    training_set = checkpoint.dataset_digest(o.train),
    validation_set = o.val and checkpoint.dataset_digest(o.val) or "none",
  })
end

--- Loads weights into the model and explains both data sets, or finds their heatmaps on disk.
local function heatmaps(model, o, sets, masker, iteration, folder, settings)
  local name = "heat-" .. iteration
  local stage_settings = settings and {
    layer = o.layer,
    training_set = settings.training_set,
    validation_set = settings.validation_set,
    masked_by = checkpoint.digest(masker),
  }
  local state = folder:load(name, stage_settings)
  if state then return state end
  local started = core.clock()
  state = { heat = {} }
  model:load_state_dict(masker)
  for _, part in ipairs { "train", "val" } do
    if sets[part] then
      state.heat[part] = masks.explain(model, sets[part], {
        layer = o.layer, progress = o.progress, label = ("explain %s images"):format(part),
      })
    end
  end
  state.seconds = core.clock() - started
  folder:save(name, state, stage_settings)
  return state
end

local part_number = { train = 1, val = 2 }

--- A function that makes the masks of one iteration: keep(part, k).
local function mask_maker(o, sets, heat, iteration)
  local mean = masks.global_mean(sets.train, o, heat.train)
  return function(part, k)
    local seed = o.seed * 100 + iteration * 10 + part_number[part]
    return masks.keep(sets[part], tables.merged(o, { k = k }), heat[part], mean, seed)
  end
end

--- One iteration: explain with `masker`, mask `sets`, fine-tune from `start`.
local function iterate(model, o, iteration, from, folder, settings)
  local explained = { heat = {}, seconds = 0 }
  if masks.need_heat(o) then
    explained = heatmaps(model, o, from.sets, from.masker, iteration, folder, settings)
  end
  local keep = mask_maker(o, from.sets, explained.heat, iteration)
  local found = search.run(model, {
    name = "finetune-" .. iteration,
    iteration = iteration,
    start = from.start,
    rates = from.rates,
    ks = o.ks,
    train = from.sets.train,
    val = from.sets.val,
    keep = keep,
    seed = o.seed + 7919 * iteration,
    options = o,
    stages = folder,
    settings = settings and tables.merged(settings, {
      rates = table.concat(from.rates, " "),
      masked_by = checkpoint.digest(from.masker),
      started_from = checkpoint.digest(from.start.model),
    }),
  })
  found.explain_seconds = explained.seconds
  found.val, found.keep = from.sets.val, {}
  for part in pairs(from.sets) do
    found.keep[part] = keep(part, found.chosen.k)
  end
  return found
end

local function run_iterations(model, o, first, folder)
  local from = {
    sets = { train = o.train, val = o.val },
    masker = first[o.mask_from].model,
    start = first[o.finetune_from],
    rates = rates_of(o, first.lr),
  }
  local settings = folder.folder and shared_settings(o)
  local done = {}
  for iteration = 1, math.max(table.unpack(o.choices)) do
    local found = iterate(model, o, iteration, from, folder, settings)
    done[iteration] = found
    from.masker, from.start = found.best.model, found.best
    if o.accumulate then
      local sets = {}
      for part, set in pairs(from.sets) do
        sets[part] = masks.apply(set, found.keep[part])
      end
      from.sets = sets
    end
  end
  return done
end

--- The number of iterations to stop after: judged by the validation split as each iteration masked it.
local function choose_iterations(model, o, done)
  if #o.choices == 1 then return o.choices[1] end
  local judges, rows = {}, {}
  for i, found in ipairs(done) do
    judges[i] = masks.apply(found.val, found.keep.val)
  end
  for i, count in ipairs(o.choices) do
    model:load_state_dict(done[count].best.model)
    rows[i] = search.judge(model, judges)
    done[count].judged = rows[i].judged
  end
  return o.choices[search.winner(rows)]
end

local function clone_with(model, state)
  local clone = model:clone()
  clone:load_state_dict(state)
  return clone
end

local function sum_of(rows, name)
  local sum = 0
  for _, row in ipairs(rows) do
    sum = sum + row[name]
  end
  return sum
end

--- What the iterations tell a reader.
local function describe(result, done, chosen)
  local fine = { candidates = {}, iterations = chosen, lr = done[chosen].chosen.lr, k = done[chosen].chosen.k }
  for i, found in ipairs(done) do
    table.move(found.tried, 1, #found.tried, #fine.candidates + 1, fine.candidates)
    result.masks[i] = {
      keep = found.keep.train,
      fraction = masks.fraction(found.keep.train),
      chosen = found.chosen,
      judged = found.judged,
    }
    result.seconds.mask = result.seconds.mask + found.explain_seconds
    result.seconds.finetune = result.seconds.finetune + sum_of(found.tried, "seconds")
  end
  result.finetune = fine
end

--- Trains, masks and fine-tunes (METHOD: ERM, then RandMask or MaskTune).
-- @tparam Module model ends with the final weights
-- @tparam table options those of mt.masktune.erm (`train`, `val`, `epochs`, `batch`, `lr`, `schedule`, `optimizer`,
-- `momentum`, `weight_decay`, `augment` (also of the masked images), `seed`, `on_epoch`, `settings`, `progress`), and
--
-- * `method` ("masktune"; "randmask"; "erm")
-- * `protocol`, `rule`, `k`, `top`, `random`: as in mt.masktune.mask_dataset
-- * `mask_from` ("best" on validation; "last"), `finetune_from` ("last"; "best"): which ERM weights
-- * `finetune_lr` ("last": the schedule's last rate; a number; "auto": the last rate times each of auto.factors, of
--   which the one with the best accuracy on the masked validation split is kept)
-- * `auto`: `factors` ({1, 2, 4, 8}), `k` and `iterations` (lists to choose from as well; not done without them; how:
--   masktune.recipe.search)
-- * `iterations` (1 to 3), `accumulate` (false: later iterations mask the original images; true: the masked ones)
-- * `carry_momentum` (true), `layer` (model.cam_layer)
-- * `initial`: skip ERM; a result of mt.masktune.erm, or a state dict
-- * `checkpoint`: a folder for finished stages; `resume` (false): skip what is finished there
-- @treturn table `initial` (model that was fine-tuned), `best` (ERM model, best on validation), `final` (`model`);
-- `history` (of ERM, as in mt.train), `best_epoch`; `finetune`: `lr`, `k`, `iterations` chosen, `candidates` (`lr`,
-- `k`, `iteration`; `judged`: accuracies on the validation split masked with each k, and their mean `val_accuracy`;
-- `val_loss`, `train_loss`, `train_accuracy`, `seconds`); `masks`: per iteration `keep` (of the training images),
-- `fraction` hidden, `chosen` candidate, and `judged` where the number of iterations was chosen: accuracies on the
-- validation split as each iteration masked it; `seconds`: `erm`, `mask`, `finetune`
local function masktune(model, options)
  check.argument("mt.masktune", "model", model, { type = "module" })
  local o = checked_options(model, options)
  model:clone() -- what cannot be copied is refused now, not after the training
  local folder = stages.open(o.checkpoint, o.resume)
  local first = initial_of(model, o, folder)
  local result = {
    history = first.history,
    best_epoch = first.best.epoch,
    masks = {},
    seconds = { erm = sum_of(first.history, "seconds"), mask = 0, finetune = 0 },
    initial = clone_with(model, first[o.finetune_from].model),
    best = clone_with(model, first.best.model),
    final = model,
  }
  if o.method == "erm" then
    model:load_state_dict(first.last.model)
    return result
  end
  local done = run_iterations(model, o, first, folder)
  local chosen = choose_iterations(model, o, done)
  model:load_state_dict(done[chosen].best.model)
  describe(result, done, chosen)
  return result
end

return setmetatable({
  erm = erm.run,
  explain = masks.explain,
  mask_dataset = masks.mask_dataset,
  finetune = finetune.run,
  clear = stages.clear,
}, { __call = function(_, model, options) return masktune(model, options) end })
