--- Sum, mean, max, min and argmax over any axes.
local mt = require "masktune"
local reductions = require "support.reductions"
local reference = require "support.reference"

local nan = 0 / 0

local function total(values)
  local sum = 0.0
  for _, v in ipairs(values) do
    sum = sum + v
  end
  return sum
end

local function average(values) return total(values) / #values end

local simple = {
  sum = total,
  mean = average,
  max = function(values) return math.max(table.unpack(values)) end,
  min = function(values) return math.min(table.unpack(values)) end,
}

describe("reduction", function()
  for name, plain in pairs(simple) do
    local function ours(x, axes, options) return (x[name](x, axes, options)) end
    for _, case in ipairs(reductions.cases(name, ours, plain)) do it(table.unpack(case)) end
  end

  it("of a tensor without axes is the tensor's value", function()
    local t = mt.tensor(2.5)
    assert.equal(2.5, t:sum():item())
    assert.equal(2.5, t:mean():item())
    assert.equal(2.5, t:max():item())
    assert.equal(1, t:argmax():item())
  end)

  it("of nothing is 0 for sum, NaN for mean, and an error for max", function()
    local t = mt.zeros(0, 3)
    assert.equal(0.0, t:sum():item())
    assert.same({ 0.0, 0.0, 0.0 }, t:sum(1):totable())
    assert.same({ 0 }, t:sum(2):shape())
    assert.is_true(t:mean():item() ~= t:mean():item())
    assert.error_matches(function() t:max() end, "max: the tensor has shape {0,3}, expected elements")
    assert.error_matches(function() t:min(1) end, "min: the tensor has shape {0,3}")
    assert.same({ 0 }, mt.zeros(0, 3):max(2):shape())
  end)

  it("keeps its precision over many values", function()
    local t = mt.full({ 3000, 1000 }, 0.1)
    assert.near(reference.to_float32(0.1) * 3e6, t:sum():item(), 0.02)
    assert.near(reference.to_float32(0.1), t:mean():item(), 1e-9)
  end)

  it("gives the same bits at every thread count", function()
    local threads = mt.get_num_threads()
    local t, results = mt.randn(513, 700), {}
    for i, n in ipairs{ 1, 2, 3, 7 } do
      mt.set_num_threads(n)
      results[i] = t:sum():bytes() .. t:sum(1):bytes() .. t:mean(2):bytes() .. t:max(1):bytes()
    end
    mt.set_num_threads(threads)
    for i = 2, #results do
      assert.is_true(results[1] == results[i])
    end
  end)

  it("sums integers exactly, as int32, and says when that cannot hold the result", function()
    assert.equal(16777217, (mt.tensor({ 16777216, 1 }, "int32"):sum():item()))
    local t = mt.full({ 10000 }, 255, "uint8")
    assert.equal("int32", t:sum():dtype())
    assert.equal(2550000, t:sum():item())
    assert.equal(255.0, t:mean():item())
    assert.same({ 3, 7 }, mt.tensor({ { 1, 2 }, { 3, 4 } }, "uint8"):sum(2):totable())
    assert.error_matches(function() mt.full({ 2 }, 2147483647, "int32"):sum() end,
      "sum: the result is 4294967294, expected one that fits in int32")
  end)

  it("names the axis that is wrong", function()
    local t = mt.zeros(2, 3)
    assert.error_matches(function() t:sum(3) end, "axis in 1..2 or %-1..%-2 expected, got 3")
    assert.error_matches(function() t:sum{ 1, 1 } end, "each axis once expected, got axis 1 twice")
    assert.error_matches(function() t:mean{ 1, "x" } end,
      "axis number 2 of the list: axis in 1..2 or %-1..%-2 expected, got x")
    assert.error_matches(function() t:sum{} end, "at least one")
    assert.error_matches(function() t:sum(1, { keep = true }) end, "unknown option 'keep'")
    assert.error_matches(function() t:sum(1, { keepdim = 1 }) end, "option 'keepdim': boolean expected, got 1")
  end)
end)

describe("max and min", function()
  it("along one axis also give the first position", function()
    local values, positions = mt.tensor{ { 1, 5, 5 }, { 7, 2, 3 } }:max(2)
    assert.same({ 5.0, 7.0 }, values:totable())
    assert.same({ 2, 1 }, positions:totable())
    assert.equal("int32", positions:dtype())
    values, positions = mt.tensor({ { 1, 5 }, { 7, 2 }, { 1, 2 } }, "uint8"):min(1, { keepdim = true })
    assert.equal("uint8", values:dtype())
    assert.same({ { 1, 2 } }, values:totable())
    assert.same({ { 1, 2 } }, positions:totable())
  end)

  it("pass the gradient to the first of equals along one axis, and share it otherwise", function()
    local x = mt.tensor({ { 1, 2, 2 } }, { requires_grad = true })
    local values = x:max(2)
    values:sum():backward()
    assert.same({ { 0.0, 1.0, 0.0 } }, x:grad():totable())
    x:zero_grad():max():backward()
    assert.same({ { 0.0, 0.5, 0.5 } }, x:grad():totable())
    x:zero_grad():max{ 2 }:sum():backward()
    assert.same({ { 0.0, 0.5, 0.5 } }, x:grad():totable())
  end)

  it("of a long row is the first of equals or the first NaN, wherever it lies", function()
    local n = 300000
    local x = mt.rand(n)
    for _, places in ipairs{ { 1, n }, { 32768, 32769 }, { 200001, 200002 }, { 70000, 299999 }, { n, n } } do
      for _, extreme in ipairs{ 2, 0 / 0 } do
        local with = x:clone()
        for _, place in ipairs(places) do with[place] = extreme end
        assert.equal(places[1], with:argmax():item())
        if extreme == extreme then
          assert.equal(2.0, with:max():item())
          assert.equal(-2.0, (-with):min():item())
        else
          assert.is_true(with:max():item() ~= with:max():item())
        end
      end
    end
  end)

  it("hold NaN for the extreme", function()
    local t = mt.tensor{ 1, nan, 3 }
    local value, position = t:max(1)
    assert.is_true(value:item() ~= value:item())
    assert.equal(2, position:item())
    assert.is_true(t:min():item() ~= t:min():item())
    assert.equal(2, t:argmax():item())
  end)
end)

describe("argmax", function()
  it("counts from 1, along an axis or through all elements", function()
    local t = mt.tensor{ { 1, 9, 3 }, { 4, 5, 6 } }
    assert.equal(2, t:argmax():item())
    assert.same({ 2, 3 }, t:argmax(2):totable())
    assert.same({ 2, 1, 2 }, t:argmax(1):totable())
    assert.same({ { 2 }, { 3 } }, t:argmax(-1, { keepdim = true }):totable())
  end)
end)
