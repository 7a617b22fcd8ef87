--- The fine-tuning rate (and on request tau's k), chosen without group labels.
-- Every candidate is one fine-tuning from the same start. All are measured on the same images: the validation split
-- with everything hidden that the masks of any candidate hide. Where the shortcut is hidden, the best accuracy is that
-- of the model that learned the most about the rest.
-- @module masktune.recipe.search
local core = require "masktune.core"
local evaluate = require "masktune.evaluate"
local finetune = require "masktune.recipe.finetune"
local masks = require "masktune.recipe.masks"
local tables = require "masktune.recipe.tables"

local search = {}

--- All candidates of a stage, in the order in which they are tried.
function search.candidates(rates, ks)
  local list = {}
  for _, k in ipairs(ks) do
    for _, lr in ipairs(rates) do
      list[#list + 1] = { lr = lr, k = k }
    end
  end
  return list
end

--- The validation split with the masks of all k applied, one after the other.
local function yardstick(stage)
  local set = stage.val
  for _, k in ipairs(stage.ks) do
    set = masks.apply(set, stage.keep("val", k))
  end
  return set
end

--- Fine-tunes one candidate: its row of results and its state.
local function try(model, stage, candidate, masked, measured_on)
  local started, o = core.clock(), stage.options
  local run = finetune.run(model, masked, tables.merged(tables.picked(o, finetune.schema), {
    lr = candidate.lr,
    start = stage.start,
    epochs = 1,
    seed = stage.seed,
    label = ("fine-tune, rate %.4g"):format(candidate.lr),
  }))
  local row = tables.merged(candidate, {
    iteration = stage.iteration,
    train_loss = run.history[1].train_loss,
    train_accuracy = run.history[1].train_accuracy,
  })
  if measured_on then
    local measured = evaluate(model, measured_on)
    row.val_accuracy, row.val_loss = measured.accuracy, measured.loss
  end
  row.seconds = core.clock() - started
  return row, run.last
end

--- Tries what a stage has not tried yet, and keeps the best candidate's state; saves after each.
-- @tparam Module model worked with; its weights afterwards are those of the last candidate tried
-- @tparam table stage `name`, `iteration`, `start` (states), `rates`, `ks`, `train`, `val` (optional), `keep(part, k)`,
-- `seed`, `options`, `stages`, `settings`
-- @treturn table `tried` (rows), `chosen` (its row), `best` (model and optimizer states)
function search.run(model, stage)
  local state = stage.stages:load(stage.name, stage.settings) or { tried = {} }
  local candidates = search.candidates(stage.rates, stage.ks)
  if #state.tried == #candidates then return state end
  local measured_on = stage.val and yardstick(stage)
  local masked, masked_k
  for i = #state.tried + 1, #candidates do
    if masked_k ~= candidates[i].k then
      masked_k = candidates[i].k
      masked = masks.apply(stage.train, stage.keep("train", masked_k))
    end
    local row, last = try(model, stage, candidates[i], masked, measured_on)
    state.tried[i] = row
    if not state.chosen or row.val_accuracy > state.chosen.val_accuracy then state.chosen, state.best = row, last end
    stage.stages:save(stage.name, state, stage.settings)
  end
  return state
end

return search
