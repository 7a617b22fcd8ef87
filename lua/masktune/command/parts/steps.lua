--- The steps of a run: training, diagnosis, fine-tuning, evaluation. Each reads what the ones before it left in the
-- run's folder, and leaves what it found.
-- @module masktune.command.parts.steps
local core = require "masktune.core"
local data = require "masktune.data"
local dataset = require "masktune.data.dataset"
local diagnose = require "masktune.diagnose"
local evaluate = require "masktune.evaluate"
local frozen = require "masktune.command.parts.frozen"
local json = require "masktune.json"
local layer = require "masktune.command.parts.layer"
local nets = require "masktune.command.parts.nets"
local photos = require "masktune.command.parts.photos"
local progress = require "masktune.progress"
local rates = require "masktune.command.parts.rates"
local recipe = require "masktune.recipe"
local selective = require "masktune.selective"
local story = require "masktune.command.parts.story"
local tables = require "masktune.tables"

local steps = {}

local MANY = 5000 -- training images from which batches are larger
local PATIENCE, PATIENT_STEPS = 5, 100 -- epochs, and no fewer steps: running statistics need some tens of them
local FACTORS = { 1, 4 } -- of the last learning rate, tried in fine-tuning

-- ---- training ----

local function first_image(set, model)
  local image = dataset.inputs(set):narrow(1, 1, 1)
  image = image:dtype() == "uint8" and image:to("float32") / 255 or image
  return model.preprocess and model.preprocess(image) or image
end

--- What the command line left open, decided for these images.
local function settle(run, o)
  local settings, sets = run.settings, run:sets()
  local model, name, pretrained = nets.first {
    net = o.net, pretrained = o.pretrained, size = settings.size, classes = settings.classes, seed = settings.seed,
  }
  settings.net, settings.published = name, pretrained
  settings.epochs = o.epochs or pretrained and 12 or 30
  settings.batch = o.batch or data.size(sets.train) >= MANY and 128 or 32
  settings.batch = math.min(settings.batch, data.size(sets.train))
  settings.preprocess = nets.preprocess_settings(model)
  local fine, rows, columns, before = layer.fine(model, first_image(sets.train, model))
  settings.layer, settings.cells = fine, json.array { rows, columns }
  local few = pretrained and data.size(sets.train) < MANY
  settings.frozen = few and before and frozen.possible(model, before, fine) and before or nil
  for split, set in pairs { train = sets.train, val = sets.val, test = sets.test } do
    settings[split .. "_images"] = data.size(set)
  end
  core.save(run:path "stages/start.safetensors", model:state_dict())
  local rest, seen = frozen.rest(settings, model), run:trained_on(model)
  settings.lr = o.lr or rates.search(rest, seen, { batch = settings.batch, pretrained = pretrained,
    seed = settings.seed })
  run:save_settings()
  return model
end

--- The net as it was before training.
local function start_of(run) return nets.saved(run.settings, core.load(run:path "stages/start.safetensors")) end

--- Options that training and fine-tuning share.
local function shared_options(run, sets)
  local settings = run.settings
  return {
    train = sets.train, val = sets.val, epochs = settings.epochs, batch = settings.batch, lr = settings.lr,
    seed = settings.seed, settings = { net = settings.net, size = settings.size },
    patience = math.max(PATIENCE, math.ceil(PATIENT_STEPS * settings.batch / settings.train_images)),
  }
end

local function erm(run, model, sets)
  return recipe.erm(model, tables.merged(shared_options(run, sets), {
    checkpoint = run:path "stages/erm.safetensors", resume = true,
  }))
end

--- Trains the net, or goes on with it.
-- @tparam Project run
-- @tparam table o values of the command line
-- @treturn table what training.json holds
function steps.train(run, o)
  local sets = run:sets()
  for _, line in ipairs(photos.warnings(sets)) do
    progress.note("%s", line)
  end
  local model = run.settings.lr and start_of(run) or settle(run, o)
  model.cam_layer = run.settings.layer
  local start = model:state_dict()
  local first = erm(run, frozen.rest(run.settings, model), run:trained_on(model))
  core.save(run:path "initial.safetensors", frozen.whole(run.settings, start, first.best.model))
  local found = { history = json.array(first.history), best_epoch = first.best.epoch, lr = run.settings.lr,
    accuracy = first.best.accuracy }
  run:write("training.json", found)
  return found
end

-- ---- diagnosis ----

