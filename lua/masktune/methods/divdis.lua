--- DivDis (Lee, Yao and Finn 2023): several heads on one net, all right on the training images, that differ on
-- unlabelled target images: + diversity * (mean over pairs of heads of the mutual information of their answers) + prior
-- * (mean over heads of KL(mean answer, class shares)), both on a target batch. Then the head that does best on few
-- labelled target images, those the heads disagree most about, is kept. It needs target images on which the shortcut
-- and the object part: from a validation split like the training set nothing can be gained.
-- The published code drops terms 0 log 0; here they are 0 with a gradient that is finite.
local check = require "masktune.check"
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local embeddings = require "masktune.embeddings"
local heads = require "masktune.heads"
local objective = require "masktune.objective"
local other_batches = require "masktune.recipe.other_batches"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

local SMALLEST = 1e-12

local schema = tables.merged(training.schema, {
  heads = { type = "integer", min = 2, default = 2 },
  diversity = { type = "number", min = 0, default = 10 },
  prior = { type = "number", min = 0, default = 10 },
  target = { type = "table", optional = true },
  queries = { type = "integer", min = 1, default = 16 },
  head = { type = "string", optional = true },
})

local function log(x) return x:clamp(SMALLEST, math.huge):log() end

--- The mutual information of two heads' answers to the same images: {B,k}, {B,k}.
local function mutual_information(first, second)
  local joint = first:transpose(1, 2):matmul(second) / #first
  local apart = first:mean(1):reshape(-1, 1) * second:mean(1):reshape(1, -1)
  return (joint * (log(joint) - log(apart))):sum()
end

local function new_objective(o, first, others, target, shares)
  local options = { heads = o.heads, diversity = o.diversity, prior = o.prior }
  return objective("divdis", options, function(model, batch, run)
    local features = heads.features(model, first, batch[batch.input])
    local logits = first.module(features)
    local loss = core.cross_entropy(logits, batch.labels)
    for _, head in ipairs(others) do
      loss = loss + core.cross_entropy(head(features), batch.labels)
    end
    local unlabelled = target(run)
    local seen = heads.features(model, first, unlabelled[unlabelled.input])
    local answers = { first.module(seen):softmax(2) }
    for i, head in ipairs(others) do
      answers[i + 1] = head(seen):softmax(2)
    end
    local information, divergence, pairs_seen = 0, 0, 0
    for i, answer in ipairs(answers) do
      local mean = answer:mean(1)
      divergence = divergence + (mean * (log(mean) - shares)):sum() / #answers
      for j = i + 1, #answers do
        information, pairs_seen = information + mutual_information(answer, answers[j]), pairs_seen + 1
      end
    end
    return loss / #answers + information / pairs_seen * o.diversity + divergence * o.prior, logits
  end)
end

--- Logarithms of the classes' shares of the training set.
local function log_shares(labels, classes)
  local members = core.arange(1, classes + 1, "int32"):reshape(-1, 1):eq(labels:reshape(1, -1)):to("float32")
  return log(members:mean(2))
end

--- The images that the heads disagree about most, and the head that is most often right on them.
local function choose(answers, labels, queries)
  local distance = 0
  for i, answer in ipairs(answers) do
    for j = i + 1, #answers do
      distance = distance + (answer - answers[j]):abs():sum(2)
    end
  end
  local asked = distance:argsort(1, { descending = true }):narrow(1, 1, math.min(queries, #labels))
  local best, most = 1, -1
  for i, answer in ipairs(answers) do
    local right = answer:index(asked):argmax(2):eq(labels:index(asked)):sum():item()
    if right > most then best, most = i, right end
  end
  return best, most / #asked, #asked
end

--- Puts the head that the labels speak for into the model.
local function disambiguate(model, o, first, others, target)
  local seen, answers = embeddings(model, target, { head = first.name }), {}
  core.no_grad(function()
    answers[1] = first.module(seen.features):softmax(2)
    for i, head in ipairs(others) do
      answers[i + 1] = head(seen.features):softmax(2)
    end
  end)
  local best, accuracy, asked = choose(answers, target.labels, o.queries)
  if best > 1 then first.module:load_state_dict(others[best - 1]:state_dict()) end
  return { head = best, accuracy = accuracy, asked = asked }
end

return {
  title = "DivDis",
  summary = "heads that disagree on unlabelled images; a few labels choose one",
  paper = "Lee et al. 2023",
  labels = "class; unlabelled target images, and classes of `queries` of them",
  stages = "training, choice of a head",
  cost = "the epochs, twice the images",
  schema = schema,
  run = function(model, o, context)
    local target = o.target or o.val
    if not target then context.refuse("option 'target': data set expected (or 'val'), got nil") end
    target = dataset.for_model(dataset.check(context.where, "option 'target'", target), model)
    if o.weights == "best" then context.refuse("option 'weights': 'last' expected (all heads are of one epoch)") end
    local first, others, beside = heads.find(context.where, model, o.head), {}, {}
    core.manual_seed(o.seed)
    for i = 2, o.heads do
      others[i - 1] = core.nn.Linear(first.inputs, first.outputs, { bias = check.is_tensor(first.module.bias) })
      local one = training.beside("head_" .. i, others[i - 1], o)
      beside = {
        attached = tables.merged(beside.attached or {}, one.attached),
        after_step = training.both(beside.after_step, one.after_step),
      }
    end
    local plan = tables.merged(beside, {
      name = "divdis",
      schema = tables.without(schema, { "target", "queries" }),
      settings = { target = context.stages.folder and checkpoint.dataset_digest(target) or "" },
      objective = new_objective(o, first, others, other_batches(target, o.batch, o.seed),
        log_shares(o.train.labels, first.outputs)),
    })
    local result = training.result(model, o, context, training.train(model, o, context, plan))
    result.chosen = disambiguate(model, o, first, others, target)
    return result
  end,
}
