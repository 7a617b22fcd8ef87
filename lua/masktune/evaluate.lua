--- How good a model is on a data set.
-- @module masktune.evaluate
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local dist = require "masktune.dist"
local inference = require "masktune.inference"
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

--- The values of all batches of all ranks, in the data set's order.
local function joined(parts, dtype)
  return dist.gather(#parts > 0 and core.cat(parts, 1) or core.zeros({ 0 }, dtype)):totable()
end

local function sum(values)
  local total = 0
  for _, value in ipairs(values) do
    total = total + value
  end
  return total
end

--- What is kept of every batch, in the order in which the ranks exchange it, and its type.
local COLUMNS = {
  "loss", "brier", "classes", "labels", "predictions", "confidence", "second",
  loss = "float32", brier = "float32", classes = "int32", labels = "int32", predictions = "int32",
  confidence = "float32", second = "float32",
}

--- Of one batch.
local function measure(logits, labels)
  local p, classes = logits:softmax(2), logits:size(2)
  local truth = labels:reshape(-1, 1):eq(core.arange(1, classes + 1, "int32"):reshape(1, classes))
  return {
    loss = core.cross_entropy(logits, labels, { reduction = "sum" }):reshape(1),
    brier = ((p - truth:to("float32")) ^ 2):sum():reshape(1),
    classes = core.tensor({ classes }, { dtype = "int32" }),
    labels = labels,
    predictions = logits:argmax(2),
    confidence = p:max(2),
    second = classes == 2 and p:narrow(2, 2, 1):reshape(-1) or nil,
  }
end

--- Runs the model over all images: `loss` and `brier` (sums), the number of `classes`, and for each image its
-- `predictions`, `labels`, `confidence` (of the predicted class), and with two classes `second`: the probability of
-- class 2. Ranks take a run of batches each.
local function run(model, set, o)
  local found = {}
  for _, name in ipairs(COLUMNS) do
    found[name] = {}
  end
  local bar = progress.of_ranks(o.progress, { total = dataset.count(set), label = o.label, unit = "images" })
  local seen, loss_sum = 0, 0
  for batch in loader { dataset = set, batch = o.batch, shuffle = false, deal = "batches" }:epoch(1) do
    local measured = measure(model(batch[batch.input]), batch.labels)
    for name, values in pairs(measured) do
      table.insert(found[name], values)
    end
    seen, loss_sum = seen + #batch.labels, loss_sum + measured.loss[1]:item()
    if bar then bar:update(seen, { loss = loss_sum / seen }) end
  end
  if bar then bar:finish() end
  for _, name in ipairs(COLUMNS) do
    found[name] = joined(found[name], COLUMNS[name])
  end
  found.loss, found.brier, found.classes = sum(found.loss), sum(found.brier), found.classes[1]
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
-- `weighted` (by group_weights); and `predictions` (list of classes 1..k) on request
local function evaluate(model, set, options)
  local o
  o, set = inference.arguments("mt.evaluate", model, set, options, schema)
  local groups = groups_of(set, o.groups)
  dataset.check_range(set)
  local found = inference.run(run, model, set, o)
  local predictions, labels = found.predictions, found.labels
  local result = {
    accuracy = metrics.accuracy(predictions, labels),
    loss = found.loss / #labels,
    count = #labels,
    per_class = metrics.group_accuracy(predictions, labels, labels),
    worst_class = (metrics.worst_group(predictions, labels, labels)),
    confusion = metrics.confusion(predictions, labels, math.max(found.classes, set.classes or 0)),
    brier = found.brier / #labels,
    predictions = o.predictions and predictions or nil,
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
