--- CnC, correct-n-contrast (Zhang et al. 2022): an ERM net's answers stand for the shortcut, and a supervised
-- contrastive loss pulls together the features of images of one class that it answers differently, and pushes apart
-- those of different classes that it answers alike: weight * contrast + (1 - weight) * cross-entropy.
-- The published code draws positives and negatives for each anchor; here all images of a batch, drawn alike from the
-- cells of class and answer, are anchors for each other.
local core = require "masktune.core"
local evaluate = require "masktune.evaluate"
local heads = require "masktune.heads"
local objective = require "masktune.objective"
local samplers = require "masktune.data.samplers"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

local FAR = -1e9 -- a similarity that counts for nothing

local schema = tables.merged(training.schema, training.first_schema, {
  contrast = { type = "number", min = 0, max = 1, default = 0.75 },
  temperature = { type = "number", above = 0, default = 0.1 },
  head = { type = "string", optional = true },
})

--- For each pair whether two values are equal: float32 {B,B}.
local function equal(column) return column:reshape(-1, 1):eq(column:reshape(1, -1)):to("float32") end

--- The contrastive loss of features {B,D}: mean over the anchors that have positives; 0 where none has.
local function contrast_of(features, labels, answers, temperature)
  local unit = features / ((features * features):sum(2):reshape(-1, 1) + 1e-12):sqrt()
  local similarity = unit:matmul(unit:transpose(1, 2)) / temperature
  local class, answer = equal(labels), equal(answers)
  local positive, negative = class * (1 - answer), (1 - class) * answer
  local counted = (positive + negative):gt(0)
  local log_sum = core.where(counted, similarity, core.full({ #labels, #labels }, FAR)):logsumexp(2):reshape(-1, 1)
  local count = positive:sum(2)
  local anchors = count:gt(0):to("float32")
  local each = ((log_sum - similarity) * positive):sum(2) / count:clamp(1, math.huge)
  return (each * anchors):sum() / anchors:sum():clamp(1, math.huge)
end

local function new_objective(o, head)
  local options = { contrast = o.contrast, temperature = o.temperature }
  return objective("cnc", options, function(model, batch)
    local features = heads.features(model, head, batch[batch.input])
    local logits = head.module(features)
    local contrast = contrast_of(features, batch.labels, batch.erm_answer, o.temperature)
    return contrast * o.contrast + core.cross_entropy(logits, batch.labels) * (1 - o.contrast), logits
  end)
end

return {
  title = "CnC",
  summary = "features of a class alike, whatever ERM answers",
  paper = "Zhang et al. 2022",
  labels = "class",
  stages = "ERM, training",
  cost = "ERM, the epochs",
  schema = schema,
  run = function(model, o, context)
    local head = heads.find(context.where, model, o.head)
    local first = training.first(model, o, context)
    local answers = core.tensor(evaluate(first, o.train, { predictions = true }).predictions, { dtype = "int32" })
    local cells = o.train.labels * head.outputs + answers
    local trained = training.train(model, o, context, {
      name = "cnc", schema = schema, objective = new_objective(o, head), sampler = samplers.balanced { by = cells },
      train = tables.merged(o.train, { erm_answer = answers }),
    })
    return training.result(model, o, context, trained)
  end,
}
