--- Running sums.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local nan = 0 / 0

describe("cumsum", function()
  for _, case in ipairs{ { { 5 }, 1 }, { { 3, 4 }, 1 }, { { 3, 4 }, -1 }, { { 2, 3, 4 }, 2 }, { { 2, 0, 3 }, 2 },
    { { 19, 3 }, 2 }, { { 2, 3, 21 }, 2 }, { { 8, 2 }, 2 }, { { 3, 8 }, 1 } } do -- groups side by side, and the rest
    local shape, axis = case[1], case[2]
    local text = ("of {%s} along %d matches the reference, values and gradients"):format(table.concat(shape, ","), axis)
    it(text, function()
      gradcheck.check{
        ours = function(x) return x:cumsum(axis) end,
        reference = function(x)
          local along = axis < 0 and #shape + 1 + axis or axis
          return reference.build(shape, function(p)
            local sum, last = 0.0, p[along]
            for i = 1, last do
              p[along] = i
              sum = sum + x[reference.flat(shape, p)]
            end
            return sum
          end)
        end,
        inputs = { { shape = shape } },
      }
    end)
  end

  it("keeps its precision, and spreads NaN from where it is", function()
    assert.near(reference.to_float32(0.1) * 1e6, mt.full({ 1000000 }, 0.1):cumsum(1)[-1]:item(), 0.01)
    local values = mt.tensor{ 1, nan, 2 }:cumsum(1):totable()
    assert.equal(1.0, values[1])
    assert.is_true(values[2] ~= values[2] and values[3] ~= values[3])
  end)

  it("of integers is int32, and says when that cannot hold a sum", function()
    local sums = mt.tensor({ { 200, 100 }, { 255, 1 } }, "uint8"):cumsum(1)
    assert.equal("int32", sums:dtype())
    assert.same({ { 200, 100 }, { 455, 101 } }, sums:totable())
    assert.error_matches(function() mt.tensor({ 2147483647, 1 }, "int32"):cumsum(1) end,
      "cumsum: a result is 2147483648, expected one that fits in int32")
  end)

  it("needs an axis", function()
    assert.error_matches(function() mt.ones(2):cumsum() end, "axis in 1..1 or %-1..%-1 expected, got no value")
    assert.error_matches(function() mt.ones(2):cumsum(2) end, "axis in 1..1 or %-1..%-1 expected, got 2")
  end)
end)