--- The fields of a diagnosis that go into a file.
local function plain(found)
  local classes = json.array()
  for i, row in ipairs(found.classes) do
    classes[i] = tables.without(row, { "heat", "ranking" })
    classes[i].content = tables.without(row.content, { "alike" })
    classes[i].most_spurious, classes[i].least_spurious = json.array(), json.array()
    for n = 1, math.min(8, #row.ranking) do
      classes[i].most_spurious[n] = row.ranking[n]
      classes[i].least_spurious[n] = row.ranking[#row.ranking + 1 - n]
    end
  end
  return tables.merged(found, { classes = classes })
end

--- Looks for a cue that a net of the run leans on, in the validation images.
-- @tparam Project run
-- @string which "initial" or "final"
-- @treturn table what mt.diagnose found
function steps.diagnose(run, which)
  local found = diagnose(run:model(which), run:sets().val, {
    seed = run.settings.seed, layer = run.settings.layer, cam = layer.cam,
  })
  local all = run:read "diagnosis.json" or {}
  all[which] = plain(found)
  run:write("diagnosis.json", all)
  return found
end

-- ---- fine-tuning ----

--- The class whose cue lies at one place and decides most; nil where there is none.
local function cue_of(diagnosis)
  local cue
  for _, row in ipairs(diagnosis.classes) do
    if row.leans and row.place.share >= 0.5 and (not cue or row.score > cue.score) then cue = row end
  end
  return cue
end

--- Images of a class, at most `most`, the first ones.
local function members_of(set, class, most)
  local members = {}
  for i, label in ipairs(set.labels:totable()) do
    if label == class and #members < most then members[#members + 1] = i end
  end
  return members
end

--- The share of the cue's window that masks hide.
local function hidden_share(keep, cue, side)
  local window = keep:to("float32"):narrow(2, cue.place.row, side):narrow(3, cue.place.column, side)
  return 1 - window:mean():item()
end

local EVERYWHERE = 1 -- k for a cue that no window holds

local function what_to_hide(o, diagnosis)
  if o.k ~= "auto" then return { k = o.k }, ("k %g"):format(o.k) end
  diagnosis = diagnosis or { classes = {} }
  for _, row in ipairs(diagnosis.classes) do
    if row.leans then return { rule = "window" }, "the hottest window" end
  end
  local k = diagnosis.leans and EVERYWHERE or nil
  return { k = k }, ("k %g"):format(k or 2)
end

--- How to mask: the windows that were found to decide, as they were found; where none were, as the paper does.
-- @tparam table o values of the command line
-- @tparam ?table diagnosis of the net as it was trained
-- @treturn table options of mt.masktune
-- @treturn string what is hidden, in words
function steps.masks_for(o, diagnosis)
  local how, hidden = what_to_hide(o, diagnosis)
  return tables.merged(how, { cam = o.cam, protocol = o.protocol, fill = o.fill, empty = "paper" }), hidden
end

--- Masks and fine-tunes.
-- @tparam Project run
-- @tparam table o values of the command line
-- @tparam table diagnosis of the net as it was trained
-- @treturn table what finetuning.json holds
local function finetune(run, o, diagnosis)
  local model = start_of(run)
  local masking, hidden = steps.masks_for(o, diagnosis)
  local start, rest, sets = model:state_dict(), frozen.rest(run.settings, model), run:trained_on(model)
  local first = erm(run, rest, sets)
  local exchange = o.exchange == "auto" and masking.rule == "window"
  local result = recipe(rest, tables.merged(shared_options(run, sets), masking, {
    exchange = exchange,
    initial = first, mask_from = "best", finetune_from = "best", layer = run.settings.layer,
    finetune_lr = o.finetune_lr, finetune_steps = o.finetune_steps,
    iterations = o.iterations ~= "auto" and o.iterations or nil,
    auto = { factors = FACTORS, iterations = o.iterations == "auto" and { 1, 2 } or nil },
    checkpoint = run:path "stages", resume = true,
  }))
  core.save(run:path "final.safetensors", frozen.whole(run.settings, start, result.final:state_dict()))
  local fine, masks = result.finetune, json.array()
  for i, mask in ipairs(result.masks) do
    masks[i] = { hidden = mask.fraction, empty = mask.empty }
  end
  local chosen = result.masks[fine.iterations].chosen
  local found = {
    hidden = hidden, masking = masking, masks = masks, exchange = exchange,
    lr = fine.lr, iterations = fine.iterations, epochs = chosen.epochs, steps = chosen.steps,
    masked_accuracy = chosen.val_accuracy, seconds = result.seconds,
  }
  local cue = cue_of(diagnosis)
  if cue then
    local members = members_of(run:sets().train, cue.class, math.huge)
    found.cue_hidden = hidden_share(result.masks[1].keep:index(members), cue, diagnosis.side)
  end
  return found
end

--- Masks, fine-tunes, and looks whether it helped.
-- @tparam Project run
-- @tparam table o values of the command line
-- @treturn table what finetuning.json holds
function steps.treat(run, o)
  local before = run:read("diagnosis.json") or {}
  if not before.initial then
    steps.diagnose(run, "initial")
    before = run:read "diagnosis.json"
  end
  local done, found = pcall(finetune, run, o, before.initial)
  if done then
    steps.diagnose(run, "final")
    found.helped, found.outcome = story.outcome(run:read "diagnosis.json", found, run.settings.classes)
  elseif type(found) == "string" and found:find("no candidate is sound", 1, true) then
    found = { helped = false, outcome = story.unsound(found) }
  else
    error(found, 0)
  end
  run:write("finetuning.json", found)
  return found
end

-- ---- evaluation ----

local COVERAGE = 0.95

--- The score below which the run abstains: set so that it answers 95 % of the validation images.
local function abstain_below(run)
  local val, list = run:sets().val, {}
  for _, which in ipairs { "initial", run:latest() } do
    list[#list + 1] = selective.predict(run:model(which), val)
  end
  return (selective.threshold(selective.product(list[1], list[2]).scores, { coverage = COVERAGE, ties = "nearest" }))
end

--- Accuracies of the nets there are, on the validation and test images.
-- @tparam Project run
-- @treturn table what results.json holds
function steps.evaluate(run)
  local found = { models = {} }
  for _, which in ipairs { "initial", "final" } do
    if run:has(which .. ".safetensors") then
      local model, measured = run:model(which), {}
      for _, split in ipairs { "val", "test" } do
        local set = run:sets()[split]
        local result = evaluate(model, set, { groups = set.group and "group" or nil })
        measured[split] = tables.picked(result, {
          accuracy = true, loss = true, count = true, worst_class = true, balanced = true, ece = true,
          worst_group = true,
        })
        measured[split].per_class = json.array(result.per_class)
        measured[split].confusion = result.confusion
        measured[split].per_group = result.per_group and json.array(result.per_group)
      end
      found.models[which] = measured
    end
  end
  found.abstain_below = abstain_below(run)
  run:write("results.json", found)
  return found
end

return steps
