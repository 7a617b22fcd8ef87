--- GroupDRO (Sagawa et al. 2020): weights q on the groups, q_g growing with exp(step_size * loss_g) in each step, and
-- the loss sum_g q_g loss_g. `adjustment` C adds C / sqrt(n_g) to what q grows by. With `balanced` all groups are drawn
-- alike, as in the published runs; how much of the gain is the sampler's, `balanced = false` shows.
-- Where the published code differs: with an adjustment it raises q of groups that are not in the batch, too (their loss
-- counts as 0); here those stay as they are.
local core = require "masktune.core"
local groups = require "masktune.data.groups"
local objective = require "masktune.objective"
local samplers = require "masktune.data.samplers"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

local schema = {
  step_size = { type = "number", min = 0, default = 0.01 },
  adjustment = { type = "number", min = 0, default = 0 },
  balanced = { type = "boolean", default = true },
}

--- The loss of a batch; q is in run.state.
local function new_objective(o, counts)
  local used = tables.merged(tables.picked(o, { step_size = true, adjustment = true }), { counts = counts })
  local adjustment = {}
  for group, count in ipairs(counts) do
    adjustment[group] = count > 0 and o.adjustment / math.sqrt(count) or 0
  end
  adjustment = core.tensor(adjustment)
  return objective("groupdro", used, function(model, batch, run)
    local logits = model(batch[batch.input])
    local each = core.cross_entropy(logits, batch.labels, { reduction = "none" })
    local losses, present = groups.means(each, groups.members(batch[o.groups], #counts))
    local grown = (losses:detach() + adjustment) * present:gt(0):to("float32") * o.step_size
    local q = (run.state.q or core.ones(#counts) / #counts) * grown:exp()
    run.state.q = q / q:sum()
    return (run.state.q * losses):sum(), logits
  end)
end

--- How it is trained where the groups are known: other methods find some first.
-- @tparam table o options of this method and of mt.train
-- @tparam table context
-- @treturn table plan, as of masktune.recipe.training
local function plan(o, context)
  local column, counts = groups.column(context.where, o.train, o.groups)
  return {
    objective = new_objective(o, counts),
    sampler = o.balanced and samplers.balanced { by = column } or nil,
  }
end

return training.method {
  name = "groupdro",
  title = "GroupDRO",
  summary = "minimises the loss of the group that fares worst",
  paper = "Sagawa et al. 2020",
  labels = "class; group in training",
  schema = schema,
  plan = plan,
}
