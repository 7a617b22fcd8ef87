--- The risk-coverage curve: the error among the covered, for every coverage that a threshold can give.
-- @module masktune.selective.risk_coverage
local check = require "masktune.check"
local input = require "masktune.selective.input"
local order = require "masktune.selective.order"

local risk_coverage = {}

--- The curve, and the area under it.
-- One point for each different score. AURC is the mean, over all answers, of the risk at the threshold that just keeps
-- the answer (Geifman, Uziel and El-Yaniv 2019): answers that share a score share its risk, so the order in which
-- equals come does not matter.
-- @tparam table answers `predictions` and `scores` (lists, or tensors int32 and float32 {N})
-- @param labels list, or int32 tensor {N}
-- @treturn table `points`: list of `coverage`, `risk`, `score` (the lowest that is kept), coverage rising up to 1;
-- `aurc`
function risk_coverage.curve(answers, labels)
  local scores, wrong = input.answers("mt.selective.risk_coverage", answers, labels)
  local points, area, before = {}, 0, 0
  for i, prefix in ipairs(order.prefixes(scores, wrong)) do
    local risk = prefix.errors / prefix.kept
    points[i] = { coverage = prefix.kept / #scores, risk = risk, score = prefix.score }
    area = area + (prefix.kept - before) * risk
    before = prefix.kept
  end
  return { points = points, aurc = area / #scores }
end

--- The risk at a coverage: that of the first point of the curve which covers so much.
-- @tparam table curve as from risk_coverage
-- @number share in [0, 1]
-- @treturn number
function risk_coverage.at(curve, share)
  check.argument("mt.selective.risk_at", "curve", curve, { type = "table" })
  check.argument("mt.selective.risk_at", "coverage", share, { type = "number", min = 0, max = 1 })
  local points = check.argument("mt.selective.risk_at", "curve.points", curve.points,
    { type = "list", of = { type = "table" }, min_length = 1 })
  local low, high = 1, #points
  while low < high do
    local middle = (low + high) // 2
    if points[middle].coverage >= share then
      high = middle
    else
      low = middle + 1
    end
  end
  return points[low].risk
end

return risk_coverage
