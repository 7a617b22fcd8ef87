--- IRM (Arjovsky et al. 2019): beside the loss, a penalty where a single scale of the logits is not the best in every
-- environment at once: the product of the losses' derivatives by the scale over the even and the odd images of each
-- environment in the batch (unbiased, DomainBed's form).
-- DomainBed makes a new optimiser when the penalty sets in; here the momentum goes on. As in the authors' code the loss
-- is divided by the penalty's weight where that is above 1, so that steps do not grow.
local core = require "masktune.core"
local groups = require "masktune.data.groups"
local objective = require "masktune.objective"
local scale_gradients = require "masktune.recipe.scale_gradients"
local training = require "masktune.recipe.training"

local schema = {
  penalty = { type = "number", min = 0, default = 100 },
  warmup_penalty = { type = "number", min = 0, default = 1 },
  warmup_steps = { type = "integer", min = 0, default = 500 },
  environments = { type = "string", optional = true },
}

--- Positions of each environment's images in a batch: environment -> {odd places, even places}.
local function halves_of(column)
  local halves, order = {}, {}
  for i, environment in ipairs(column:totable()) do
    if not halves[environment] then
      halves[environment] = { {}, {} }
      order[#order + 1] = environment
    end
    local odd, even = table.unpack(halves[environment])
    table.insert(#odd > #even and even or odd, i)
  end
  table.sort(order)
  return halves, order
end

local function new_objective(o, field)
  local options = {
    penalty = o.penalty, warmup_penalty = o.warmup_penalty, warmup_steps = o.warmup_steps, environments = field,
  }
  return objective("irm", options, function(model, batch, run)
    local logits = model(batch[batch.input])
    local each = core.cross_entropy(logits, batch.labels, { reduction = "none" })
    local gradients = scale_gradients(logits, batch.labels)
    local halves, order = halves_of(batch[field])
    local loss, penalty = 0, 0
    for _, environment in ipairs(order) do
      local odd, even = table.unpack(halves[environment])
      local all = table.move(even, 1, #even, #odd + 1, { table.unpack(odd) })
      loss = loss + each:index(all):mean() / #order
      if #even > 0 then
        penalty = penalty + gradients:index(odd):mean() * gradients:index(even):mean() / #order
      end
    end
    local weight = run.total_steps > o.warmup_steps and o.penalty or o.warmup_penalty
    return (loss + penalty * weight) / math.max(1, weight), logits
  end)
end

return training.method {
  name = "irm",
  title = "IRM",
  summary = "a classifier that is the best one in every environment",
  paper = "Arjovsky et al. 2019",
  labels = "class; group or environment in training",
  schema = schema,
  plan = function(o, context)
    local field = o.environments or o.groups
    groups.column(context.where, o.train, field)
    return { objective = new_objective(o, field) }
  end,
}
