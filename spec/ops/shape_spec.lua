--- reshape, squeeze, unsqueeze, permute, transpose, expand, slice, narrow, rows.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local function relabel(shape)
  return function(x)
    return reference.new(shape, function(i) return x[i] end)
  end
end

local function permuted(order)
  return function(x)
    local shape = {}
    for i, axis in ipairs(order) do shape[i] = x.shape[axis] end
    return reference.build(shape, function(p)
      local q = {}
      for i, axis in ipairs(order) do q[axis] = p[i] end
      return x[reference.flat(x.shape, q)]
    end)
  end
end

local function sliced(axis, first, last, step)
  return function(x)
    local shape = { table.unpack(x.shape) }
    shape[axis] = last < first and 0 or (last - first) // step + 1
    return reference.build(shape, function(p)
      p[axis] = first + (p[axis] - 1) * step
      return x[reference.flat(x.shape, p)]
    end)
  end
end

local function check(name, shape, ours, plain)
  it(name .. " matches the reference, values and gradients", function()
    gradcheck.check{ ours = ours, reference = plain, inputs = { { shape = shape } } }
  end)
end

describe("shape", function()
  check("reshape", { 2, 6 }, function(x) return x:reshape(3, 4) end, relabel{ 3, 4 })
  check("reshape with -1", { 2, 6 }, function(x) return x:reshape{ 2, -1, 2 } end, relabel{ 2, 3, 2 })
  check("reshape to no axes", { 1, 1 }, function(x) return x:reshape{} end, relabel{})
  check("squeeze", { 1, 3, 1, 2 }, function(x) return x:squeeze() end, relabel{ 3, 2 })
  check("squeeze of one axis", { 1, 3, 1, 2 }, function(x) return x:squeeze(-2) end, relabel{ 1, 3, 2 })
  check("squeeze of a longer axis", { 1, 3 }, function(x) return x:squeeze(2) end, relabel{ 1, 3 })
  check("unsqueeze in front", { 2, 3 }, function(x) return x:unsqueeze(1) end, relabel{ 1, 2, 3 })
  check("unsqueeze at the end", { 2, 3 }, function(x) return x:unsqueeze(-1) end, relabel{ 2, 3, 1 })
  check("clone", { 2, 3 }, function(x) return x:clone() end, relabel{ 2, 3 })
  check("permute", { 2, 3, 4 }, function(x) return x:permute(3, 1, 2) end, permuted{ 3, 1, 2 })
  check("permute of 6 axes", { 2, 1, 3, 2, 2, 2 }, function(x) return x:permute{ 6, 2, 4, 1, 3, 5 } end,
    permuted{ 6, 2, 4, 1, 3, 5 })
  check("transpose", { 3, 5 }, function(x) return x:transpose() end, permuted{ 2, 1 })
  check("transpose of two axes", { 2, 3, 4 }, function(x) return x:transpose(1, -1) end, permuted{ 3, 2, 1 })
  check("expand", { 3, 1 }, function(x) return x:expand(2, 3, 4) end, function(x)
    return reference.build({ 2, 3, 4 }, function(p) return reference.broadcast_at(x, p) end)
  end)
  check("expand with -1", { 3, 1 }, function(x) return x:expand(-1, 2) end, function(x)
    return reference.build({ 3, 2 }, function(p) return reference.broadcast_at(x, p) end)
  end)
  check("slice", { 5, 3 }, function(x) return x:slice(1, 2, 4) end, sliced(1, 2, 4, 1))
  check("slice of a later axis", { 2, 5, 3 }, function(x) return x:slice(2, -3, -1) end, sliced(2, 3, 5, 1))
  check("slice with a step", { 2, 6 }, function(x) return x:slice(2, 1, 6, 2) end, sliced(2, 1, 6, 2))
  check("slice with defaults", { 7 }, function(x) return x:slice(1, nil, nil, 3) end, sliced(1, 1, 7, 3))
  check("narrow", { 4, 5 }, function(x) return x:narrow(2, 2, 3) end, sliced(2, 2, 4, 1))
  check("narrow from the end", { 4, 5 }, function(x) return x:narrow(1, -2, 2) end, sliced(1, 3, 4, 1))
  check("a row", { 4, 5 }, function(x) return x[-3] end, function(x)
    return reference.build({ 5 }, function(p) return x[reference.flat(x.shape, { 2, p[1] })] end)
  end)
  check("an element", { 4, 5 }, function(x) return x[2][3] end, function(x) return { shape = {}, x[8] } end)
  check("rows used twice", { 3, 2 }, function(x) return x[1] * x[2] + x[1] end, function(x)
    return reference.new({ 2 }, function(i) return x[i] * x[2 + i] + x[i] end)
  end)

  it("moves bytes and integers as well", function()
    local t = mt.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }, "uint8")
    assert.same({ { 1, 4 }, { 2, 5 }, { 3, 6 } }, t:transpose():totable())
    assert.same({ { 1, 4 }, { 2, 5 }, { 3, 6 } }, t:to("int32"):transpose():totable())
    assert.same({ { 2, 3 }, { 5, 6 } }, t:slice(2, 2):totable())
    assert.equal("uint8", t:expand(2, 2, 3):dtype())
  end)

  it("allows empty ranges and empty tensors", function()
    local t = mt.zeros(3, 2)
    assert.same({ 0, 2 }, t:slice(1, 2, 1):shape())
    assert.same({ 3, 0 }, t:narrow(2, 1, 0):shape())
    assert.same({ 0, 2 }, t:narrow(1, 4, 0):shape())
    assert.same({ 5, 0 }, mt.zeros(0, 5):transpose():shape())
    assert.same({ 0, 3 }, mt.zeros(0):reshape(0, 3):shape())
    local x = mt.ones(3, 2, { requires_grad = true })
    x:slice(2, 1, 0):sum():backward()
    assert.same({ { 0.0, 0.0 }, { 0.0, 0.0 }, { 0.0, 0.0 } }, x:grad():totable())
  end)

  it("shares storage for reshape and first-axis ranges", function()
    local t = mt.zeros(2, 3)
    t:reshape(6):fill(1)
    t:narrow(1, 2, 1):fill(2)
    t:unsqueeze(1):squeeze(1):narrow(1, 1, 1)[1][2] = 3
    assert.same({ { 1.0, 3.0, 1.0 }, { 2.0, 2.0, 2.0 } }, t:totable())
  end)

  it("says what is wrong", function()
    local t = mt.zeros(2, 3)
    local function fails(f, message) assert.error_matches(f, message) end
    fails(function() t:reshape(4, 2) end, "reshape: shape is {4,2}, expected as many elements.*{2,3}, 6 elements")
    fails(function() t:reshape(-1, 4) end, "reshape: shape is {%-1,4}, expected sizes that divide")
    fails(function() t:reshape(-1, -1) end, "at most one %-1")
    fails(function() t:reshape(1.5, 4) end, "size >= 0 %(or %-1%) expected, got 1.5")
    fails(function() t:reshape(1, 1, 1, 1, 1, 2, 3) end, "7 axes, expected at most 6")
    fails(function() mt.zeros(0):reshape(-1, 0) end, "divide")
    fails(function() t:permute(1, 1) end, "each axis once expected, got axis 1 twice")
    fails(function() t:permute(1) end, "2 axes expected, got 1")
    fails(function() t:permute(1, 3) end, "axis number 2 of the list: axis in 1..2")
    fails(function() t:transpose(1, 5) end, "axis in 1..2 or %-1..%-2 expected, got 5")
    fails(function() mt.zeros(3):transpose() end, "at least two axes")
    fails(function() t:expand(2, 4) end,
      "expand: shape is {2,4}, expected one that the tensor's shape {2,3} broadcasts to")
    fails(function() t:expand(3) end, "expand: shape is {3}")
    fails(function() t:slice(1, 2, 5) end, "integer in %[%-3, 3%] expected, got 5")
    fails(function() t:slice(1, 2, 3) end, "slice: from 2 to 3, expected a range in 1..2")
    fails(function() t:slice(1, 1, 2, 0) end, "integer >= 1 expected, got 0")
    fails(function() t:narrow(1, 1, 3) end, "integer in %[0, 2%] expected, got 3")
    fails(function() t:unsqueeze(5) end, "axis in 1..3")
    fails(function() mt.zeros(1, 1, 1, 1, 1, 1):unsqueeze(1) end, "6 axes already")
  end)
end)
