--- Figures of merit: accuracies in [0, 1], class labels 1..k. Predictions, labels and groups are lists or tensors {N}.
-- @module masktune.metrics
local check = require "masktune.check"

local metrics = {}

--- A list of what may be a tensor {N}.
local function as_list(where, name, value)
  if not check.is_tensor(value) then return check.argument(where, name, value, { type = "table" }, 3) end
  if #value:shape() ~= 1 then
    check.fail("%s: argument '%s': list or tensor {N} expected, got a tensor {%s}", where, name,
      table.concat(value:shape(), ","))
  end
  return value:totable()
end

--- Predictions, labels and groups (optional) as lists of the same length.
local function lists(where, predictions, labels, groups)
  predictions = as_list(where, "predictions", predictions)
  labels = as_list(where, "labels", labels)
  local others = groups ~= nil and as_list(where, "groups", groups)
  if #predictions ~= #labels or others and #others ~= #labels then
    local sizes = others and ("%d predictions, %d labels and %d groups"):format(#predictions, #labels, #others)
      or ("%d predictions and %d labels"):format(#predictions, #labels)
    check.fail("%s: %s, expected as many of each", where, sizes)
  end
  return predictions, labels, others
end

--- The share of predictions that are right; NaN for none.
-- @tparam {integer,...}|Tensor predictions
-- @tparam {integer,...}|Tensor labels
-- @treturn number in [0, 1]
function metrics.accuracy(predictions, labels)
  predictions, labels = lists("mt.metrics.accuracy", predictions, labels)
  local right = 0
  for i, label in ipairs(labels) do
    if predictions[i] == label then right = right + 1 end
  end
  return right / #labels
end

--- Accuracy within each group.
-- @tparam {integer,...}|Tensor predictions
-- @tparam {integer,...}|Tensor labels
-- @tparam table|Tensor groups for each sample its group's name or number (to group by class, pass the labels)
-- @treturn table group -> accuracy in [0, 1]
-- @treturn table group -> number of samples
function metrics.group_accuracy(predictions, labels, groups)
  check.argument("mt.metrics.group_accuracy", "groups", groups, { type = "any" })
  predictions, labels, groups = lists("mt.metrics.group_accuracy", predictions, labels, groups)
  local right, count = {}, {}
  for i, group in ipairs(groups) do
    count[group] = (count[group] or 0) + 1
    right[group] = (right[group] or 0) + (predictions[i] == labels[i] and 1 or 0)
  end
  for group, n in pairs(count) do
    right[group] = right[group] / n
  end
  return right, count
end

--- The accuracy of the group that fares worst.
-- @tparam {integer,...}|Tensor predictions
-- @tparam {integer,...}|Tensor labels
-- @tparam table|Tensor groups as in group_accuracy
-- @treturn number its accuracy in [0, 1]
-- @return the group
function metrics.worst_group(predictions, labels, groups)
  local worst, worst_group = math.huge, nil
  for group, accuracy in pairs(metrics.group_accuracy(predictions, labels, groups)) do
    local first_of_equals = accuracy == worst and tostring(group) < tostring(worst_group)
    if accuracy < worst or first_of_equals then worst, worst_group = accuracy, group end
  end
  if worst_group == nil then check.fail("mt.metrics.worst_group: 0 samples, expected 1 or more") end
  return worst, worst_group
end

--- Mean; NaN for no values.
-- @tparam {number,...} values
-- @treturn number
function metrics.mean(values)
  check.argument("mt.metrics.mean", "values", values, { type = "table" })
  local sum = 0
  for _, value in ipairs(values) do
    sum = sum + value
  end
  return sum / #values
end

--- Sample standard deviation (n - 1 below the line, as for the spread over seeds); 0 for a single value, NaN for none.
-- @tparam {number,...} values
-- @treturn number
function metrics.std(values)
  check.argument("mt.metrics.std", "values", values, { type = "table" })
  if #values == 1 then return 0 end
  local mean, squares = metrics.mean(values), 0
  for _, value in ipairs(values) do
    squares = squares + (value - mean) ^ 2
  end
  return math.sqrt(squares / (#values - 1))
end

return metrics
