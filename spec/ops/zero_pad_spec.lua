local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local function pad(top, bottom, left, right)
  return function(x)
    local n, h, w, channels = table.unpack(x.shape)
    return reference.build({ n, top + h + bottom, left + w + right, channels }, function(at)
      local y, column = at[2] - top, at[3] - left
      local inside = y >= 1 and y <= h and column >= 1 and column <= w
      return inside and x[reference.flat(x.shape, { at[1], y, column, at[4] })] or 0.0
    end)
  end
end

describe("zero_pad2d", function()
  it("puts zeros around images, with its gradient", function()
    for _, case in ipairs{
      { 2, { 2, 2, 2, 2 } },
      { { 1, 2, 3, 4 }, { 3, 4, 1, 2 } }, -- left, right, top, bottom, as PyTorch has it
      { { bottom = 1, right = 2 }, { 0, 1, 0, 2 } },
      { { top = 3 }, { 3, 0, 0, 0 } },
      { 0, { 0, 0, 0, 0 } },
    } do
      gradcheck.check{
        ours = function(x) return mt.zero_pad2d(x, case[1]) end,
        reference = pad(table.unpack(case[2])),
        inputs = { { shape = { 2, 3, 4, 5 } } },
      }
    end
    assert.same({ 0, 5, 6, 3 }, mt.zero_pad2d(mt.zeros(0, 3, 4, 3), 1):shape())
    assert.same({ 1, 2, 2, 3 }, mt.zero_pad2d(mt.zeros(1, 0, 0, 3), 1):shape())
  end)

  it("names the argument, its value and what was expected", function()
    local x = mt.zeros(1, 4, 5, 3)
    local function fails(pattern, ...)
      local ok, message = pcall(mt.zero_pad2d, ...)
      assert.is_false(ok)
      assert.matches(pattern, message, 1, true)
    end
    fails("zero_pad2d: input has shape {4,5,3}, expected {N,H,W,C}", mt.zeros(4, 5, 3), 1)
    fails("zero_pad2d: input is int32, expected float32", x:to "int32", 1)
    fails("bad argument #2 to 'zero_pad2d' (integer in [0, ", x, -1)
    fails("integer, {left, right, top, bottom} or {top = , bottom = , left = , right = } expected", x, { 1, 2 })
    fails("{top = , bottom = , left = , right = } with integers >= 0 expected, got top = 1.5", x, { top = 1.5 })
    fails("got a field 'up'", x, { up = 1 })
    fails("got nil", x)
    fails("too many elements", mt.zeros(1 << 10, 1, 1, 1 << 10), 1 << 30)
  end)
end)
