--- LfF, learning from failure (Nam et al. 2020): a second net learns what is easy (generalised cross-entropy), and the
-- images that it fails on weigh more for the model: by l_b / (l_b + l_d), the two nets' losses, smoothed over the
-- epochs and divided by the largest of the class (SubpopBench's version leaves out both the smoothing and the
-- division). The published runs start the two nets from different random weights; here they start alike, unless
-- `biased` is given.
local core = require "masktune.core"
local groups = require "masktune.data.groups"
local objective = require "masktune.objective"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

local LEAST = 1e-12 -- where all losses of a class are 0

local schema = {
  q = { type = "number", above = 0, max = 1, default = 0.7 },
  smoothing = { type = "number", min = 0, max = 1, default = 0.7 },
  biased = { type = "module", optional = true },
}

--- A loss for each image of the training set, smoothed: state.seen says which had one before.
local function smooth(state, name, indices, each, o)
  local before, seen = state[name]:index(indices), state.seen:index(indices)
  local kept = seen * o.smoothing
  state[name][indices] = before * kept + each:detach() * (1 - kept)
end

--- The smoothed losses of a batch, divided by the largest of their classes.
local function relative(state, name, batch, members)
  local largest = (members * state[name]:reshape(1, -1)):max(2)
  return state[name]:index(batch.indices) / largest:index(batch.labels):clamp(LEAST, math.huge)
end

--- Generalised cross-entropy: p_y^q * q * CE, whose factor has no gradient.
local function generalised(logits, each, labels, q)
  local p = logits:detach():softmax(2):gather(2, labels:reshape(-1, 1)):reshape(-1)
  return (p ^ q * q * each):mean()
end

local function new_objective(o, biased, members)
  local options = { q = o.q, smoothing = o.smoothing }
  return objective("lff", options, function(model, batch, run)
    local state, inputs, labels = run.state, batch[batch.input], batch.labels
    for _, name in ipairs { "biased", "debiased", "seen" } do
      state[name] = state[name] or core.zeros(members:size(2))
    end
    local easy, logits = biased(inputs), model(inputs)
    local each_easy = core.cross_entropy(easy, labels, { reduction = "none" })
    local each = core.cross_entropy(logits, labels, { reduction = "none" })
    smooth(state, "biased", batch.indices, each_easy, o)
    smooth(state, "debiased", batch.indices, each, o)
    state.seen[batch.indices] = core.ones(#labels)
    local b, d = relative(state, "biased", batch, members), relative(state, "debiased", batch, members)
    return generalised(easy, each_easy, labels, o.q) + (b / (b + d + 1e-8) * each):mean(), logits
  end)
end

return training.method {
  name = "lff",
  title = "LfF",
  summary = "a second net that learns the easy way shows which images weigh more",
  paper = "Nam et al. 2020",
  labels = "class",
  cost = "the epochs, of two nets",
  schema = schema,
  plan = function(o, context, model)
    local biased = o.biased or model:clone()
    local column, counts = groups.column(context.where, o.train, "labels")
    return tables.merged(training.beside("biased", biased, o), {
      objective = new_objective(o, biased, groups.members(column, #counts)),
    })
  end,
}
