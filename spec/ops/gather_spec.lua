--- gather and scatter_add.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local function gathered(axis)
  return function(x, index)
    return reference.build(index.shape, function(p)
      local position = { table.unpack(p) }
      position[axis] = index[reference.flat(index.shape, p)]
      return x[reference.flat(x.shape, position)]
    end)
  end
end

local function scattered(axis)
  return function(x, index, source)
    local result = reference.map(x, function(v) return v end)
    for i = 1, #index do
      local position = reference.coordinates(index.shape, i)
      position[axis] = index[i]
      local at = reference.flat(x.shape, position)
      result[at] = result[at] + source[i]
    end
    return result
  end
end

--- Shape, axis, index's shape.
local cases = {
  { { 4 }, 1, { 6 } }, { { 3, 4 }, 2, { 3, 2 } }, { { 3, 4 }, 1, { 5, 4 } }, { { 3, 4 }, 2, { 2, 5 } },
  { { 2, 3, 4 }, 2, { 2, 5, 4 } }, { { 2, 3, 4 }, 2, { 1, 4, 3 } }, { { 2, 1, 3, 2, 1, 2 }, 3, { 2, 1, 2, 2, 1, 2 } },
  { { 3, 4 }, 1, { 0, 4 } },
}

describe("gather and scatter_add", function()
  for _, case in ipairs(cases) do
    local shape, axis, index_shape = table.unpack(case)
    local text = ("of {%s} along %d by {%s}"):format(table.concat(shape, ","), axis, table.concat(index_shape, ","))
    local index = { shape = index_shape, low = 1, high = shape[axis], dtype = "int32" }

    it(text .. ": gather matches the reference, values and gradients", function()
      gradcheck.check{
        ours = function(x, i) return x:gather(axis, i) end,
        reference = gathered(axis),
        inputs = { { shape = shape }, index },
      }
    end)

    it(text .. ": scatter_add matches the reference, values and gradients", function()
      gradcheck.check{
        ours = function(x, i, source) return x:scatter_add(axis, i, source) end,
        reference = scattered(axis),
        inputs = { { shape = shape }, index, { shape = index_shape } },
      }
    end)
  end

  it("take the chosen classes' logits, as a loss does", function()
    local logits = mt.tensor{ { 1, 2, 3 }, { 4, 5, 6 } }
    local labels = mt.tensor({ 3, 1 }, "int32")
    assert.same({ 3.0, 4.0 }, logits:gather(2, labels:unsqueeze(2)):squeeze(2):totable())
  end)

  it("work on integers", function()
    local t = mt.tensor({ { 1, 2 }, { 3, 4 } }, "uint8")
    local index = mt.tensor({ { 2, 2 }, { 1, 2 } }, "int32")
    assert.same({ { 2, 2 }, { 3, 4 } }, t:gather(-1, index):totable())
    local classes = mt.tensor({ 1, 3, 3, 1, 3 }, "int32")
    assert.same({ 2, 0, 3 }, mt.zeros({ 3 }, "int32"):scatter_add(1, classes, mt.ones({ 5 }, "int32")):totable())
  end)

  it("leave their arguments alone, and notice when the index changes before backward", function()
    local t = mt.zeros(3)
    local source = mt.ones(2, { requires_grad = true })
    local index = mt.tensor({ 1, 1 }, "int32")
    local sum = t:scatter_add(1, index, source)
    assert.same({ 0.0, 0.0, 0.0 }, t:totable())
    assert.same({ 2.0, 0.0, 0.0 }, sum:totable())
    index[1] = 2
    assert.error_matches(function() sum:sum():backward() end, "a tensor that scatter_add needs was changed in place")
  end)

  it("add in the same order at every thread count", function()
    local threads, results = mt.get_num_threads(), {}
    local index, source = (mt.rand(100000) * 50 + 1):to "int32", mt.randn(100000)
    local rows = { index:reshape(4, 25000), source:reshape(4, 25000) }
    local flat = rows[1] + mt.tensor{ { 0 }, { 1 }, { 2 }, { 3 } }:to "int32" * 50
    for i, n in ipairs{ 1, 3 } do
      mt.set_num_threads(n)
      results[i] = mt.zeros(50):scatter_add(1, index, source):bytes() ..
        mt.zeros(4, 50):scatter_add(2, table.unpack(rows)):bytes()
      assert.equal(mt.zeros(200):scatter_add(1, flat:reshape(100000), source):bytes(), results[i]:sub(201))
    end
    mt.set_num_threads(threads)
    assert.is_true(results[1] == results[2])
  end)

  it("say what is wrong", function()
    local t, source = mt.zeros(2, 3), mt.ones(2, 2)
    local function index(...) return mt.tensor({ ... }, "int32") end
    local function fails(f, message) assert.error_matches(f, message) end
    fails(function() t:gather(2, index({ 1, 4 }, { 1, 1 })) end,
      "gather: element 2 of index is 4, expected 1..3 %(axis 2 of {2,3}%)")
    fails(function() t:gather(2, index({ 0 })) end, "element 1 of index is 0, expected 1..3")
    fails(function() t:gather(2, index(1, 2)) end,
      "gather: index has shape {2}, expected the axes of {2,3}, none longer but axis 2")
    fails(function() t:gather(2, index({ 1 }, { 1 }, { 1 })) end, "index has shape {3,1}")
    fails(function() t:gather(2, mt.ones(2, 2)) end, "gather: index is float32, expected int32")
    fails(function() t:gather(3, index({ 1 })) end, "axis in 1..2")
    fails(function() t:scatter_add(2, index({ 1, 1 }), source) end,
      "scatter_add: source has shape {2,2}, expected {1,2}")
    fails(function() t:scatter_add(2, index({ 1, 1 }, { 1, 1 }), source:to "int32") end,
      "source is int32, expected float32")
    fails(function() t:to("uint8"):scatter_add(2, index({ 1 }), source) end, "the tensor is uint8, expected float32 or")
    fails(function() t:scatter_add(2, index({ 9 }), mt.ones(1, 1)) end, "scatter_add: element 1 of index is 9")
  end)
end)
