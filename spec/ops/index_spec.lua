--- Index lists, cat and stack.
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
