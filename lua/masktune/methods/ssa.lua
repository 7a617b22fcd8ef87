--- SSA, spread spurious attribute (Nam et al. 2022): groups are known for part of the validation set; a net learns from
-- these and from its own confident answers which group the training images belong to, for each of `splits` parts of
-- them by a net that has not seen that part; then GroupDRO with what was found. An image's class is known, so only the
-- groups of its class are in question. The published threshold falls for groups that are found too rarely; here it is
-- one number.
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local groupdro = require "masktune.methods.groupdro"
local groups = require "masktune.data.groups"
local heads = require "masktune.heads"
local inference = require "masktune.inference"
local loader = require "masktune.data.loader"
local objective = require "masktune.objective"
local other_batches = require "masktune.recipe.other_batches"
local split = require "masktune.data.split"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

local FAR = -1e9 -- a logit that rules a group out

local own = {
  confidence = { type = "number", min = 0, max = 1, default = 0.95 },
  splits = { type = "integer", min = 2, default = 3 },
  share = { type = "number", above = 0, max = 1, default = 0.5 },
  first_epochs = training.first_schema.first_epochs,
}

--- For each class what is added to the logits: 0 for its groups, FAR for the others; {classes,groups}.
local function ruled_out(labelled, field, classes, count)
  local rows = {}
  for class = 1, classes do
    rows[class] = {}
    for group = 1, count do
      rows[class][group] = FAR
    end
  end
  local labels = labelled.labels:totable()
  for i, group in ipairs(labelled[field]:totable()) do
    rows[labels[i]][group] = 0
  end
  return core.tensor(rows)
end

--- Cross-entropy on images of known groups, and on the others with the net's own answers where it is sure of them.
local function new_objective(o, labelled, allowed)
  return objective("ssa", { confidence = o.confidence }, function(net, batch, run)
    local known = labelled(run)
    local sure = net(known[known.input]) + allowed:index(known.labels)
    local logits = net(batch[batch.input]) + allowed:index(batch.labels)
    local p, answer = logits:detach():softmax(2):max(2)
    local counted = p:ge(o.confidence):to("float32")
    local each = core.cross_entropy(logits, answer, { reduction = "none" })
    local own_answers = (each * counted):sum() / counted:sum():clamp(1, math.huge)
    return core.cross_entropy(sure, known[o.groups]:to("int32")) + own_answers
  end)
end

--- The net's groups for some images.
local function answers_of(net, set, allowed)
  local answers = {}
  for batch in loader { dataset = set, batch = 256, shuffle = false }:epoch(1) do
    local found = (net(batch[batch.input]) + allowed:index(batch.labels)):argmax(2):totable()
    for i, position in ipairs(batch.indices:totable()) do
      answers[position] = found[i]
    end
  end
  return answers
end

--- The model with a head for groups in place of that for classes.
local function group_net(model, o, context, count)
  local net = model:clone()
  local head = heads.find(context.where, net)
  core.manual_seed(o.seed)
  heads.replace(head, core.nn.Linear(head.inputs, count))
  return net
end

--- Groups for all training images.
local function find(model, o, context, labelled, count)
  local allowed = ruled_out(labelled, o.groups, o.train.labels:max():item(), count)
  local order, size = core.generator(o.seed):permutation(dataset.count(o.train)):totable(), dataset.count(o.train)
  local found = {}
  for part = 1, o.splits do
    local first, last = size * (part - 1) // o.splits + 1, size * part // o.splits
    local held_out = table.move(order, first, last, 1, {})
    local others = table.move(order, last + 1, size, first, table.move(order, 1, first - 1, 1, {}))
    local net = group_net(model, o, context, count)
    training.train(net, tables.without(o, { "val" }), context, {
      name = "ssa_groups", schema = own, settings = { part = part }, train = dataset.subset(o.train, others),
      epochs = o.first_epochs or o.epochs,
      objective = new_objective(o, other_batches(labelled, o.batch, o.seed), allowed),
    })
    local answers = inference.run(answers_of, net, dataset.subset(o.train, held_out), allowed)
    for i, position in ipairs(held_out) do
      found[position] = answers[i]
    end
  end
  return core.tensor(found, { dtype = "int32" })
end

return {
  title = "SSA",
  summary = "groups spread from part of the validation set, then GroupDRO",
  paper = "Nam et al. 2022",
  labels = "class; group in validation",
  stages = "as many trainings as splits, GroupDRO",
  cost = "splits times the epochs, the epochs",
  schema = tables.merged(groupdro.schema, own),
  run = function(model, o, context)
    if not o.val then context.refuse("option 'val': data set with groups expected, got nil") end
    local _, counts = groups.column(context.where, o.val, o.groups)
    local chosen_on, labelled = split(o.val, { share = o.share, seed = o.seed })
    local found = find(model, o, context, labelled, #counts)
    local train = tables.merged(o.train, { [o.groups] = found })
    local val = dataset.count(chosen_on) > 0 and chosen_on or nil
    return groupdro.run(model, tables.merged(o, { train = train, val = val }), context)
  end,
}
