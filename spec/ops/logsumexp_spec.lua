--- log(sum(exp(x))).
local mt = require "masktune"
local reductions = require "support.reductions"

local nan, inf = 0 / 0, math.huge

describe("logsumexp", function()
  local function plain(values)
    local sum = 0.0
    for _, v in ipairs(values) do sum = sum + math.exp(v) end
    return math.log(sum)
  end

  local function ours(x, axes, options) return x:logsumexp(axes, options) end
  for _, case in ipairs(reductions.cases("logsumexp", ours, plain)) do it(table.unpack(case)) end

  it("does not overflow", function()
    assert.near(1000 + math.log(2), mt.tensor{ 1000, 1000 }:logsumexp():item(), 1e-3)
    assert.near(-1000 + math.log(2), mt.tensor{ -1000, -1000 }:logsumexp():item(), 1e-3)
  end)

  it("takes infinities and NaN as PyTorch does", function()
    assert.equal(inf, mt.tensor{ inf, 1 }:logsumexp():item())
    assert.equal(-inf, mt.tensor{ -inf, -inf }:logsumexp():item())
    assert.equal(1.0, mt.tensor{ -inf, 1 }:logsumexp():item())
    local value = mt.tensor{ 1, nan, inf }:logsumexp():item()
    assert.is_true(value ~= value)
    assert.equal(-inf, mt.zeros(0):logsumexp():item())
    assert.same({ -inf, -inf }, mt.zeros(0, 2):logsumexp(1):totable())
  end)

  it("takes integers and tensors without axes", function()
    assert.near(math.log(2) + 3, mt.tensor({ 3, 3 }, "uint8"):logsumexp():item(), 1e-6)
    assert.equal(2.5, mt.tensor(2.5):logsumexp():item())
  end)
end)
