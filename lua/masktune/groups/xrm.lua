--- XRM's groups (Pezeshki et al. 2024). Two nets start alike; each learns one random half of the images. The label of
-- an image flips, with a probability that grows with the other net's confidence, to what that net says, so that each
-- strengthens the other's bias. At the end an image belongs to part 2 where the net that did not learn it is wrong by
-- the true label. `flips`, the share of labels that changed, needs no labels of groups: hyperparameters can be chosen
-- by it.
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local groups = require "masktune.data.groups"
local inference = require "masktune.inference"
local loader = require "masktune.data.loader"
local objective = require "masktune.objective"
local tables = require "masktune.tables"
local train = require "masktune.train"
local training = require "masktune.recipe.training"

--- 1 for the images that the first net learns, 0 for the second's.
local function halves_of(count, seed)
  local order = core.generator(seed):permutation(count)
  local halves = core.zeros(count)
  halves[order:narrow(1, 1, count // 2)] = core.ones(count // 2)
  return halves
end

--- What an image's own net says, and what the other says.
local function answers(first, second, mine)
  mine = mine:reshape(-1, 1)
  return first * mine + second * (1 - mine), second * mine + first * (1 - mine)
end

--- The mean over the classes in the batch of their mean losses, times their number (the published sum).
local function balanced_loss(logits, labels)
  local each = core.cross_entropy(logits, labels, { reduction = "none" })
  return groups.means(each, groups.members(labels, logits:size(2))):sum()
end

--- Flips labels to the other net's answers.
local function flip(labels, held_out)
  local classes = held_out:size(2)
  local p, answer = held_out:detach():softmax(2):max(2)
  local chance = (p - 1 / classes) * (classes / (classes - 1))
  return core.where(core.rand(#labels):lt(chance), answer:to("float32"), labels:to("float32")):to("int32")
end

local function new_objective(second, halves, labels)
  return objective("xrm", {}, function(first, batch, run)
    local state = run.state
    state.labels = state.labels or labels:clone()
    local inputs, now = batch[batch.input], state.labels:index(batch.indices)
    local own, held_out = answers(first(inputs), second(inputs), halves:index(batch.indices))
    state.labels[batch.indices] = flip(now, held_out)
    return balanced_loss(own, now), own
  end)
end

--- For each image whether the net that did not learn it is wrong.
local function mistakes(first, second, set, halves)
  local parts = {}
  for batch in loader { dataset = set, batch = 256, shuffle = false }:epoch(1) do
    local inputs = batch[batch.input]
    local _, held_out = answers(first(inputs), second(inputs), halves:index(batch.indices))
    local wrong, positions = held_out:argmax(2):ne(batch.labels):totable(), batch.indices:totable()
    for i, position in ipairs(positions) do
      parts[position] = wrong[i] + 1
    end
  end
  return parts
end

return {
  summary = "what nets that learn different halves get wrong in the other's (model: untrained)",
  paper = "Pezeshki et al. 2024",
  schema = tables.merged(tables.without(train.schema, { "train", "val", "objective", "select" }), {
    epochs = { type = "integer", min = 1, default = 10 },
    label = { type = "string", default = "xrm" },
  }),
  run = function(model, set, o)
    local first, second = model:clone(), model:clone()
    local halves = halves_of(dataset.count(set), o.seed)
    local beside = training.beside("second", second, o)
    local trained = train(first, tables.merged(tables.picked(o, train.schema), {
      train = set, objective = new_objective(second, halves, set.labels),
      attached = tables.merged(o.attached, beside.attached),
      after_step = training.both(beside.after_step, o.after_step),
    }))
    second:eval()
    local parts = inference.run(mistakes, first, second, set, halves)
    local flipped = trained.state.labels:ne(set.labels):sum():item()
    return parts, { flips = flipped / dataset.count(set) }
  end,
}
