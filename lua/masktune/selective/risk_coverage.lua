--- The risk-coverage curve: the error among the covered, for every coverage that a threshold can give.
-- @module masktune.selective.risk_coverage
local check = require "masktune.check"
local input = require "masktune.selective.input"
local order = require "masktune.selective.order"
local sgr = require "masktune.selective.sgr"

local risk_coverage = {}

--- The curve, and the area under it.
-- One point for each different score. AURC is the mean, over all answers, of the risk at the threshold that just keeps
-- the answer (Geifman, Uziel and El-Yaniv 2019): answers that share a score share its risk, so the order in which
-- equals come does not matter. E-AURC is what it is above the least that the same answers could have, in the
-- approximation of the same paper: e + (1 - e) ln(1 - e), with e the error of all.
-- @tparam table answers `predictions` and `scores` (lists, or tensors int32 and float32 {N})
-- @param labels list, or int32 tensor {N}
-- @treturn table `points`: list of `coverage`, `risk`, `score` (the lowest that is kept), coverage rising up to 1;
-- `aurc`, `e_aurc`
function risk_coverage.curve(answers, labels)
  local scores, wrong = input.answers("mt.selective.risk_coverage", answers, labels)
  local points, area, before = {}, 0, 0
  for i, prefix in ipairs(order.prefixes(scores, wrong)) do
    local risk = prefix.errors / prefix.kept
    points[i] = { coverage = prefix.kept / #scores, risk = risk, score = prefix.score }
    area = area + (prefix.kept - before) * risk
    before = prefix.kept
  end
  local error_rate = points[#points].risk
  local least = error_rate + (error_rate < 1 and (1 - error_rate) * math.log(1 - error_rate) or 0)
  return { points = points, aurc = area / #scores, e_aurc = area / #scores - least }
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

--- The coverage at a risk: the largest of the curve whose risk is at most that; 0 where there is none.
-- @tparam table curve as from risk_coverage
-- @number risk in [0, 1]
-- @treturn number
function risk_coverage.coverage_at(curve, risk)
  check.argument("mt.selective.coverage_at", "curve", curve, { type = "table" })
  check.argument("mt.selective.coverage_at", "risk", risk, { type = "number", min = 0, max = 1 })
  local points = check.argument("mt.selective.coverage_at", "curve.points", curve.points,
    { type = "list", of = { type = "table" }, min_length = 1 })
  for i = #points, 1, -1 do
    if points[i].risk <= risk then return points[i].coverage end
  end
  return 0
end

--- What tables say of a selective classifier: everything at once, for its own scores or for SR's.
-- @tparam table answers `predictions` and `scores`
-- @param labels list, or int32 tensor {N}
-- @tparam[opt] table options `coverages` ({1, 0.95, 0.9, 0.85, 0.8}), `risks` ({0.01, 0.05}), `delta` (0.001)
-- @treturn table `aurc`, `e_aurc`; `risk_at`: coverage -> risk; `coverage_at`: risk -> coverage; `guaranteed`: risk ->
-- the coverage at which mt.selective.sgr bounds it, with probability 1 - delta (0 where nowhere)
function risk_coverage.summary(answers, labels, options)
  local share = { type = "number", min = 0, max = 1 }
  local o = check.options("mt.selective.summary", options, {
    coverages = { type = "list", of = share, default = { 1, 0.95, 0.9, 0.85, 0.8 } },
    risks = { type = "list", of = { type = "number", above = 0, max = 1 }, default = { 0.01, 0.05 } },
    delta = { type = "number", above = 0, max = 0.5, default = 0.001 },
  })
  local curve = risk_coverage.curve(answers, labels)
  local result = { aurc = curve.aurc, e_aurc = curve.e_aurc, risk_at = {}, coverage_at = {}, guaranteed = {} }
  for _, coverage in ipairs(o.coverages) do
    result.risk_at[coverage] = risk_coverage.at(curve, coverage)
  end
  for _, risk in ipairs(o.risks) do
    local bounded = sgr.search(answers, labels, { risk = risk, delta = o.delta })
    result.coverage_at[risk] = risk_coverage.coverage_at(curve, risk)
    result.guaranteed[risk] = bounded and bounded.coverage or 0
  end
  return result
end

return risk_coverage
