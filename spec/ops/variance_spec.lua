--- Variance and standard deviation.
local mt = require "masktune"
local reductions = require "support.reductions"

local function is_nan(x) return x ~= x end

local function variance(correction)
  return function(values)
    local mean, squares = 0.0, 0.0
    for _, v in ipairs(values) do mean = mean + v / #values end
    for _, v in ipairs(values) do squares = squares + (v - mean) ^ 2 end
    return squares / (#values - correction)
  end
end

local function deviation(correction)
  return function(values) return math.sqrt(variance(correction)(values)) end
end

describe("var and std", function()
  for correction, unbiased in pairs{ [0] = false, [1] = true } do
    for name, plain in pairs{ var = variance(correction), std = deviation(correction) } do
      local text = unbiased and name or name .. " with unbiased = false"
      local function ours(x, axes, options)
        options.unbiased = unbiased
        return x[name](x, axes, options)
      end
      for _, case in ipairs(reductions.cases(text, ours, plain)) do it(table.unpack(case)) end
    end
  end

  it("are NaN where nothing is left to divide by", function()
    assert.is_true(is_nan(mt.ones(1):std():item()) and is_nan(mt.ones(1):var():item()))
    assert.equal(0.0, mt.ones(1):var(1, { unbiased = false }):item())
    assert.is_true(is_nan(mt.zeros(0, 3):std(1)[2]:item()) and is_nan(mt.zeros(0, 3):var(1)[2]:item()))
    assert.same({ 0 }, mt.zeros(0, 3):var(2):shape())
  end)

  it("have gradient 0 where all values are equal", function()
    for _, name in ipairs{ "std", "var" } do
      local x = mt.full({ 3 }, 2, { requires_grad = true })
      x[name](x):backward()
      assert.same({ 0.0, 0.0, 0.0 }, x:grad():totable())
    end
  end)

  it("keep their precision far from 0, and take integers", function()
    local shifted = mt.randn(100000) + 10000
    assert.near(1, shifted:std():item(), 0.02)
    assert.near(1, shifted:var():item(), 0.04)
    assert.equal(1.0, mt.tensor({ 1, 2, 3 }, "int32"):var():item())
  end)

  it("give the same bits at every thread count", function()
    local threads = mt.get_num_threads()
    local t, results = mt.randn(513, 700), {}
    for i, n in ipairs{ 1, 2, 7 } do
      mt.set_num_threads(n)
      results[i] = t:std():bytes() .. t:var(1):bytes()
    end
    mt.set_num_threads(threads)
    assert.is_true(results[1] == results[2] and results[1] == results[3])
  end)
end)
