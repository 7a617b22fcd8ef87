--- The threshold gamma for a wanted coverage, and what a threshold does on other data.
-- @module masktune.selective.coverage
local check = require "masktune.check"
local input = require "masktune.selective.input"
local order = require "masktune.selective.order"

local coverage = {}

local threshold_schema = {
  coverage = { type = "number", above = 0, max = 1 },
  ties = { choices = { "refuse", "nearest" }, default = "refuse" },
}

local WHERE = "mt.selective.threshold"

--- How many of `count` a coverage means: the nearest number, halves up.
local function wanted_count(share, count)
  local wanted = math.floor(share * count + 0.5)
  if wanted == 0 then
    check.fail("%s: option 'coverage': %g of %d scores keeps none, expected at least %g", WHERE, share, count,
      0.5 / count)
  end
  return wanted
end

--- The first and the last place of those that share the score at `place`.
local function tied_range(sorted, place)
  local first, last = place, place
  while first > 1 and sorted[first - 1] == sorted[place] do first = first - 1 end
  while last < #sorted and sorted[last + 1] == sorted[place] do last = last + 1 end
  return first, last
end

--- The number that can be kept, where `wanted` would part equals.
local function without_parting(sorted, wanted, o)
  local first, last = tied_range(sorted, wanted)
  if last == wanted then return wanted end
  local fewer, more = first - 1, last
  if o.ties == "refuse" then
    local instead = fewer == 0 and more or fewer .. " or " .. more
    check.fail("%s: option 'coverage': %g of %d scores is %d, but those in places %d to %d are all %.17g: %s can be "
      .. "kept (option 'ties' = 'nearest' takes the nearest)", WHERE, o.coverage, #sorted, wanted, first, last,
      sorted[wanted], instead)
  end
  if fewer > 0 and wanted - fewer <= more - wanted then return fewer end
  return more
end

--- The threshold that keeps a wanted share of these scores (of a validation set), to one sample.
-- A score is kept where it is above gamma. The number kept is the one nearest to `coverage` times the number of scores
-- (halves up), and gamma is the largest score that is not kept; -infinity where all are kept. Equal scores are kept or
-- rejected together. Where that makes the number impossible, it is an error, or with `ties` = "nearest" the nearest
-- possible number above 0 is kept (of two equally near, the smaller).
-- @param scores list, or float32 tensor {N}
-- @tparam table options `coverage` in (0, 1], `ties` ("refuse"; "nearest")
-- @treturn number gamma
-- @treturn number the coverage that gamma gives on these scores
-- @raise for no scores, NaN, and what ties make impossible
function coverage.threshold(scores, options)
  local o = check.options(WHERE, options, threshold_schema)
  local sorted = table.move(input.scores(WHERE, "scores", scores), 1, #scores, 1, {})
  table.sort(sorted, function(a, b) return a > b end)
  local kept = without_parting(sorted, wanted_count(o.coverage, #sorted), o)
  return sorted[kept + 1] or -math.huge, kept / #sorted
end

--- What a threshold does: how many answers it keeps, and how many of these are wrong.
-- @tparam table answers `predictions` and `scores` (lists, or tensors int32 and float32 {N})
-- @param labels list, or int32 tensor {N}
-- @number gamma answers with a score above it are kept
-- @treturn table `coverage` and `error` (the share of wrong answers among the kept; NaN where none is kept), both in
-- [0, 1]; `covered`, `wrong` and `count`: how many are kept, are wrong among these, and are there
function coverage.evaluate(answers, labels, gamma)
  local scores, wrong = input.answers("mt.selective.evaluate", answers, labels)
  check.argument("mt.selective.evaluate", "gamma", gamma, { type = "number" })
  local covered, errors = 0, 0
  for n, score in ipairs(scores) do
    if score > gamma then
      covered = covered + 1
      if wrong[n] then errors = errors + 1 end
    end
  end
  return {
    coverage = covered / #scores,
    error = covered > 0 and errors / covered or 0 / 0,
    covered = covered,
    wrong = errors,
    count = #scores,
  }
end

--- Positions of the answers, the surest first; of equal scores the first comes first.
-- @tparam table answers
-- @treturn {integer,...}
function coverage.ranking(answers)
  check.argument("mt.selective.ranking", "answers", answers, { type = "table" })
  return order.falling(input.scores("mt.selective.ranking", "answers.scores", answers.scores))
end

return coverage
