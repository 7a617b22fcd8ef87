--- How good a model is on a data set.
-- @module masktune.evaluate
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local inference = require "masktune.inference"
local loader = require "masktune.data.loader"
local metrics = require "masktune.metrics"
local progress = require "masktune.progress"

local schema = {
  batch = { type = "integer", min = 1, default = 256 },
  groups = { type = "any", optional = true },
  predictions = { type = "boolean", default = false },
  progress = { type = "boolean", default = false },
  label = { type = "string", default = "evaluate" },
}

local function append(list, tensor)
  table.move(tensor:totable(), 1, #tensor, #list + 1, list)
end

--- Runs the model over all images: the sum of the losses, predicted and true classes.
local function run(model, set, o)
  local predictions, labels, loss_sum = {}, {}, 0
  local bar = o.progress and progress { total = dataset.count(set), label = o.label, unit = "images" }
  for batch in loader { dataset = set, batch = o.batch, shuffle = false }:epoch(1) do
    local logits = model(batch[batch.input])
    loss_sum = loss_sum + core.cross_entropy(logits, batch.labels, { reduction = "sum" }):item()
    append(predictions, logits:argmax(2))
    append(labels, batch.labels)
    if bar then bar:update(#labels, { loss = loss_sum / #labels }) end
  end
  if bar then bar:finish() end
  return predictions, labels, loss_sum
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
-- {N}; `predictions` (false: the predicted classes come too), `progress` (false), `label` of the progress bar
-- @treturn table `accuracy` in [0, 1], `loss` (mean cross-entropy), `count`, `per_class` (class -> accuracy; classes
-- without images are missing), `worst_class` (the lowest of these); with groups `per_group`, `group_count` (group ->
-- images) and `worst_group`; and `predictions` (list of classes 1..k) on request
local function evaluate(model, set, options)
  local o = inference.arguments("mt.evaluate", model, set, options, schema)
  local groups = groups_of(set, o.groups)
  dataset.check_range(set)
  local predictions, labels, loss_sum = inference.run(run, model, set, o)
  local result = {
    accuracy = metrics.accuracy(predictions, labels),
    loss = loss_sum / #labels,
    count = #labels,
    per_class = metrics.group_accuracy(predictions, labels, labels),
    worst_class = (metrics.worst_group(predictions, labels, labels)),
    predictions = o.predictions and predictions or nil,
  }
  if groups then
    result.per_group, result.group_count = metrics.group_accuracy(predictions, labels, groups)
    result.worst_group = metrics.worst_group(predictions, labels, groups)
  end
  return result
end

return evaluate
