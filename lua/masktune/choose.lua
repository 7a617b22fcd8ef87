--- Choosing among trained models without labels of groups, and what that costs.
-- Whatever is tuned (rates, epochs, a method's numbers) is chosen by something; with labels of groups in validation, by
-- the worst group there (the oracle). Without them, by a stand-in.
-- @usage
-- scores = mt.choose.scores(model, val, { inferred = found.group, masked = masked_val })
-- for _, row in ipairs(mt.choose.compare(candidates)) do print(row.rule, row.chosen, row.cost) end
-- @module masktune.choose
local check = require "masktune.check"
local evaluate = require "masktune.evaluate"
local inference = require "masktune.inference"
local metrics = require "masktune.metrics"

local choose = {}

--- The rule that all others are compared with.
choose.oracle = "worst_group"

local schema = {
  groups = { type = "string", default = "group" },
  inferred = { type = "any", optional = true },
  masked = { type = "table", optional = true },
  flips = { type = "number", min = 0, max = 1, optional = true },
}

--- What a model is chosen by, in [0, 1] each; larger is better.
-- @tparam Module model
-- @tparam table val validation set
-- @tparam[opt] table options `groups` ("group": the field that the oracle reads), `inferred`: groups found without
-- labels (mt.groups), a list or tensor {N}; `masked`: the validation set masked (mt.masktune.mask_dataset); `flips`:
-- the flip rate of mt.groups.xrm that belongs to this model
-- @treturn table `average`, `worst_class`; and where there is what they need `worst_group`, `worst_inferred`, `masked`,
-- `flips`
function choose.scores(model, val, options)
  local o
  o, val = inference.arguments("mt.choose.scores", model, val, options, schema)
  local measured = evaluate(model, val, { groups = val[o.groups] and o.groups or nil, predictions = true })
  local scores = {
    average = measured.accuracy,
    worst_class = measured.worst_class,
    worst_group = measured.worst_group,
    flips = o.flips,
  }
  if o.inferred then scores.worst_inferred = metrics.worst_group(measured.predictions, val.labels, o.inferred) end
  if o.masked then scores.masked = evaluate(model, o.masked).accuracy end
  return scores
end

--- The position of the largest score; of equals the first.
local function best_by(candidates, rule)
  local best
  for i, candidate in ipairs(candidates) do
    if not best or candidate.scores[rule] > candidates[best].scores[rule] then best = i end
  end
  return best
end

--- Chooses by one rule: with "flips" as XRM's authors do, without any label of groups.
-- @usage
-- local found, facts = mt.groups.xrm(model, train, { lr = lr }) -- for each rate to choose from
-- candidates[#candidates + 1] = { lr = lr, scores = mt.choose.scores(model, val, { flips = facts.flips }) }
-- print(candidates[mt.choose.best(candidates, "flips")].lr)
-- @tparam {table,...} candidates each `scores`, as from `scores`
-- @string rule one of the names in `scores`
-- @treturn integer position of the largest score; of equals the first
-- @raise where a candidate has no such score
function choose.best(candidates, rule)
  local where = "mt.choose.best"
  check.argument(where, "candidates", candidates, { type = "list", of = { type = "table" }, min_length = 1 })
  check.argument(where, "rule", rule, { type = "string" })
  for i, candidate in ipairs(candidates) do
    local name = ("candidates[%d].scores"):format(i)
    check.argument(where, name, candidate.scores, { type = "table" })
    check.argument(where, name .. "." .. rule, candidate.scores[rule], { type = "number" })
  end
  return best_by(candidates, rule)
end

--- The rules that all candidates have a score for, sorted; the oracle first.
local function rules_of(candidates)
  local rules = {}
  for rule in pairs(candidates[1].scores) do
    local all = rule ~= choose.oracle
    for _, candidate in ipairs(candidates) do
      all = all and type(candidate.scores[rule]) == "number"
    end
    if all then rules[#rules + 1] = rule end
  end
  table.sort(rules)
  table.insert(rules, 1, choose.oracle)
  return rules
end

--- What each rule chooses, and what that costs on the test set against the oracle's choice.
-- @tparam {table,...} candidates each `scores`, as from `scores`, with `worst_group`; and `test`: the figure that
-- counts (the worst group on the test set)
-- @treturn {table,...} for each rule (the oracle first) `rule`, `chosen` (position), `test`, `cost` (the oracle's test
-- minus this one's: below 0 where the stand-in does better)
function choose.compare(candidates)
  local where = "mt.choose.compare"
  check.argument(where, "candidates", candidates, { type = "list", of = { type = "table" }, min_length = 1 })
  for i, candidate in ipairs(candidates) do
    local name = ("candidates[%d]"):format(i)
    check.argument(where, name .. ".scores", candidate.scores, { type = "table" })
    check.argument(where, name .. ".test", candidate.test, { type = "number" })
    check.argument(where, name .. ".scores." .. choose.oracle, candidate.scores[choose.oracle], { type = "number" })
  end
  local rows, best = {}, candidates[best_by(candidates, choose.oracle)].test
  for i, rule in ipairs(rules_of(candidates)) do
    local chosen = best_by(candidates, rule)
    rows[i] = { rule = rule, chosen = chosen, test = candidates[chosen].test, cost = best - candidates[chosen].test }
  end
  return rows
end

return choose
