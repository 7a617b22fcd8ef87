--- What came of a run, in words that follow from its numbers.
-- @module masktune.command.parts.story
local report = require "masktune.report"

local story = {}

local HELPED = 0.5 -- of the cue's power left at most
local KNOWS = 0.1 -- accuracy beyond chance, as a share of what there is beyond it

--- The class that leans most, as first diagnosed, and as diagnosed afterwards.
local function worst_class(diagnosis)
  local before, after
  for _, row in ipairs(diagnosis.initial.classes) do
    if row.leans and (not before or row.score > before.score) then before = row end
  end
  for _, row in ipairs(diagnosis.final and diagnosis.final.classes or {}) do
    if before and row.class == before.class then after = row end
  end
  return before, after
end

local function power(row) return math.max(0, row.carried - row.carried_random) end

--- Why masking did not help, as far as the numbers say.
-- @tparam table found what finetuning.json holds
-- @tparam integer classes
-- @treturn {string,...}
function story.reasons(found, classes)
  local reasons = {}
  if found.cue_hidden and found.cue_hidden < 0.5 then
    reasons[1] = ("the masks missed the cue: they hide %.0f %% of the windows that decide"):format(
      100 * found.cue_hidden)
  end
  if found.steps < 50 then
    reasons[#reasons + 1] = ("fine-tuning took %d steps, which are few (--finetune-steps)"):format(found.steps)
  end
  local chance = 1 / classes
  if found.masked_accuracy and (found.masked_accuracy - chance) / (1 - chance) < KNOWS then
    reasons[#reasons + 1] = ("there is nothing else to learn from: of the answers to masked images %.0f %% are right")
      :format(100 * found.masked_accuracy)
  end
  if #reasons == 0 then reasons[1] = "these numbers do not say" end
  return reasons
end

--- What to say where every fine-tuning broke the net.
-- @string problem the recipe's error
function story.unsound(problem)
  local reason = problem:gsub("^[^:]*: ", "")
  return "MaskTune did not help, and the net as it was trained stays the one to use. Why: " .. reason
end

--- Whether masking helped against the cue that was diagnosed.
-- @tparam table diagnosis what diagnosis.json holds, `initial` and `final`
-- @tparam table found what finetuning.json holds
-- @tparam integer classes
-- @treturn ?boolean nil where no cue was found
-- @treturn string a sentence
function story.outcome(diagnosis, found, classes)
  local before, after = worst_class(diagnosis)
  if not before then return nil, "MaskTune was done though no cue was found: see whether the accuracies gained." end
  if not after then
    return false, ("MaskTune did not help: the fine-tuned net answers class %s too seldom to be judged."):format(
      before.name)
  end
  local text = ("the hottest windows of class %s turned %.0f %% of other images into it (random ones %.0f %%), and"
    .. " turn %.0f %% now (random ones %.0f %%)"):format(before.name, 100 * before.carried, 100 * before.carried_random,
    100 * after.carried, 100 * after.carried_random)
  if power(after) <= HELPED * power(before) then return true, "MaskTune helped: " .. text .. "." end
  return false, ("MaskTune did not help, and the net as it was trained stays the one to use: %s. Why: %s."):format(text,
    table.concat(story.reasons(found, classes), "; "))
end

local function percent(value) return value and ("%.1f"):format(100 * value) or "" end

--- A table of accuracies.
function story.accuracies(results)
  local rows = {}
  for _, which in ipairs { "initial", "final" } do
    local model = results.models[which]
    for _, split in ipairs { "val", "test" } do
      local found = model and model[split]
      if found then
        rows[#rows + 1] = { ("%s, %s"):format(which, split), percent(found.accuracy), percent(found.worst_class),
          percent(found.worst_group) }
      end
    end
  end
  return report.table({ "accuracy in %", "all", "worst class", "worst group" }, rows)
end

--- The report of a run as text.
-- @tparam Project run
-- @treturn string
-- @treturn table the same as data
function story.report(run)
  local s, lines = run.settings, {}
  local diagnosis, found, results = run:read "diagnosis.json", run:read "finetuning.json", run:read "results.json"
  local function add(format, ...) lines[#lines + 1] = format:format(...) end
  add("%s: %d training, %d validation, %d test images of %d classes (%s), brought to %dx%d", s.data, s.train_images,
    s.val_images, s.test_images, s.classes, table.concat(s.class_names, ", "), s.size, s.size)
  if #s.split_off > 0 then
    add("split off at random with seed %d: %s (split.csv)", s.seed, table.concat(s.split_off, ", "))
  end
  local from = s.published and " with published weights" or ", trained from nothing"
  if s.frozen then from = from .. (", which stay up to '%s'"):format(s.frozen) end
  add("net %s%s, up to %d epochs, batches of %d, learning rate %g; heatmaps from layer '%s' (%dx%d cells)", s.net, from,
    s.epochs, s.batch, s.lr, s.layer, s.cells[1], s.cells[2])
  add ""
  if diagnosis and diagnosis.initial then add("Diagnosis: %s", diagnosis.initial.verdict) end
  if found and found.masks then
    local times = found.iterations == 1 and "once" or found.iterations .. " times"
    local on = found.exchange and " on images as they are, masked, and with what was hidden on another class" or ""
    add("MaskTune: masks (%s) hide %.1f %% of the training images; fine-tuned%s for %d steps at rate %.4g, %s",
      found.hidden, 100 * found.masks[1].hidden, on, found.steps, found.lr, times)
  elseif diagnosis and diagnosis.initial and not diagnosis.initial.leans then
    add("MaskTune was not done: no cue to mask was found (masktune finetune does it all the same)")
  end
  if found then add("%s", found.outcome) end
  if results then add("\n%s", story.accuracies(results)) end
  local text = table.concat(lines, "\n"):gsub("%s+$", "")
  return text, { settings = s, diagnosis = diagnosis, finetuning = found, results = results }
end

return story
