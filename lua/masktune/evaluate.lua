--- How good a model is on a data set.
-- @module masktune.evaluate
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local inference = require "masktune.inference"
local interrupt = require "masktune.interrupt"
local loader = require "masktune.data.loader"
local metrics = require "masktune.metrics"
local progress = require "masktune.progress"

local schema = {
  batch = { type = "integer", min = 1, default = 256 },
  groups = { type = "any", optional = true },
  group_weights = { type = "table", optional = true },
  predictions = { type = "boolean", default = false },
  progress = { type = "boolean", default = false },
  label = { type = "string", default = "evaluate" },
}

local function append(list, tensor)
  table.move(tensor:totable(), 1, #tensor, #list + 1, list)
end

--- Runs the model over all images that can be read: `loss` and `brier` (sums), and for each image its `indices`
-- (position in the set), `predictions`, `labels`, `confidence` (of the predicted class), and with two classes `second`:
-- the probability of class 2.
local function run(model, set, o)
  local found = { indices = {}, predictions = {}, labels = {}, confidence = {}, second = {}, loss = 0, brier = 0 }
  local bar = o.progress and progress { total = dataset.count(set), label = o.label, unit = "images" }
  for batch in loader { dataset = set, batch = o.batch, shuffle = false }:epoch(1) do
    local logits = model(batch[batch.input])
    found.loss = found.loss + core.cross_entropy(logits, batch.labels, { reduction = "sum" }):item()
    append(found.predictions, logits:argmax(2))
    append(found.labels, batch.labels)
    append(found.indices, batch.indices)
    local p, classes = logits:softmax(2), logits:size(2)
    append(found.confidence, p:max(2))
    if classes == 2 then append(found.second, p:narrow(2, 2, 1):reshape(-1)) end
    local truth = batch.labels:reshape(-1, 1):eq(core.arange(1, classes + 1, "int32"):reshape(1, classes))
    found.brier = found.brier + ((p - truth:to("float32")) ^ 2):sum():item()
    found.classes = classes
    interrupt.check("the evaluation")
    if bar then bar:update(#found.labels, { loss = found.loss / #found.labels }) end
  end
  if bar then bar:finish() end
  return found
end

--- For each image whether its class is `class`, or the one in the list `class`.
local function which(labels, class)
  local list = {}
  for i, label in ipairs(labels) do
    list[i] = label == (type(class) == "table" and class[i] or class)
  end
  return list
end

--- The groups that the option names, or is.
local function groups_of(set, value)
  if type(value) ~= "string" then return value end
  if not check.is_tensor(set[value]) then
    check.fail("mt.evaluate: option 'groups': the data set has no per-image field '%s'", value)
  end
  return set[value]
end

--- The groups of the images that could be read.
local function groups_found(groups, found, count)
  if not groups or #found.indices == count then return groups end
  local list, some = check.is_tensor(groups) and groups:totable() or groups, {}
  for i, position in ipairs(found.indices) do
    some[i] = list[position]
  end
  return some
end

--- For each image of the set its predicted class; 0 for those that could not be read.
local function all_predictions(found, count)
  local all = {}
  for i = 1, count do
    all[i] = 0
  end
  for i, position in ipairs(found.indices) do
    all[position] = found.predictions[i]
  end
  return all
end

--- Evaluates a model (in eval mode; its mode is put back afterwards) without recording gradients.
-- @tparam Module model images {N,H,W,C} float32 -> logits {N,k}
-- @tparam table set a data set of one image or more
-- @tparam[opt] table options `batch` (256); `groups`: the name of a per-image field of the set, or a list or tensor
-- {N}; `group_weights` (group -> number: the training set's counts, for `weighted`); `predictions` (false: the
-- predicted classes come too), `progress` (false), `label` of the progress bar
-- @treturn table `accuracy` in [0, 1], `loss` (mean cross-entropy), `count`, `per_class` (class -> accuracy; classes
-- without images are missing), `worst_class` (the lowest of these) and `balanced` (their mean), `confusion` (row = true
-- class, column = answer), `brier` (mean squared distance of the probabilities from the truth, summed over the classes:
-- Brier 1950), `ece` (expected calibration error, 15 bins), with two classes `auroc` and `auprc` of class 2; with
-- groups `per_group`, `group_count` (group -> images), `worst_group`, `balanced_group` (the mean over groups),
-- `weighted` (by group_weights); and `predictions` (list of classes 1..k) on request. Images that cannot be read, where
-- the set leaves such out, count nowhere; their prediction is 0
local function evaluate(model, set, options)
  local o
  o, set = inference.arguments("mt.evaluate", model, set, options, schema)
  local groups = groups_of(set, o.groups)
  dataset.check_range(set)
  local found, count = inference.run(run, model, set, o), dataset.count(set)
  if #found.labels == 0 then check.fail("mt.evaluate: no image of %s can be read", set.name or "the data set") end
  groups = groups_found(groups, found, count)
  local predictions, labels = found.predictions, found.labels
  local result = {
    accuracy = metrics.accuracy(predictions, labels),
    loss = found.loss / #labels,
    count = #labels,
    per_class = metrics.group_accuracy(predictions, labels, labels),
    worst_class = (metrics.worst_group(predictions, labels, labels)),
    confusion = metrics.confusion(predictions, labels, math.max(found.classes, set.classes or 0)),
    brier = found.brier / #labels,
    predictions = o.predictions and all_predictions(found, count) or nil,
  }
  result.balanced = metrics.balanced(result.per_class)
  local finite = found.brier == found.brier -- else the net's values overflow, and nothing can be ranked
  result.ece = finite and metrics.ece(found.confidence, which(labels, predictions)) or 0 / 0
  if found.classes == 2 and finite then
    local second = which(labels, 2)
    result.auroc, result.auprc = metrics.auroc(found.second, second), metrics.auprc(found.second, second)
  end
  if groups then
    result.per_group, result.group_count = metrics.group_accuracy(predictions, labels, groups)
    result.worst_group = metrics.worst_group(predictions, labels, groups)
    result.balanced_group = metrics.balanced(result.per_group)
    result.weighted = o.group_weights and metrics.weighted(result.per_group, o.group_weights) or nil
  end
  return result
end

return evaluate
