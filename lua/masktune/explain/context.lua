--- What a heatmap method knows besides the layer's tap, and what it can ask of the net.
--
-- Fields: `model`; `images` float32 {n,H,W,C}; `logits` {n,k}; `predicted` and `target`, int32 {n}; `options`, the
-- method's own; `taps`, of all layers captured; `batch`, how many images to run at once.
-- @classmod masktune.explain.context
local core = require "masktune.core"

local Context = {}
Context.__index = Context

--- Ones at the classes, zeros elsewhere.
-- @tparam Tensor classes int32 {n}, 1..k
-- @tparam integer k
-- @treturn Tensor float32 {n,k}
function Context.one_hot(classes, k)
  return core.arange(1, k + 1, 1, "int32"):reshape(1, k):eq(classes:reshape(-1, 1)):to("float32")
end

--- The logits of images, in eval mode and without gradients.
-- @tparam Tensor images {m,H,W,C}
-- @treturn Tensor {m,k}
function Context:forward(images) return (core.capture(self.model, images, { gradients = false })) end

--- The logits when the layer gives other values for one image: only what follows the layer is run, where the net is
-- made of Sequentials down to it.
-- @tparam table tap
-- @tparam integer i which image, 1..n
-- @tparam Tensor values {m,h,w,C}
-- @treturn Tensor {m,k}
function Context:replaced(tap, i, values)
  local options = { layers = { tap.name }, replace = { [tap.name] = values }, gradients = false }
  return (core.capture(self.model, self.images:narrow(1, i, 1), options))
end

--- The scores of one image's target in logits.
-- @tparam Tensor logits {m,k}
-- @tparam integer i which image, 1..n
-- @treturn Tensor {m}
function Context:target_scores(logits, i)
  return logits:narrow(2, self.target[i]:item(), 1):reshape(#logits)
end

--- What the backward pass starts from: the gradient of the score at the logits.
-- @tparam Tensor logits {n,k}
-- @treturn Tensor {n,k}
function Context:score_gradient(logits)
  if not self.score then return self.one_hot(self.target, logits:size(2)) end
  return core.enable_grad(function()
    local leaf = logits:detach():requires_grad(true)
    self.score(leaf, self):sum():backward()
    return leaf:grad()
  end)
end

--- The gradients of the targets' logits at other images, one for each of the context's.
-- @tparam Tensor images {n,H,W,C}
-- @treturn Tensor {n,H,W,C}
function Context:input_gradient(images)
  local logits, taps = core.capture(self.model, images, { input = true })
  if not logits:requires_grad() then return core.zeros(images:shape()) end
  logits:backward(self:score_gradient(logits))
  return taps.input:grad()
end

return Context
