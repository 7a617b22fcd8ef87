--- Selection with guaranteed risk (Geifman and El-Yaniv 2017): a threshold whose true risk stays below a wanted one
-- with high confidence, whatever the data's distribution is.
-- @module masktune.selective.sgr
local check = require "masktune.check"
local input = require "masktune.selective.input"
local order = require "masktune.selective.order"

local sgr = {}

--- log(n over k).
local function log_binomial(n, k)
  local sum = 0
  for i = 1, math.min(k, n - k) do
    sum = sum + math.log((n - i + 1) / i)
  end
  return sum
end

--- log P(X <= errors) for X ~ Binomial(count, p), 0 < p < 1: the term of `errors`, and those below relative to it.
local function log_tail(errors, count, p, log_ways)
  local odds = (1 - p) / p
  local sum, term = 1, 1
  for j = errors, 1, -1 do
    local ratio = j / (count - j + 1) * odds
    term = term * ratio
    sum = sum + term
    if ratio < 1 and term < sum * 0x1p-60 then break end
  end
  return log_ways + errors * math.log(p) + (count - errors) * math.log(1 - p) + math.log(sum)
end

--- The upper end of an error rate: with `errors` wrong among `count` independent answers, the true rate is above it
-- with probability at most `delta`. It is the p at which so few errors have probability delta (Clopper and Pearson;
-- lemma 3.1 of Geifman and El-Yaniv).
-- @tparam integer errors 0 to count
-- @tparam integer count at least 1
-- @number delta in (0, 1)
-- @treturn number in (0, 1]
function sgr.binomial_bound(errors, count, delta)
  local where = "mt.selective.binomial_bound"
  count = check.argument(where, "count", count, { type = "integer", min = 1 })
  errors = check.argument(where, "errors", errors, { type = "integer", min = 0, max = count })
  check.argument(where, "delta", delta, { type = "number", above = 0 })
  if delta >= 1 then check.fail("%s: argument 'delta': number in (0, 1) expected, got %s", where, delta) end
  if errors == count then return 1.0 end
  local log_ways, log_delta = log_binomial(count, errors), math.log(delta)
  local low, high = 0.0, 1.0
  while true do
    local middle = (low + high) / 2
    if middle <= low or middle >= high then return high end
    if log_tail(errors, count, middle, log_ways) > log_delta then
      low = middle
    else
      high = middle
    end
  end
end

--- For each place of the ranking (the surest is 1), the smallest set of answers that a threshold can keep with it.
local function prefix_at_places(scores, wrong)
  local at = {}
  for _, prefix in ipairs(order.prefixes(scores, wrong)) do
    for place = #at + 1, prefix.kept do
      at[place] = prefix
    end
  end
  return at
end

local function log2_ceiling(n)
  local bits = 0
  while 1 << bits < n do bits = bits + 1 end
  return bits
end

--- The threshold with the largest coverage whose risk is guaranteed: with probability 1 - delta over the draw of these
-- answers, all the tried thresholds' true risks are below their bounds.
-- A binary search over how many of the m answers are kept, none to all, in ceil(log2(m + 1)) steps; each step tests one
-- number with the exact binomial bound at delta / steps. Equal scores are kept together.
-- @tparam table answers `predictions` and `scores` (lists, or tensors int32 and float32 {N}) on data that neither
-- trained nor chose the model
-- @param labels list, or int32 tensor {N}
-- @tparam table options `risk`: the wanted bound, in (0, 1); `delta`: the probability that it fails (0.001)
-- @treturn ?table `gamma` (answers with a score above it are kept), `bound` (at most `risk`), and on these answers
-- `risk`, `coverage`, `covered`; nil where no threshold that was tried has such a bound
function sgr.search(answers, labels, options)
  local where = "mt.selective.sgr"
  local scores, wrong = input.answers(where, answers, labels)
  local o = check.options(where, options, {
    risk = { type = "number", above = 0, max = 1 },
    delta = { type = "number", above = 0, max = 0.5, default = 0.001 },
  })
  local at = prefix_at_places(scores, wrong)
  local steps = log2_ceiling(#scores + 1)
  local fewest, most, found = 0, #scores + 1, nil -- numbers of answers: good enough, and not good enough
  while most - fewest > 1 do
    local prefix = at[(fewest + most) // 2]
    local bound = sgr.binomial_bound(prefix.errors, prefix.kept, o.delta / steps)
    if bound <= o.risk then
      found = {
        gamma = order.just_below(prefix.score),
        bound = bound,
        risk = prefix.errors / prefix.kept,
        coverage = prefix.kept / #scores,
        covered = prefix.kept,
      }
      fewest = prefix.kept
    else
      most = (fewest + most) // 2
    end
  end
  return found
end

return sgr
