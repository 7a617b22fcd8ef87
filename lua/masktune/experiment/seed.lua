--- One seed of an experiment: ERM, and every row that starts from it.
-- @module masktune.experiment.seed
local cli = require "masktune.cli"
local core = require "masktune.core"
local cut = require "masktune.experiment.cut"
local encoder = require "masktune.experiment.encoder"
local masks = require "masktune.recipe.masks"
local models = require "masktune.models"
local recipe = require "masktune.recipe"
local report = require "masktune.report"
local sets_of = require "masktune.experiment.sets"
local tables = require "masktune.tables"

local seed = {}

--- Builds the net; what is wrong is said in the words of the command line.
local function build(o, options)
  local built, model = pcall(models[o.net], options)
  if built then return model end
  local problem = tostring(model):gsub("pretrained = FILE", "--weights FILE")
  if problem:find("unknown option 'pretrained'", 1, true) then
    problem = ("--net %s has no published weights; --weights none trains it from scratch"):format(o.net)
  end
  error(problem, 0)
end

--- The net of a seed, with its published weights and a head of its own.
-- @tparam table o the command line's values
-- @tparam integer classes
-- @tparam integer number the seed
-- @treturn Module
function seed.model(o, classes, number)
  core.manual_seed(number)
  local model = build(o, { classes = classes, pretrained = o.weights or nil })
  if o.layer then
    model:get(o.layer) -- a layer that is not there is refused now
    model.cam_layer = o.layer
  end
  if not o.freeze then return model end
  local rest = select(2, cut(model, o.freeze))
  if not pcall(rest.get, rest, model.cam_layer) then
    error(("--freeze '%s' leaves nothing of the layer '%s', where heatmaps are made; --layer chooses another"):format(
      o.freeze, model.cam_layer), 0)
  end
  rest.cam_layer = model.cam_layer
  return rest
end

--- Sets whose images are what the frozen part makes of them; the sets themselves where nothing is frozen.
-- @tparam table o the command line's values
-- @tparam table sets as from masktune.experiment.sets
-- @treturn table sets, and `frozen`: the weights of that part
function seed.encoded(o, sets)
  if not o.freeze then return sets end
  core.manual_seed(1)
  local model = build(o, { classes = sets.train.classes, pretrained = o.weights or nil })
  local encode, first = encoder(model, o.freeze, o.net)
  local tests = {}
  for i, test in ipairs(sets.tests) do
    tests[i] = { name = test.name, set = encode(test.set) }
  end
  return { train = encode(sets.train), val = encode(sets.val), tests = tests, frozen = first:state_dict() }
end

local function settings_of(experiment, o)
  return {
    data = experiment.title, size = o.size, limit = o.limit or "none", net = o.net,
    weights = o.weights == true and "published" or o.weights or "none", freeze = o.freeze or "none",
  }
end

--- The options of mt.train that all rows share.
-- @tparam table experiment the recipe
function seed.training(experiment, o, sets, number)
  return {
    train = sets.train,
    val = sets.val,
    epochs = o.epochs,
    batch = o.batch,
    micro_batch = o.micro_batch,
    augment = sets_of.augment(o),
    schedule = o.schedule(o.lr, o.epochs),
    weight_decay = o.weight_decay,
    select = o.select,
    seed = number,
    settings = settings_of(experiment, o),
  }
end

--- The rate that another row has chosen, and how it changes, as options; nil where it has none.
local function rate_of(key, rows)
  for _, row in ipairs(rows) do
    if row.key == key then return row.finetune and row.finetune.options end
  end
end

--- A row's result; nil and the reason where every rate was refused, which is a result too. `rows`: those before it.
local function result_of(model, row, rows, shared)
  local matched = row.rate_of and rate_of(row.rate_of, rows)
  if row.rate_of and not matched then return nil, ("%s has no sound rate"):format(row.rate_of) end
  local run, result = pcall(recipe, model, tables.merged(shared, row.options, matched or {}))
  if run then return result end
  if not tostring(result):find("no candidate is sound", 1, true) then error(result, 0) end
  cli.say("%s", result)
  return nil, tostring(result)
end

--- What a row found, without the models and masks, which are large.
local function summary(experiment, row, result, sets)
  local values, parts = experiment.measure(result.final, sets)
  local fine, mask = result.finetune, result.masks and result.masks[1]
  return {
    key = row.key, values = values, parts = parts, seconds = result.seconds,
    finetune = fine and {
      lr = fine.lr, options = fine.options, k = fine.k, iterations = fine.iterations, candidates = fine.candidates,
    },
    hidden = mask and mask.fraction, nothing_hidden = mask and mask.empty,
  }
end

--- Keeps what one is to have of a row: its weights, those of a frozen part too, and its masked images where asked.
local function keep_row(o, sets, row, result, folder)
  local weights = tables.merged(sets.frozen or {}, result.final:state_dict())
  core.save(("%s/final-%s.safetensors"):format(folder, row.key), weights)
  if o.export and row.method == "masktune" then
    recipe.export(masks.apply(sets.train, result.masks[1].keep), ("%s/masked-%s"):format(folder, row.key))
  end
end

--- Runs a seed.
-- @tparam table experiment the recipe
-- @tparam table o the command line's values
-- @tparam table sets
-- @tparam {table,...} rows as from masktune.experiment.rows
-- @tparam integer number the seed
-- @tparam function write_rows is given the rows of metrics.csv so far, again and again
-- @treturn table `rows`: what each row found; `erm`: the model; `tuned`: the first MaskTune row's, with its `row`
function seed.run(experiment, o, sets, rows, number, write_rows)
  local model, folder = seed.model(o, sets.train.classes, number), cli.seed_folder(o, number)
  local shared, found = seed.training(experiment, o, sets, number), { rows = {}, erm = model }
  local erm = recipe.erm(model, tables.merged(shared, {
    checkpoint = folder .. "/erm.safetensors",
    resume = true,
    label = ("seed %d, ERM"):format(number),
    on_epoch = function(_, history) write_rows(report.epoch_rows(number, "erm", history)) end,
  }))
  local written = report.epoch_rows(number, "erm", erm.history)
  write_rows(written)
  for i, row in ipairs(rows) do
    cli.say("seed %d: %s", number, row.title)
    local result, problem = result_of(model:clone(), row, found.rows, tables.merged(shared, {
      initial = erm, checkpoint = folder, resume = true,
    }))
    found.rows[i] = { key = row.key, problem = problem }
    if result then
      local tuned = report.epoch_rows(number, row.key, result.finetune and result.finetune.candidates or {})
      write_rows(table.move(tuned, 1, #tuned, #written + 1, written))
      found.rows[i] = summary(experiment, row, result, sets)
      if row.method == "masktune" then found.tuned = found.tuned or { row = row, model = result.final } end
      keep_row(o, sets, row, result, folder)
    end
  end
  return found
end

return seed
