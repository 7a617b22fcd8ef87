--- cat and stack.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

describe("cat and stack", function()
  it("join along any axis, with gradients", function()
    for axis = 1, 3 do
      local shapes = {}
      for i, length in ipairs{ 2, 1, 3 } do
        shapes[i] = { shape = { 2, 3, 2 } }
        shapes[i].shape[axis] = length
      end
      gradcheck.check{
        ours = function(a, b, c) return mt.cat({ a, b, c }, axis) end,
        reference = function(...)
          local parts, shape = { ... }, { 2, 3, 2 }
          shape[axis] = 6
          return reference.build(shape, function(p)
            local which = 1
            while p[axis] > parts[which].shape[axis] do
              p[axis] = p[axis] - parts[which].shape[axis]
              which = which + 1
            end
            return parts[which][reference.flat(parts[which].shape, p)]
          end)
        end,
        inputs = shapes,
      }
    end
  end)

  it("make a new axis anywhere, with gradients", function()
    for axis = 1, 3 do
      gradcheck.check{
        ours = function(a, b) return mt.stack({ a, b }, axis) end,
        reference = function(a, b)
          local shape = { 2, 3 }
          table.insert(shape, axis, 2)
          return reference.build(shape, function(p)
            local which = table.remove(p, axis)
            return (which == 1 and a or b)[reference.flat(a.shape, p)]
          end)
        end,
        inputs = { { shape = { 2, 3 } }, { shape = { 2, 3 } } },
      }
    end
    assert.same({ 1.0, 2.0 }, mt.stack{ mt.tensor(1), mt.tensor(2) }:totable())
  end)

  it("join large blocks, too", function()
    local parts, n = {}, 70001
    for i, length in ipairs{ 1, 3, 0, 2 } do parts[i] = mt.randn(2, length, n) end
    local joined, start = mt.cat(parts, 2), 0
    for _, part in ipairs(parts) do
      local length = part:size(2)
      if length > 0 then
        assert.equal(1, joined:narrow(2, start + 1, length):eq(part):all():item())
      end
      start = start + length
    end
    local stacked = mt.stack{ parts[1], parts[1] * 2 }
    assert.equal(1, stacked[1]:eq(parts[1]):all():item())
    assert.equal(1, stacked[2]:eq(parts[1] * 2):all():item())
  end)

  it("give every use of one tensor its share of the gradient", function()
    local x = mt.ones(2, { requires_grad = true })
    local joined = mt.cat{ x, x, x } * mt.tensor{ 1, 2, 3, 4, 5, 6 }
    joined:sum():backward()
    assert.same({ 9.0, 12.0 }, x:grad():totable())
  end)

  it("allow empty parts and many parts", function()
    assert.same({ 1.0, 1.0 }, mt.cat{ mt.zeros(0), mt.ones(2) }:totable())
    local rows = {}
    for i = 1, 3000 do rows[i] = mt.full({ 1, 2 }, i % 256, "uint8") end
    local all = mt.cat(rows)
    assert.same({ 3000, 2 }, all:shape())
    assert.equal(3000 % 256, all[3000][2]:item())
  end)

  it("say which tensor does not fit", function()
    local function fails(f, message) assert.error_matches(f, message) end
    fails(function() mt.cat({ mt.zeros(2, 3), mt.zeros(2, 4) }, 1) end,
      "cat: tensor 2 is float32 {2,4}, expected it to fit the first one, float32 {2,3}")
    fails(function() mt.stack{ mt.zeros(2), mt.zeros(2):to "uint8" } end, "stack: tensor 2 is uint8 {2}")
    fails(function() mt.cat{} end, "1 to 1000000 tensors expected, got 0")
    fails(function() mt.cat{ mt.zeros(1), 3 } end, "element 2 of the list: tensor expected, got 3")
    fails(function() mt.cat{ mt.tensor(1) } end, "use stack")
    fails(function() mt.cat({ mt.zeros(1) }, 2) end, "axis in 1..1")
    fails(function() mt.stack{ mt.zeros(1, 1, 1, 1, 1, 1) } end, "6 axes already")
  end)
end)
