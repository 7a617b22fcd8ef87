--- Parts of a tensor by list, and reversed.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local function indexed(axis, list)
  return function(x)
    local shape = { table.unpack(x.shape) }
    shape[axis] = #list
    return reference.build(shape, function(p)
      p[axis] = list[p[axis]]
      return x[reference.flat(x.shape, p)]
    end)
  end
end

describe("index by list", function()
  for _, case in ipairs{
    { { 4 }, 1, { 3, 1, 3 } }, { { 3, 2 }, 1, { 2 } }, { { 3, 5 }, 2, { 5, 5, 1, 2 } }, { { 2, 3, 4 }, 2, { 3, 3, 3 } },
    { { 2, 1, 2, 3, 1, 2 }, 4, { 2, 1 } },
  } do
    local shape, axis, list = table.unpack(case)
    it(("of axis %d of {%s} matches the reference"):format(axis, table.concat(shape, ",")), function()
      gradcheck.check{
        ours = function(x) return x:index(axis, list) end,
        reference = indexed(axis, list),
        inputs = { { shape = shape } },
      }
    end)
  end

  it("takes int32 tensors, and the first axis by default", function()
    local t = mt.arange(6, "uint8"):reshape(3, 2)
    assert.same({ { 4, 5 }, { 0, 1 } }, t:index(mt.tensor({ 3, 1 }, "int32")):totable())
    assert.same({ { 4, 5 }, { 0, 1 } }, t:index{ 3, 1 }:totable())
    assert.same({ 0, 2 }, t:index{}:shape())
  end)

  it("gives the same through several threads", function()
    local t = mt.randn(500, 300)
    local order = mt.randperm(500)
    local picked = t:index(order)
    for _, i in ipairs{ 1, 77, 500 } do
      assert.equal(t[order[i]:item()]:bytes(), picked[i]:bytes())
    end
  end)

  it("says which element of the list is wrong", function()
    local t = mt.zeros(3, 2)
    local function fails(f, message) assert.error_matches(f, message) end
    fails(function() t:index{ 1, 4 } end, "index: element 2 of the list is 4, expected 1..3 %(axis 1 of {3,2}%)")
    fails(function() t:index(mt.tensor({ 0 }, "int32")) end, "element 1 of the list is 0, expected 1..3")
    fails(function() t:index{ 0 } end, "element 1 of the list: integer >= 1 expected, got 0")
    fails(function() t:index{ 1, 1.5 } end, "element 2 of the list: integer >= 1 expected, got 1.5")
    fails(function() t:index(mt.ones(2)) end, "int32 tensor {n} expected, got float32 {2}")
    fails(function() t:index("x") end, "table of positions or int32 tensor expected, got string")
    fails(function() mt.tensor(1):index{ 1 } end, "at least one axis")
  end)
end)

describe("flip", function()
  for _, case in ipairs{ { { 5 }, 1 }, { { 3, 4 }, -1 }, { { 2, 3, 4 }, { 1, 3 } }, { { 1, 0, 2 }, 2 } } do
    local shape, axes = table.unpack(case)
    it(("of {%s} matches the reference"):format(table.concat(shape, ",")), function()
      gradcheck.check{
        ours = function(x) return x:flip(axes) end,
        reference = function(x)
          return reference.build(shape, function(p)
            for _, axis in ipairs(type(axes) == "table" and axes or { axes }) do
              axis = axis < 0 and #shape + 1 + axis or axis
              p[axis] = shape[axis] + 1 - p[axis]
            end
            return x[reference.flat(shape, p)]
          end)
        end,
        inputs = { { shape = shape } },
      }
    end)
  end

  it("copies, and turns integers round as well", function()
    local t = mt.arange(4, "uint8")
    t:flip(1):fill(9)
    assert.same({ 0, 1, 2, 3 }, t:totable())
    assert.same({ 3, 2, 1, 0 }, t:flip(1):totable())
    assert.error_matches(function() t:flip() end, "value expected")
    assert.error_matches(function() t:flip(2) end, "axis in 1..1")
  end)
end)
