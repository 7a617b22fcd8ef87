--- Step functions: floor, ceil, round, sign.
local mt = require "masktune"

local nan, inf = 0 / 0, math.huge

describe("rounding", function()
  local values = { -2.5, -1.2, -0.5, 0, 0.5, 1.5, 2.5, 7.9, inf, -inf }
  local expected = {
    floor = { -3, -2, -1, 0, 0, 1, 2, 7, inf, -inf },
    ceil = { -2, -1, 0, 0, 1, 2, 3, 8, inf, -inf },
    round = { -2, -1, 0, 0, 0, 2, 2, 8, inf, -inf },
    sign = { -1, -1, -1, 0, 1, 1, 1, 1, 1, -1 },
  }
  for name, results in pairs(expected) do
    it(name .. " gives whole numbers, with gradient 0", function()
      local x = mt.tensor(values, { requires_grad = true })
      local y = x[name](x)
      for i, value in ipairs(y:totable()) do assert.is_true(results[i] == value) end
      y:narrow(1, 1, 8):sum():backward()
      for _, slope in ipairs(x:grad():totable()) do assert.equal(0.0, slope) end
      assert.same({ 0, 3 }, mt.zeros(0, 3)[name](mt.zeros(0, 3)):shape())
      assert.same({}, mt.tensor(1.5)[name](mt.tensor(1.5)):shape())
    end)
  end

  it("keeps NaN, whose sign is 0", function()
    for _, name in ipairs{ "floor", "ceil", "round" } do
      local value = mt.tensor{ nan }[name](mt.tensor{ nan }):item()
      assert.is_true(value ~= value)
    end
    assert.equal(0.0, mt.tensor{ nan }:sign():item())
  end)

  it("leaves integers as they are, as a copy", function()
    for _, dtype in ipairs{ "uint8", "int32" } do
      local t = mt.tensor({ 0, 3 }, dtype)
      for _, name in ipairs{ "floor", "ceil", "round" } do
        local y = t[name](t)
        assert.equal(dtype, y:dtype())
        y:fill(1)
      end
      assert.same({ 0, 3 }, t:totable())
      assert.same({ 0, 1 }, t:sign():totable())
    end
    assert.same({ -1, 0, 1 }, mt.tensor({ -7, 0, 7 }, "int32"):sign():totable())
  end)
end)
