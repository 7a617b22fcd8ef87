--- Each image's derivative of the cross-entropy by a scale of its logits, at scale 1: sum_c (p_c - y_c) z_c.
-- It is differentiable itself, so that penalties on it (IRM) need no second derivatives.
-- @module masktune.recipe.scale_gradients
local core = require "masktune.core"

--- @tparam Tensor logits {B,k}
-- @tparam Tensor labels int32 {B}
-- @treturn Tensor {B}
return function(logits, labels)
  local classes = core.arange(1, logits:size(2) + 1, "int32"):reshape(1, -1)
  local truth = labels:reshape(-1, 1):eq(classes):to("float32")
  return ((logits:softmax(2) - truth) * logits):sum(2)
end
