--- What came of a comparison, in a sentence that follows from the numbers.
-- @module masktune.outcome
local check = require "masktune.check"
local metrics = require "masktune.metrics"

local outcome = {}

local NOTICEABLE = 1 -- per cent; a smaller difference of means is called none

local accuracies = { type = "list", of = { type = "number" }, min_length = 1 }

local scores_schema = { title = { type = "string" }, original = accuracies, biased = accuracies }

local schema = {
  cue = { type = "string" },
  erm = { type = "table" },
  masktune = { type = "table" },
  controls = { type = "list", of = { type = "table" }, default = {} },
}

--- A method's title and the means of its accuracies.
local function means_of(what, scores)
  local o = check.options("mt.outcome.sentence: " .. what, scores, scores_schema)
  return { title = o.title, original = metrics.mean(o.original), biased = metrics.mean(o.biased) }
end

--- The control that gets furthest on the biased test; nil where there is none.
local function best_of(controls)
  local best
  for i, scores in ipairs(controls) do
    local control = means_of(("option 'controls'[%d]"):format(i), scores)
    if not best or control.biased > best.biased then best = control end
  end
  return best
end

--- -1, 0 or 1: whether a is noticeably less than b, or more.
local function compare(a, b)
  if math.abs(a - b) < NOTICEABLE then return 0 end
  return a < b and -1 or 1
end

--- What happened to the reliance on the cue.
local function verdict(cue, erm, tuned)
  local change = compare(tuned.biased, erm.biased)
  if change < 0 then return ("MaskTune did harm: the net leans more on %s"):format(cue) end
  if change == 0 then return ("MaskTune changed next to nothing about how the net leans on %s"):format(cue) end
  local price = compare(tuned.original, erm.original) < 0 and ", at the price of the rest" or ""
  return ("MaskTune made the net lean less on %s%s"):format(cue, price)
end

local against_control = { [-1] = "", [0] = "; the control does as well", [1] = "; the control does better" }

local function seeds_of(erm, tuned)
  if #erm.biased == 1 then return "" end
  local better = 0
  for i, accuracy in ipairs(tuned.biased) do
    if accuracy > erm.biased[i] then better = better + 1 end
  end
  return (" (means of %d seeds, %d of them better with MaskTune)"):format(#erm.biased, better)
end

--- One sentence about ERM, MaskTune and the controls, good or bad.
-- @tparam table options `cue`: what gives the class away ("the blue square"); `erm`, `masktune`, and the list
-- `controls` ({}): tables with `title` and, in per cent, one for each seed, the accuracies `original` (without the cue)
-- and `biased` (with the cue on the wrong class)
-- @treturn string
function outcome.sentence(options)
  local o = check.options("mt.outcome.sentence", options, schema)
  local erm, tuned = means_of("option 'erm'", o.erm), means_of("option 'masktune'", o.masktune)
  local control = best_of(o.controls)
  local others = ("%s %.1f %%"):format(erm.title, erm.biased)
  if control then others = ("%s, best control '%s' %.1f %%"):format(others, control.title, control.biased) end
  local text = "%s: where it points to the wrong class, %.1f %% of the answers are right (%s), without it %.1f %% "
    .. "(%s %.1f %%)%s%s."
  return text:format(verdict(o.cue, erm, tuned), tuned.biased, others, tuned.original, erm.title, erm.original,
    seeds_of(o.erm, o.masktune), control and against_control[compare(control.biased, tuned.biased)] or "")
end

return outcome
