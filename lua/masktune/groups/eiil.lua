--- EIIL's environments (Creager et al. 2021): the split of the images into two by which the model is furthest from
-- being the best in both at once: soft assignments sigmoid(w_i) that maximise the mean of the squared derivatives of
-- the loss by a scale of the logits (see masktune.methods.irm), by Adam; then cut at one half. They depend on how long
-- the model was trained: where it fits all images there is nothing left to find.
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local inference = require "masktune.inference"
local loader = require "masktune.data.loader"
local scale_gradients = require "masktune.recipe.scale_gradients"

--- Each image's derivative by the scale.
local function derivatives(model, set)
  local all = core.zeros(dataset.count(set))
  for batch in loader { dataset = set, batch = 256, shuffle = false }:epoch(1) do
    all[batch.indices] = scale_gradients(model(batch[batch.input]), batch.labels)
  end
  return all
end

--- The assignments' logits after gradient ascent.
local function assign(gradients, start, o)
  local w = start:requires_grad(true)
  local adam = core.optim.adam({ w }, { lr = o.lr })
  for _ = 1, o.steps do
    local share = w:sigmoid()
    local first, second = (share * gradients):mean(), ((1 - share) * gradients):mean()
    adam:zero_grad();
    (-(first * first + second * second) / 2):backward()
    adam:step()
  end
  return w:detach()
end

return {
  summary = "two environments in which different logits would do best",
  paper = "Creager et al. 2021",
  schema = {
    steps = { type = "integer", min = 1, default = 10000 },
    lr = { type = "number", above = 0, default = 1e-3 },
    seed = { type = "integer", default = 1 },
    start = { type = "tensor", optional = true },
  },
  run = function(model, set, o)
    local gradients = inference.run(derivatives, model, set)
    local start = o.start or core.randn(#gradients, { generator = core.generator(o.seed) })
    local logits = assign(gradients, start, o)
    return (logits:gt(0):to("int32") + 1):totable(), { logits = logits }
  end,
}
