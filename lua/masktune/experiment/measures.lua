--- What a table of results shows of a model: the columns, and how they are measured.
-- @module masktune.experiment.measures
local evaluate = require "masktune.evaluate"

local measures = {}

--- How many training images each group of the test has (0 for none), as the literature weights its average.
local function counts_of(set, groups)
  local counts = {}
  for group = 1, groups do
    counts[group] = 0
  end
  for _, group in ipairs(set.group:totable()) do
    counts[group] = counts[group] + 1
  end
  return counts
end

--- The accuracy of the group that fares worst, and the average weighted by the training groups (Sagawa et al. 2020).
measures.by_group = {
  columns = { "worst group", "average" },
  measure = function(model, sets)
    local test = sets.tests[1].set
    local found = evaluate(model, test, { groups = "group", group_weights = counts_of(sets.train, #test.group_names) })
    local parts = { ["plain average"] = found.accuracy }
    for group, accuracy in pairs(found.per_group) do
      parts[test.group_names[group]] = accuracy
    end
    return { found.worst_group, found.weighted }, parts
  end,
}

--- The accuracy on each of several test sets.
measures.by_test = {
  measure = function(model, sets)
    local values, parts = {}, {}
    for i, test in ipairs(sets.tests) do
      values[i] = evaluate(model, test.set).accuracy
      parts[test.name] = values[i]
    end
    return values, parts
  end,
}

return measures
