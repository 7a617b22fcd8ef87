--- The fine-tuning rate (and on request tau's k), chosen without group labels.
-- Every candidate is one fine-tuning from the same start. The validation split is the judge, masked like the training
-- images, and with what the masks hide exchanged between classes (masktune.recipe.judges says why).
-- Masks of several k are several judges, and each favours the models tuned on masks like its own, and those of a small
-- k, which hide much, find larger differences than the others. So scores of different judges are not compared: each
-- judge ranks the candidates, and the best mean rank wins (of equals the best mean score, then the first).
-- The unmasked validation split has a veto: a candidate that gives one answer to everything there, or has lost more
-- than half of what its start knew, is not sound, however well it does on masked images.
-- @module masktune.recipe.search
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local evaluate = require "masktune.evaluate"
local exchange = require "masktune.recipe.exchange"
local finetune = require "masktune.recipe.finetune"
local judges = require "masktune.recipe.judges"
local masks = require "masktune.recipe.masks"
local notice = require "masktune.notice"
local selection = require "masktune.train.selection"
local tables = require "masktune.tables"

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

--- A judge for each k; none without a validation split.
local function judges_of(model, stage)
  local list = {}
  if stage.val then
    model:load_state_dict(stage.masker)
    for i, k in ipairs(stage.ks) do
      list[i] = judges.new(model, stage.val, stage.keep("val", k), stage.seed, stage.options.fill)
    end
  end
  return list
end

-- ---- soundness ----

--- The largest share of one value in a list.
local function largest_share(values)
  local counts, most = {}, 0
  for _, value in ipairs(values) do
    counts[value] = (counts[value] or 0) + 1
    most = math.max(most, counts[value])
  end
  return most / #values
end

--- What a candidate's accuracy on the unmasked validation split is held against.
local function yardstick(model, stage)
  if not stage.val then return nil end
  model:load_state_dict(stage.start.model)
  return { accuracy = evaluate(model, stage.val).accuracy, majority = largest_share(stage.val.labels:totable()) }
end

--- Why a model is not sound; nil where it is.
-- @tparam table measured of the unmasked validation split: `accuracy`, `predictions`
-- @tparam table start `accuracy` before fine-tuning, `majority`: the share of the most frequent class
-- @treturn ?string
function search.problem(measured, start)
  if start.majority < 1 and largest_share(measured.predictions) == 1 then
    return ("answers class %d to every unmasked validation image"):format(measured.predictions[1])
  end
  local least = start.majority + (start.accuracy - start.majority) / 2
  if start.accuracy > start.majority and measured.accuracy < least then
    return ("is right on %.1f %% of the unmasked validation images, after %.1f %% before (always the most frequent "
      .. "class: %.1f %%)"):format(100 * measured.accuracy, 100 * start.accuracy, 100 * start.majority)
  end
end

--- The scores that decide, where they are not the judges'.
local function scores_by(stage, row, measured)
  if stage.by == "judges" then return row.judged end
  if stage.by == "masked" then return { row.val_accuracy } end
  return { selection.score(stage.by, row, measured, "mt.masktune: option 'auto.by'") }
end

--- The row's fields about the unmasked validation split, and the scores that decide.
local function look_unmasked(model, stage, row)
  if not stage.val then return {} end
  local options = selection.measuring(stage.train, stage.val, stage.options.groups or "group")
  local measured = evaluate(model, stage.val, tables.merged(options, { predictions = true }))
  return {
    unmasked_accuracy = measured.accuracy, problem = search.problem(measured, stage.yardstick),
    judged = scores_by(stage, row, measured),
  }
end

local function refuse_all(state)
  local lines = {}
  for i, row in ipairs(state.tried) do
    lines[i] = ("\n  rate %.4g, k %g: %s"):format(row.lr, row.k, row.problem)
  end
  error("mt.masktune: no candidate is sound:" .. table.concat(lines)
    .. "\nSmaller rates (auto.factors), masks that hide less (a larger k) or more images may help.", 0)
end

-- ---- choosing ----

--- The sum of a candidate's ranks with all judges: 1 for every better candidate, one half for every equal one. (A sum
-- and no mean, so that it is exact.)
local function rank_of(rows, row)
  local rank = 0
  for judge, accuracy in ipairs(row.judged) do
    for _, other in ipairs(rows) do
      local equal = other ~= row and other.judged[judge] == accuracy
      rank = rank + (other.judged[judge] > accuracy and 1 or equal and 0.5 or 0)
    end
  end
  return rank
end

--- The position of the best of some candidates.
-- @tparam {table,...} rows each with what judges.measure gave
-- @treturn integer
function search.winner(rows)
  local best, best_rank
  for i, row in ipairs(rows) do
    local rank = rank_of(rows, row)
    local first = not best or rank < best_rank
    if first or rank == best_rank and row.score and row.score > rows[best].score then
      best, best_rank = i, rank
    end
  end
  return best
end

