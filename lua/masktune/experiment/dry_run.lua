--- What a run would take, from a few steps measured.
-- @module masktune.experiment.dry_run
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local evaluate = require "masktune.evaluate"
local masks = require "masktune.recipe.masks"
local seed_run = require "masktune.experiment.seed"
local sets_of = require "masktune.experiment.sets"
local tables = require "masktune.tables"
local train = require "masktune.train"

local STEPS = 10
local AUTO_RATES = 4 -- that "auto" tries
local MASKINGS = 4 -- sets of training images that a frozen part sees: as they are, and masked
local JUDGED = 3 -- times the validation split that judging a rate looks at

local function median(values)
  table.sort(values)
  return (values[(#values + 1) // 2] + values[#values // 2 + 1]) / 2
end

--- Seconds of one step, without the first, which wakes caches and threads up; and seconds for each image of what is
-- done once for it, where a first part of the net is frozen.
local function step_seconds(model, training, frozen)
  local count = math.min(dataset.size(training.train), (STEPS + 1) * training.batch)
  local some, once = dataset.subset(training.train, count), 0
  if frozen then
    local started = core.clock()
    evaluate(model, some)
    once = (core.clock() - started) / count
  end
  local clock, list = core.clock(), {}
  train(model, tables.merged(training, {
    train = some,
    epochs = 1,
    progress = false,
    after_step = function()
      local now = core.clock()
      list[#list + 1], clock = now - clock, now
    end,
  }, { settings = {} }))
  if #list > 1 then table.remove(list, 1) end
  return median(list), #list, once
end

--- Seconds for each image of f, called with the first images of a set.
local function image_seconds(set, f)
  local some = dataset.subset(set, math.min(256, dataset.size(set)))
  local started = core.clock()
  f(some)
  return (core.clock() - started) / dataset.size(some)
end

local function duration(seconds)
  if seconds < 120 then return ("%.0f s"):format(seconds) end
  if seconds < 7200 then return ("%.0f min"):format(seconds / 60) end
  return ("%.1f hours"):format(seconds / 3600)
end

--- Epochs that the rows take beside ERM: one for each rate, which is then judged.
local function epochs_of(rows)
  local epochs = 0
  for _, row in ipairs(rows) do
    local rate = row.options.finetune_lr
    epochs = epochs + (rate == "auto" and AUTO_RATES or (rate or row.rate_of) and 1 or 0)
  end
  return epochs
end

--- Prints what was found and what a run takes.
-- @tparam table experiment the recipe
-- @tparam table o the command line's values
-- @tparam table sets
-- @tparam {table,...} rows
return function(experiment, o, sets, rows)
  print(sets_of.describe("train", sets.train))
  print(sets_of.describe("val", sets.val))
  local tested = 0
  for _, test in ipairs(sets.tests) do
    print(sets_of.describe(test.name, test.set))
    tested = tested + dataset.size(test.set)
  end
  local model = seed_run.model(o, sets.train.classes, o.seeds[1])
  print(("%s: %d parameters, images of %dx%d, batches of %d%s"):format(o.net, model:num_parameters(), o.size, o.size,
    o.batch, o.micro_batch and (" in parts of %d"):format(o.micro_batch) or ""))
  local training = tables.without(seed_run.training(experiment, o, sets, o.seeds[1]), { "val" })
  local step, steps, once = step_seconds(model, training, sets.frozen)
  local test = image_seconds(sets.val, function(set) evaluate(model, set) end)
  local heat = image_seconds(sets.val, function(set)
    masks.explain(model, set, { cam = o.cam, progress = false })
  end)
  local images, val = dataset.size(sets.train), dataset.size(sets.val)
  local epoch = step * math.ceil(images / o.batch)
  local total = o.epochs * (epoch + val * test) + (images + val) * heat + #rows * tested * test
    + epochs_of(rows) * (epoch + JUDGED * val * test) + MASKINGS * images * once
  print(("memory: %.0f MB at most so far, decoded images and masks of a whole run not counted"):format(
    core.memory().peak_resident / 2 ^ 20))
  print(("time, from %d measured steps: %s an epoch (%.0f images/s); heatmaps %s; a seed with its %d rows %s; %d "
    .. "seed%s %s"):format(steps, duration(epoch), o.batch / step, duration((images + val) * heat), #rows,
    duration(total), #o.seeds, #o.seeds == 1 and "" or "s", duration(#o.seeds * total)))
end
