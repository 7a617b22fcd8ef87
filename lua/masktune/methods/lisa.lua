--- LISA (Yao et al. 2022): mixup of images that differ in one thing only: with probability `same_class` (for a whole
-- batch) in the attribute, the class being the same, else in the class, the attribute being the same. Partners come
-- from the batch; an image that has none there stays as it is. With `balanced` all groups are drawn alike, so that
-- there are partners.
local core = require "masktune.core"
local groups = require "masktune.data.groups"
local mixing = require "masktune.mixing"
local objective = require "masktune.objective"
local samplers = require "masktune.data.samplers"
local training = require "masktune.recipe.training"

--- For each image a random one of the batch that agrees in `same` and differs in `other`; itself where there is none.
local function partners_of(same, other)
  local partners = {}
  for i = 1, #same do
    local fit = {}
    for j = 1, #same do
      if same[j] == same[i] and other[j] ~= other[i] then fit[#fit + 1] = j end
    end
    partners[i] = #fit > 0 and fit[mixing.integer(#fit)] or i
  end
  return core.tensor(partners, { dtype = "int32" })
end

return training.method {
  name = "lisa",
  title = "LISA",
  summary = "mixes images that differ in the class alone, or in the attribute alone",
  paper = "Yao et al. 2022",
  labels = "class; group and attribute in training",
  schema = {
    alpha = { type = "number", above = 0, default = 2 },
    same_class = { type = "number", min = 0, max = 1, default = 0.5 },
    attribute = { type = "string", default = "attribute" },
    balanced = { type = "boolean", default = true },
  },
  plan = function(o, context)
    groups.column(context.where, o.train, o.attribute)
    local options = { alpha = o.alpha, same_class = o.same_class, attribute = o.attribute }
    return {
      sampler = o.balanced and samplers.balanced { by = (groups.column(context.where, o.train, o.groups)) } or nil,
      objective = objective("lisa", options, function(model, batch)
        local share, within = mixing.beta(o.alpha), mixing.chance(o.same_class)
        local classes, attributes = batch.labels:totable(), batch[o.attribute]:totable()
        local partners = within and partners_of(classes, attributes) or partners_of(attributes, classes)
        return mixing.loss(model, batch, partners, share)
      end),
    }
  end,
}
