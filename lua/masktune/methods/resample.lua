--- Re-sampling: images are drawn so that all groups (or classes) are as likely. The power 0.5 is between this and ERM
-- (square root).
local core = require "masktune.core"
local samplers = require "masktune.data.samplers"
local training = require "masktune.recipe.training"
local weighting = require "masktune.recipe.weighting"

return training.method {
  name = "resample",
  title = "Re-sampling",
  summary = "draws all groups alike (or to a power of their sizes)",
  labels = "class; group in training unless by = \"class\"",
  schema = weighting.inverse_schema,
  plan = function(o, context)
    local weights = weighting.inverse(o, context)
    local each = core.tensor(weights):index(o.train[weighting.field(o)]:to("int32"))
    return { sampler = samplers.weighted { weights = each } }
  end,
}
