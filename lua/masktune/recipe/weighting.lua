--- Weights from the sizes of classes or groups: what re-weighting and re-sampling have in common.
-- @module masktune.recipe.weighting
local groups = require "masktune.data.groups"

local weighting = {}

--- The option that says what counts: groups, or classes.
weighting.by = { choices = { "group", "class" }, default = "group" }

--- The field that the option means.
function weighting.field(o) return o.by == "class" and "labels" or o.groups end

--- Sizes of the classes or groups of the training set.
-- @treturn {integer,...} 0 where one has no image
function weighting.counts(o, context)
  local _, counts = groups.column(context.where, o.train, weighting.field(o))
  return counts
end

--- Sizes of all classes; each must have an image.
function weighting.class_counts(o, context)
  local _, counts = groups.column(context.where, o.train, "labels")
  for class = 1, math.max(#counts, o.train.classes or 0) do
    if (counts[class] or 0) == 0 then
      context.refuse("option 'train': 1 image or more of every class expected, got 0 of class %d", class)
    end
  end
  return counts
end

--- Weights f(n), scaled so that their mean over the images is 1: the rate keeps its meaning.
-- @tparam {integer,...} counts
-- @tparam function f size -> number
-- @treturn {number,...}
function weighting.weights(counts, f)
  local weights, sum, images = {}, 0, 0
  for i, count in ipairs(counts) do
    weights[i] = count > 0 and f(count) or 0
    sum, images = sum + count * weights[i], images + count
  end
  for i, weight in ipairs(weights) do
    weights[i] = weight * images / sum
  end
  return weights
end

--- The options of weights by the inverse of the sizes: of what, and to which power (1; 0.5 is between this and none).
weighting.inverse_schema = { by = weighting.by, power = { type = "number", min = 0, default = 1 } }

--- Those weights.
-- @treturn {number,...}
function weighting.inverse(o, context)
  return weighting.weights(weighting.counts(o, context), function(n) return n ^ -o.power end)
end

return weighting
