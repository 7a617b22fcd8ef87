--- Random mixtures of images, from the default generator (whose state checkpoints keep).
-- @module masktune.mixing
local core = require "masktune.core"

local mixing = {}

local function uniform() return 1 - core.rand(1):item() end -- in (0, 1]

--- A number from the Gamma distribution (Marsaglia and Tsang 2000; shapes below 1 by their boost).
local function gamma(shape)
  if shape < 1 then return gamma(shape + 1) * uniform() ^ (1 / shape) end
  local d = shape - 1 / 3
  local c = 1 / math.sqrt(9 * d)
  while true do
    local x = core.randn(1):item()
    local v = (1 + c * x) ^ 3
    if v > 0 and math.log(uniform()) < x * x / 2 + d - d * v + d * math.log(v) then return d * v end
  end
end

--- A number from Beta(alpha, alpha).
-- @number alpha > 0
-- @treturn number in [0, 1]
function mixing.beta(alpha)
  local a, b = gamma(alpha), gamma(alpha)
  return a + b > 0 and a / (a + b) or core.rand(1):item() < 0.5 and 0 or 1
end

--- Positions 1..count in random order.
-- @treturn Tensor int32 {count}
function mixing.order(count) return core.randperm(count) end

--- An integer in 1..count.
function mixing.integer(count) return math.min(count, math.floor((1 - uniform()) * count) + 1) end

--- True with a probability.
-- @number p in [0, 1]
-- @treturn boolean
function mixing.chance(p) return 1 - uniform() < p end

--- The cross-entropy of images mixed with partners, and the logits: share of the image, the rest of its partner.
-- @tparam Module model
-- @tparam table batch
-- @tparam Tensor partners positions int32 {B}
-- @number share
-- @treturn Tensor loss
-- @treturn Tensor logits
function mixing.loss(model, batch, partners, share)
  local images = batch[batch.input]
  local logits = model(images * share + images:index(partners) * (1 - share))
  local own, other = core.cross_entropy(logits, batch.labels), core.cross_entropy(logits, batch.labels:index(partners))
  return own * share + other * (1 - share), logits
end

return mixing
