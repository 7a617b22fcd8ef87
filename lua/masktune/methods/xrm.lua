--- XRM (Pezeshki et al. 2024): groups from two nets that learn different halves (masktune.groups.xrm), then GroupDRO.
-- `flips` in the result needs no labels of groups; hyperparameters can be chosen by it.
local find = require "masktune.groups"
local groupdro = require "masktune.methods.groupdro"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

return {
  title = "XRM",
  summary = "groups from nets that judge what they did not learn, then GroupDRO",
  paper = "Pezeshki et al. 2024",
  labels = "class",
  stages = "two nets on halves, groups, GroupDRO",
  cost = "the epochs of two nets, the epochs",
  schema = tables.merged(groupdro.schema, training.first_schema),
  run = function(model, o, context)
    local epochs = o.first_epochs or o.epochs
    local path = context.stages:path("groups-xrm", { epochs = epochs, seed = o.seed })
    local found, facts = find.xrm(model, o.train, tables.merged(tables.picked(o, find.xrm.schema), {
      epochs = epochs, label = "xrm", checkpoint = path,
    }))
    local result = groupdro.run(model, tables.merged(o, { train = found, groups = "group" }), context)
    result.flips = facts.flips
    return result
  end,
}
