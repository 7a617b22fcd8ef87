--- Figures of merit: accuracies in [0, 1], class labels 1..k. Predictions, labels and groups are lists or tensors {N}.
-- @module masktune.metrics
local core = require "masktune.core"
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

local function check_number(where, name, at, value)
  if type(value) == "number" then return end
  check.fail("%s: argument '%s'[%s]: number expected, got %s", where, name, check.describe(at), check.describe(value))
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

--- The share of images whose label is among the k largest logits; NaN for none. Of equal logits the first ones count.
-- @tparam Tensor logits {N,classes}, or any scores
-- @tparam {integer,...}|Tensor labels 1..classes
-- @tparam integer k 1..classes
-- @treturn number in [0, 1]
function metrics.topk_accuracy(logits, labels, k)
  local where = "mt.metrics.topk_accuracy"
  check.argument(where, "logits", logits, { type = "tensor" })
  local count, classes = table.unpack(logits:shape())
  if #logits:shape() ~= 2 then
    check.fail("%s: argument 'logits': tensor {N,classes} expected, got {%s}", where, table.concat(logits:shape(), ","))
  end
  check.argument(where, "k", k, { type = "integer", min = 1, max = classes })
  labels = as_list(where, "labels", labels)
  if #labels ~= count then
    check.fail("%s: %d rows of logits and %d labels, expected as many of each", where, count, #labels)
  end
  for i, label in ipairs(labels) do
    if not math.tointeger(label) or label < 1 or label > classes then
      check.fail("%s: label %d is %s, expected 1 to %d", where, i, check.describe(label), classes)
    end
  end
  local _, best = logits:topk(k, 2)
  return best:eq(core.tensor(labels, "int32"):reshape(count, 1)):sum():item() / count
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

--- How often each class was taken for each.
-- @tparam {integer,...}|Tensor predictions
-- @tparam {integer,...}|Tensor labels
-- @tparam integer classes
-- @treturn {{integer,...},...} row = true class, column = predicted class
function metrics.confusion(predictions, labels, classes)
  predictions, labels = lists("mt.metrics.confusion", predictions, labels)
  check.argument("mt.metrics.confusion", "classes", classes, { type = "integer", min = 1 })
  local matrix = {}
  for row = 1, classes do
    matrix[row] = {}
    for column = 1, classes do
      matrix[row][column] = 0
    end
  end
  for i, label in ipairs(labels) do
    local row = matrix[label]
    if not row or not row[predictions[i]] then
      check.fail("mt.metrics.confusion: sample %d has label %s and prediction %s, expected 1 to %d", i, label,
        predictions[i], classes)
    end
    row[predictions[i]] = row[predictions[i]] + 1
  end
  return matrix
end

--- The mean of the groups' accuracies: balanced accuracy where the groups are the classes.
-- @tparam table per_group group -> accuracy
-- @treturn number
function metrics.balanced(per_group)
  check.argument("mt.metrics.balanced", "per_group", per_group, { type = "table" })
  local sum, count = 0, 0
  for group, accuracy in pairs(per_group) do
    check_number("mt.metrics.balanced", "per_group", group, accuracy)
    sum, count = sum + accuracy, count + 1
  end
  return sum / count
end

--- The groups' accuracies weighted by how many images each group has elsewhere: with the training set's counts this is
-- the "average accuracy" of the literature on Waterbirds, whose test set has other shares than its training set.
-- @tparam table per_group group -> accuracy
-- @tparam table counts group -> weight; groups without accuracy are left out
-- @treturn number
function metrics.weighted(per_group, counts)
  check.argument("mt.metrics.weighted", "per_group", per_group, { type = "table" })
  check.argument("mt.metrics.weighted", "counts", counts, { type = "table" })
  local sum, weights = 0, 0
  for group, accuracy in pairs(per_group) do
    if counts[group] == nil then check.fail("mt.metrics.weighted: group %s has no weight", check.describe(group)) end
    check_number("mt.metrics.weighted", "per_group", group, accuracy)
    check_number("mt.metrics.weighted", "counts", group, counts[group])
    sum, weights = sum + accuracy * counts[group], weights + counts[group]
  end
  return sum / weights
end

--- Expected calibration error (Naeini et al. 2015; Guo et al. 2017): the mean distance, over equally wide bins of
-- confidence, between a bin's accuracy and its mean confidence, weighted by the bins' sizes.
-- @tparam {number,...}|Tensor confidences in [0, 1]
-- @tparam {boolean,...} right whether each answer is right
-- @tparam[opt=15] integer bins
-- @treturn number in [0, 1]
function metrics.ece(confidences, right, bins)
  confidences = as_list("mt.metrics.ece", "confidences", confidences)
  check.argument("mt.metrics.ece", "right", right, { type = "table" })
  bins = check.argument("mt.metrics.ece", "bins", bins, { type = "integer", min = 1, default = 15 })
  local sums, hits = {}, {}
  for i, confidence in ipairs(confidences) do
    check_number("mt.metrics.ece", "confidences", i, confidence)
    local bin = math.max(math.ceil(confidence * bins), 1) -- (0, 1/bins], (1/bins, 2/bins], ...
    sums[bin] = (sums[bin] or 0) + confidence
    hits[bin] = (hits[bin] or 0) + (right[i] and 1 or 0)
  end
  local distance = 0
  for bin, sum in pairs(sums) do
    distance = distance + math.abs(hits[bin] - sum)
  end
  return distance / #confidences
end

--- Scores and whether each sample is positive, by falling score, as runs of equal scores: {positives, negatives}.
local function runs_of(where, scores, positive)
  scores = as_list(where, "scores", scores)
  check.argument(where, "positive", positive, { type = "table" })
  local order, positives = {}, 0
  for i, score in ipairs(scores) do
    check_number(where, "scores", i, score)
    if score ~= score then check.fail("%s: score %d is NaN", where, i) end
    order[i] = i
    positives = positives + (positive[i] and 1 or 0)
  end
  table.sort(order, function(a, b) return scores[a] > scores[b] end)
  local runs = {}
  for place, i in ipairs(order) do
    if place == 1 or scores[i] ~= scores[order[place - 1]] then runs[#runs + 1] = { 0, 0 } end
    local run = runs[#runs]
    run[positive[i] and 1 or 2] = run[positive[i] and 1 or 2] + 1
  end
  return runs, positives, #scores - positives
end

--- The area under the ROC curve: the share of pairs of a positive and a negative sample in which the positive one has
-- the higher score (ties count half). NaN where either kind is missing.
-- @tparam {number,...}|Tensor scores
-- @tparam {boolean,...} positive
-- @treturn number in [0, 1]
function metrics.auroc(scores, positive)
  local runs, positives, negatives = runs_of("mt.metrics.auroc", scores, positive)
  local above, pairs_won = 0, 0
  for _, run in ipairs(runs) do
    pairs_won = pairs_won + run[2] * (above + run[1] / 2)
    above = above + run[1]
  end
  return pairs_won / (positives * negatives)
end

--- Average precision, the area under the precision-recall curve as a sum of steps. NaN without positives.
-- @tparam {number,...}|Tensor scores
-- @tparam {boolean,...} positive
-- @treturn number in [0, 1]
function metrics.auprc(scores, positive)
  local runs, positives = runs_of("mt.metrics.auprc", scores, positive)
  local hits, seen, sum = 0, 0, 0
  for _, run in ipairs(runs) do
    hits, seen = hits + run[1], seen + run[1] + run[2]
    sum = sum + run[1] * hits / seen
  end
  return sum / positives
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
