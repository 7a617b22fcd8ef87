--- Products.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reductions = require "support.reductions"

local nan = 0 / 0

local function product(values)
  local result = 1.0
  for _, v in ipairs(values) do result = result * v end
  return result
end

describe("prod", function()
  local function ours(x, axis, options) return x:prod(axis, options) end
  local settings = { one_axis = true, low = -2, high = 2 }
  for _, case in ipairs(reductions.cases("prod", ours, product, settings)) do it(table.unpack(case)) end

  for _, values in ipairs{ { 0, 2, 3 }, { 2, 0, 0, 3 }, { 1, 2, 0 }, { 0 } } do
    it(("has a gradient beside zeros: {%s}"):format(table.concat(values, ",")), function()
      gradcheck.check{
        ours = function(x) return x:prod() end,
        reference = product,
        inputs = { { values = values } },
      }
    end)
  end

  it("of nothing is 1", function()
    assert.equal(1.0, mt.zeros(0):prod():item())
    assert.same({ 1.0, 1.0 }, mt.zeros(0, 2):prod(1):totable())
    assert.equal(3.0, mt.tensor(3):prod():item())
  end)

  it("spreads NaN", function()
    local value = mt.tensor{ 0, nan }:prod():item()
    assert.is_true(value ~= value)
  end)

  it("of integers is exact, as int32, and says when that cannot hold it", function()
    local t = mt.tensor({ { 255, 2 }, { 3, 4 } }, "uint8")
    assert.equal("int32", t:prod():dtype())
    assert.equal(6120, t:prod():item())
    assert.same({ 765, 8 }, t:prod(1):totable())
    assert.equal(-2147483648, mt.tensor({ 65536, -32768 }, "int32"):prod():item())
    assert.equal(0, mt.tensor({ 65536, 65536, 65536, 0 }, "int32"):prod():item())
    assert.error_matches(function() mt.tensor({ 65536, 32768 }, "int32"):prod() end, "prod: .* does not fit in int32")
  end)
end)
