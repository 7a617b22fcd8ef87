--- Finer-CAM: another method's map of what tells the target from the classes most like it. Differentiated is
-- `sum_j p_j (s - alpha s_j) / (sum_j p_j + 1e-9)`, s the target's logit, j the classes whose logits s_j are nearest to
-- it, p_j their probabilities (which depend on the logits too).
-- Zhang, Gu, Zhang and Chao 2025, "Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation".
-- Gives what the base gives, float32 {N,h,w}. Options: `base` ("gradcam"; a method that uses the gradient at a layer),
-- `alpha` (1), `comparisons` (3: how many classes, at most all others).
-- @module masktune.cam.finercam
local check = require "masktune.check"
local core = require "masktune.core"
local registry = require "masktune.registry"

--- The classes of a row of logits, but the target, nearest to the target's logit first; of equals the first.
local function nearest(row, target, count)
  local classes = {}
  for class = 1, #row do
    if class ~= target then classes[#classes + 1] = class end
  end
  local function distance(class) return math.abs(row[class] - row[target]) end
  table.sort(classes, function(a, b)
    local to_a, to_b = distance(a), distance(b)
    if to_a ~= to_b then return to_a < to_b end
    return a < b
  end)
  return table.move(classes, 1, math.min(count, #classes), 1, {})
end

--- {n,k}: 1 for the classes that an image's target is compared with.
local function compared(logits, context)
  local marks, targets = {}, context.target:totable()
  for i, row in ipairs(logits:detach():totable()) do
    local marked = {}
    for class = 1, #row do
      marked[class] = 0
    end
    for _, class in ipairs(nearest(row, targets[i], context.options.comparisons)) do
      marked[class] = 1
    end
    marks[i] = marked
  end
  return core.tensor(marks)
end

local function score(logits, context)
  local k = logits:size(2)
  local target = (logits * context.one_hot(context.target, k)):sum(2, { keepdim = true })
  local weights = logits:softmax(2) * compared(logits, context)
  local sums = (weights * (target - context.options.alpha * logits)):sum(2)
  return sums / (weights:sum(2) + 1e-9)
end

local function base_of(context)
  local base = registry.get(require "masktune.cam", context.options.base, "mt.cam.finercam", "option 'base'")
  if base.input or not base.gradient or base.score then
    check.fail("mt.cam.finercam: option 'base': a method that uses the gradient at a layer expected, got '%s'",
      base.name)
  end
  return base
end

return {
  summary = "another method's map of what tells the class from those most like it",
  paper = "Zhang et al. 2025, Finer-CAM",
  options = {
    base = { type = "string", default = "gradcam" },
    alpha = { type = "number", default = 1 },
    comparisons = { type = "integer", min = 1, default = 3 },
  },
  score = score,
  rule = function(tap, context) return base_of(context).rule(tap, context) end,
}