--- Whether every judge finds a at least as good as b; then b cannot win, whatever else is tried.
local function dominates(a, b)
  for judge, accuracy in ipairs(b.judged) do
    if a.judged[judge] < accuracy then return false end
  end
  return true
end

--- Adds a candidate; keeps its state while it can win, and forgets the states of those that no longer can.
local function add(state, row, last, only)
  local number = #state.tried + 1
  state.tried[number] = row
  if row.problem and not only then return end
  local kept = {}
  for _, candidate in ipairs(state.kept) do
    if dominates(state.tried[candidate.number], row) then return end
    if not dominates(row, state.tried[candidate.number]) then kept[#kept + 1] = candidate end
  end
  kept[#kept + 1] = { number = number, model = last.model, optimizer = last.optimizer }
  state.kept = kept
end

--- An epoch, or as many as `finetune_steps` steps need: an epoch of a small set is too few of them to learn anything.
local function epochs_of(stage, set)
  local o = stage.options
  return math.max(1, math.ceil(o.finetune_steps * o.batch / dataset.count(set)))
end

--- Fine-tunes one candidate: its row of results and its state.
local function try(model, stage, candidate, masked, jury)
  local started = core.clock()
  local run = finetune.run(model, masked, tables.merged(tables.picked(stage.options, finetune.passed), {
    lr = candidate.lr,
    start = stage.start,
    epochs = epochs_of(stage, masked),
    seed = stage.seed,
    label = ("fine-tune, rate %.4g"):format(candidate.lr),
  }))
  local judged = judges.measure(model, jury)
  local row = tables.merged(candidate, judged, look_unmasked(model, stage, judged), {
    iteration = stage.iteration,
    epochs = #run.history,
    steps = #run.history * math.ceil(dataset.count(masked) / stage.options.batch),
    train_loss = run.history[#run.history].train_loss,
    train_accuracy = run.history[#run.history].train_accuracy,
  })
  row.seconds = core.clock() - started
  return row, run.last
end

--- The row and the state of a candidate that an earlier run tried alone, in the same stage with the same settings.
local function tried_alone(stage, candidate)
  local state = stage.settings and stage.stages:load(stage.name, tables.merged(stage.settings, {
    rates = ("%s"):format(candidate.lr), candidates_k = ("%s"):format(candidate.k),
  }))
  if state then return state.tried[1], state.kept[1] end
end

--- What the fine-tuning sees.
local function finetuned_on(model, stage, k)
  local keep = stage.keep("train", k)
  local masked = masks.apply(stage.train, keep, stage.options.fill)
  if not stage.options.exchange or not keep then return masked end
  model:load_state_dict(stage.masker)
  return exchange(model, stage.train, keep, masked, stage.seed)
end

--- Tries what a stage has not tried yet, saving after each.
local function try_all(model, stage, state, candidates)
  local jury = judges_of(model, stage)
  local masked, masked_k
  stage.yardstick = yardstick(model, stage)
  for i = #state.tried + 1, #candidates do
    local row, last = tried_alone(stage, candidates[i])
    if not row and masked_k ~= candidates[i].k then
      masked_k = candidates[i].k
      masked = finetuned_on(model, stage, masked_k)
    end
    if not row then row, last = try(model, stage, candidates[i], masked, jury) end
    add(state, row, last, #candidates == 1)
    stage.stages:save(stage.name, state, stage.settings)
  end
end

--- The rows that may win, and their places among all.
local function sound_rows(state)
  local rows, places = {}, {}
  for i, row in ipairs(state.tried) do
    if not row.problem then rows[#rows + 1], places[#places + 1] = row, i end
  end
  return rows, places
end

--- The number of the best candidate. A single one was no choice: it stays, and what is wrong with it is said.
local function choose(state)
  if #state.tried == 1 then
    local row = state.tried[1]
    if row.problem then notice.say("fine-tuned at rate %.4g, the net %s", row.lr, row.problem) end
    return 1
  end
  local rows, places = sound_rows(state)
  if #rows == 0 then refuse_all(state) end
  return places[search.winner(rows)]
end

--- Finds the best candidate of a stage.
-- @tparam Module model worked with; its weights afterwards are those of the last candidate tried
-- @tparam table stage `name`, `iteration`, `masker` (a state), `start` (states), `rates`, `ks`, `train`, `val`
-- (optional), `keep(part, k)`, `seed`, `options`, `stages`, `settings`
-- @treturn table `tried` (rows), `chosen` (the best row), `best` (its model and optimizer states)
function search.run(model, stage)
  local state = stage.stages:load(stage.name, stage.settings) or { tried = {}, kept = {} }
  local candidates = search.candidates(stage.rates, stage.ks)
  if #state.tried < #candidates then try_all(model, stage, state, candidates) end
  local winner = choose(state)
  for _, candidate in ipairs(state.kept) do
    if candidate.number == winner then
      return { tried = state.tried, chosen = state.tried[winner], best = candidate }
    end
  end
  error("masktune.recipe.search: the winner's state was not kept")
end

return search
