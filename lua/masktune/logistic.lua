--- Multinomial logistic regression with an L1 penalty, to the optimum: FISTA (Beck and Teboulle 2009), in steps of one
-- over the largest curvature, starting its momentum anew where it leads uphill (O'Donoghue and Candes 2015). With two
-- classes the optimum is that of binary logistic regression on the difference of the logits.
-- @module masktune.logistic
local check = require "masktune.check"
local core = require "masktune.core"

local logistic = {}

local POWER_ROUNDS = 50
local SAFETY = 1.05 -- the power method comes from below

local schema = {
  features = { type = "tensor" },
  labels = { type = "tensor" },
  classes = { type = "integer", min = 2 },
  l1 = { type = "number", min = 0, default = 0 },
  steps = { type = "integer", min = 1, default = 2000 },
  tolerance = { type = "number", min = 0, default = 1e-6 },
}

--- The largest eigenvalue of X^T X / n, of features with a column of ones.
local function largest_eigenvalue(x)
  local v, value = core.ones(x:size(2), 1), 0
  for _ = 1, POWER_ROUNDS do
    local w = x:transpose(1, 2):matmul(x:matmul(v)) / #x
    value = w:norm():item()
    v = w / value
  end
  return value
end

local function shrunk(x, amount) return x:sign() * (x:abs() - amount):relu() end

--- Minimises mean cross-entropy + l1 * sum |weight| (the bias goes free).
-- @tparam table options `features` float32 {N,D} (of a similar scale each), `labels` int32 {N}, `classes`, `l1` (0),
-- `steps` at most (2000), `tolerance` (1e-6): the largest change of a weight in a step, by which it has arrived
-- @treturn Tensor weight {k,D}
-- @treturn Tensor bias {k}
-- @treturn integer steps taken
function logistic.fit(options)
  local o = check.options("mt.logistic.fit", options, schema)
  local count, width = #o.features, o.features:size(2)
  local x = core.cat({ o.features, core.ones(count, 1) }, 2)
  local truth = o.labels:reshape(-1, 1):eq(core.arange(1, o.classes + 1, "int32"):reshape(1, -1)):to("float32")
  local rate = 1 / (0.5 * SAFETY * largest_eigenvalue(x))
  local shrink = core.cat({ core.full({ 1, width }, rate * o.l1), core.zeros(1, 1) }, 2)
  local now, momentum, taken = core.zeros(o.classes, width + 1), 1, 0
  local ahead = now
  repeat
    local off = (x:matmul(ahead:transpose(1, 2)):softmax(2) - truth) / count
    local moved = shrunk(ahead - off:transpose(1, 2):matmul(x) * rate, shrink)
    if ((ahead - moved) * (moved - now)):sum():item() > 0 then momentum = 1 end
    local following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
    ahead = moved + (moved - now) * ((momentum - 1) / following)
    local change = (moved - now):abs():max():item()
    now, momentum, taken = moved, following, taken + 1
  until change <= o.tolerance or taken == o.steps
  return now:narrow(2, 1, width), now:narrow(2, width + 1, 1):reshape(-1), taken
end

return logistic
