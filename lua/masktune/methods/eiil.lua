--- EIIL (Creager et al. 2021): environments found with an ERM net (masktune.groups.eiil), then GroupDRO over class and
-- environment. How long the ERM net is trained decides: `first_epochs`, or the shared ERM where it is not given.
local find = require "masktune.groups"
local groupdro = require "masktune.methods.groupdro"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

local schema = tables.merged(groupdro.schema, training.first_schema, {
  steps = find.eiil.schema.steps, assign_lr = find.eiil.schema.lr,
})

return {
  title = "EIIL",
  summary = "finds environments by where ERM is furthest from invariant, then GroupDRO",
  paper = "Creager et al. 2021",
  labels = "class",
  stages = "ERM, environments, GroupDRO",
  cost = "ERM, the epochs",
  schema = schema,
  run = function(model, o, context)
    local first = training.first(model, o, context)
    local found = find.eiil(first, o.train, { steps = o.steps, lr = o.assign_lr, seed = o.seed })
    return groupdro.run(model, tables.merged(o, { train = found, groups = "group" }), context)
  end,
}
