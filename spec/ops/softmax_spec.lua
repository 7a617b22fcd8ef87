--- softmax and log_softmax over any axis.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local function softmax(axis, finish)
  return function(x)
    local sums = {}
    local function group(p)
      local q = { table.unpack(p) }
      q[axis] = 1
      return reference.flat(x.shape, q)
    end
    for i = 1, #x do
      local g = group(reference.coordinates(x.shape, i))
      sums[g] = (sums[g] or 0) + math.exp(x[i])
    end
    return reference.build(x.shape, function(p)
      local i = reference.flat(x.shape, p)
      return finish(math.exp(x[i]) / sums[group(p)])
    end)
  end
end

describe("softmax", function()
  local cases = { { { 5 }, 1 }, { { 3, 4 }, 2 }, { { 3, 4 }, 1 }, { { 2, 3, 4 }, 2 }, { { 2, 1, 2, 3, 1, 2 }, 4 } }
  for _, case in ipairs(cases) do
    local shape, axis = table.unpack(case)
    it(("and log_softmax over axis %d of {%s} match the reference"):format(axis, table.concat(shape, ",")), function()
      local inputs = { { shape = shape, low = -3, high = 3 } }
      gradcheck.check{
        ours = function(x) return x:softmax(axis) end,
        reference = softmax(axis, function(v) return v end),
        inputs = inputs,
      }
      gradcheck.check{
        ours = function(x) return x:log_softmax(axis) end,
        reference = softmax(axis, math.log),
        inputs = inputs,
      }
    end)
  end

  it("takes the last axis by default", function()
    local t = mt.randn(3, 4)
    assert.equal(t:softmax(2):bytes(), t:softmax():bytes())
  end)

  it("does not overflow", function()
    assert.same({ 0.5, 0.5 }, mt.tensor{ 1000, 1000 }:softmax():totable())
    assert.same({ 0.0, -2000.0 }, mt.tensor{ 1000, -1000 }:log_softmax():totable())
    assert.same({ 1.0, 0.0 }, mt.tensor{ 0, -math.huge }:softmax():totable())
  end)

  it("spreads NaN over its group alone, wherever it stands", function()
    for place = 1, 3 do
      local t = mt.zeros(2, 3)
      t[1][place] = 0 / 0
      local first = t:softmax()[1]:totable()
      for i = 1, 3 do assert.is_true(first[i] ~= first[i]) end
      assert.near(1 / 3, t:softmax()[2][1]:item(), 1e-6)
    end
  end)

  it("of nothing is nothing", function()
    assert.same({ 0, 3 }, mt.zeros(0, 3):softmax():shape())
    assert.same({ 3, 0 }, mt.zeros(3, 0):log_softmax():shape())
  end)

  it("refuses integers, scalars and missing axes", function()
    assert.error_matches(function() mt.zeros(3):to("int32"):softmax() end,
      "softmax: the tensor is int32, expected float32")
    assert.error_matches(function() mt.tensor(1):softmax() end, "at least one axis")
    assert.error_matches(function() mt.zeros(3):softmax(2) end, "axis in 1..1")
  end)
end)
