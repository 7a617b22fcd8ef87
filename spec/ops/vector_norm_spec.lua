--- Norms of every order.
local mt = require "masktune"
local reductions = require "support.reductions"

local nan, inf = 0 / 0, math.huge

local function norm(p)
  return function(values)
    local sum, largest, smallest = 0.0, 0.0, inf
    for _, v in ipairs(values) do
      sum = sum + math.abs(v) ^ p
      largest, smallest = math.max(largest, math.abs(v)), math.min(smallest, math.abs(v))
    end
    return p == inf and largest or p == -inf and smallest or sum ^ (1 / p)
  end
end

describe("norm", function()
  for _, p in ipairs{ 1, 2, 3, 0.5, -1, inf, -inf } do
    local function ours(x, axes, options) return x:norm(p, axes, options) end
    local settings = p < 1 and { low = 0.5, high = 3 } or nil
    for _, case in ipairs(reductions.cases("order " .. p, ours, norm(p), settings)) do it(table.unpack(case)) end
  end

  it("is Euclidean unless told otherwise", function()
    assert.equal(5.0, mt.tensor{ 3, -4 }:norm():item())
    assert.same({ 5.0, 13.0 }, mt.tensor{ { 3, -4 }, { 5, 12 } }:norm(nil, 2):totable())
    assert.equal(5.0, mt.tensor({ 3, 4 }, "uint8"):norm():item())
  end)

  it("counts with p = 0, without a gradient", function()
    local x = mt.tensor({ 0, -3, 2 }, { requires_grad = true })
    assert.equal(2.0, x:norm(0):item())
    assert.is_false(x:norm(0):requires_grad())
  end)

  it("has gradient 0 where it is 0 or the element is, and shares it among equal extremes", function()
    for _, p in ipairs{ 0.5, 1, 1.5, 2, 3, inf, -inf } do
      local x = mt.zeros(3, { requires_grad = true })
      x:norm(p):backward()
      assert.same({ 0.0, 0.0, 0.0 }, x:grad():totable())
    end
    local expected = { [1] = { 0.0, -1.0, 1.0, 1.0 }, [inf] = { 0.0, -0.5, 0.5, 0.0 }, [-inf] = { 0.0, 0.0, 0.0, 0.0 } }
    for p, gradient in pairs(expected) do
      local x = mt.tensor({ 0, -3, 3, 1 }, { requires_grad = true })
      x:norm(p):backward()
      for i, value in ipairs(x:grad():totable()) do assert.equal(gradient[i], value + 0.0) end
    end
  end)

  it("of nothing is 0, or an error where one has to be chosen", function()
    assert.equal(0.0, mt.zeros(0):norm():item())
    assert.same({ 0.0, 0.0 }, mt.zeros(0, 2):norm(1, 1):totable())
    assert.error_matches(function() mt.zeros(0, 2):norm(inf) end, "norm: the tensor has shape {0,2}, expected elements")
    assert.error_matches(function() mt.zeros(0):norm(-2) end, "expected elements to choose from")
  end)

  it("spreads NaN, and does not overflow in between", function()
    for _, p in ipairs{ 1, 2, 3, inf, -inf } do
      local value = mt.tensor{ 1, nan, 2 }:norm(p):item()
      assert.is_true(value ~= value)
    end
    assert.equal(inf, mt.tensor{ 1, -inf }:norm():item())
    assert.near(5e30, mt.tensor{ 3e30, 4e30 }:norm():item(), 1e24)
  end)

  it("says what is wrong", function()
    assert.error_matches(function() mt.ones(2):norm(nan) end, "a number other than NaN expected")
    assert.error_matches(function() mt.ones(2):norm "2" end, "number expected, got '2'")
    assert.error_matches(function() mt.ones(2):norm(2, 2) end, "axis in 1..1")
  end)
end)
