--- Conversion between element types.
local mt = require "masktune"

local nan, inf = 0 / 0, math.huge

describe("to", function()
  it("truncates float32 towards zero, saturates, and makes NaN 0", function()
    local t = mt.tensor{ 1.7, -1.7, 254.9, 255.5, 300, -5, nan, inf, -inf, 0.999, -0.5 }
    assert.same({ 1, 0, 254, 255, 255, 0, 0, 255, 0, 0, 0 }, t:to("uint8"):totable())
    assert.same({ 1, -1, 254, 255, 300, -5, 0, 2147483647, -2147483648, 0, 0 }, t:to("int32"):totable())
    assert.same({ 2147483647, -2147483648, 2147483520 },
      mt.tensor{ 2147483648, -2147483648, 2147483520 }:to("int32"):totable())
  end)

  it("saturates int32 to uint8 and widens exactly", function()
    assert.same({ 0, 0, 7, 255, 255 }, mt.tensor({ -2147483648, -1, 7, 255, 256 }, "int32"):to("uint8"):totable())
    assert.same({ 0, 255 }, mt.tensor({ 0, 255 }, "uint8"):to("int32"):totable())
    assert.same({ 0.0, 255.0 }, mt.tensor({ 0, 255 }, "uint8"):to("float32"):totable())
    assert.equal(16777216.0, mt.tensor({ 16777217 }, "int32"):to("float32"):item())
  end)

  it("is the tensor itself when nothing changes, gradients included", function()
    local t = mt.ones(2, { requires_grad = true })
    assert.is_true(t:to "float32" == t)
    assert.is_false(t:to("int32"):requires_grad())
  end)

  it("converts large tensors on several threads", function()
    local t = mt.rand(300000, { low = -10, high = 300 })
    local expected = {}
    for i, x in ipairs(t:totable()) do
      expected[i] = string.char(x <= 0 and 0 or x >= 255 and 255 or math.floor(x))
    end
    assert.is_true(t:to("uint8"):bytes() == table.concat(expected))
  end)

  it("keeps shapes, also empty ones", function()
    assert.same({ 2, 0, 3 }, mt.zeros(2, 0, 3):to("uint8"):shape())
  end)

  it("names an unknown type", function()
    assert.error_matches(function() mt.zeros(1):to "float64" end,
      "dtype 'float32', 'uint8' or 'int32' expected, got 'float64'")
  end)
end)
