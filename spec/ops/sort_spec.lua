--- sort, argsort and topk.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local nan, inf = 0 / 0, math.huge

--- The places of one row's elements in order, by definition: NaN is the largest, equal ones stay in their order.
local function order_of(values, descending)
  local places = {}
  for i = 1, #values do places[i] = i end
  local function above(a, b) return a ~= a and b == b or a > b end
  table.sort(places, function(i, j)
    local a, b = values[i], values[j]
    if descending then a, b = b, a end
    if above(b, a) then return true end
    return not above(a, b) and i < j
  end)
  return places
end

--- The first k elements of an axis in order.
local function sorted(x, axis, k, descending)
  local shape = { table.unpack(x.shape) }
  shape[axis] = k
  return reference.build(shape, function(p)
    local row, place = {}, p[axis]
    for i = 1, x.shape[axis] do
      p[axis] = i
      row[i] = x[reference.flat(x.shape, p)]
    end
    return row[order_of(row, descending)[place]]
  end)
end

local shapes = { { { 7 }, 1 }, { { 3, 5 }, 2 }, { { 3, 5 }, 1 }, { { 2, 6, 3 }, -2 }, { { 2, 1, 2, 3, 1, 4 }, 4 } }

describe("sort", function()
  for _, case in ipairs(shapes) do
    for _, descending in ipairs{ false, true } do
      local shape, axis = table.unpack(case)
      local along = axis < 0 and #shape + 1 + axis or axis
      it(("of {%s} along %d%s matches the reference, values and gradients"):format(table.concat(shape, ","), axis,
        descending and ", descending" or ""), function()
        gradcheck.check{
          ours = function(x) return (x:sort(axis, { descending = descending })) end,
          reference = function(x) return sorted(x, along, shape[along], descending) end,
          inputs = { { shape = shape } },
        }
      end)
    end
  end

  it("gives the positions, as argsort does", function()
    local x = mt.randn(4, 30)
    local values, positions = x:sort()
    assert.equal("int32", positions:dtype())
    assert.equal(values:bytes(), x:gather(2, positions):bytes())
    assert.equal(positions:bytes(), x:argsort():bytes())
    assert.equal(x:argsort(2, { descending = true }):bytes(), select(2, x:sort{ descending = true }):bytes())
  end)

  for _, descending in ipairs{ false, true } do
    it("keeps equal elements in their order and puts NaN above everything, descending = " .. tostring(descending),
      function()
        local values = { 3, nan, -0.0, 1, 0.0, inf, nan, 1, -inf, 3, 0.0, -1 }
        local _, positions = mt.tensor(values):sort{ descending = descending }
        assert.same(order_of(values, descending), positions:totable())
      end)
  end

  it("sorts integers, also at their ends", function()
    local numbers = mt.tensor({ 5, -2147483648, 2147483647, 0, -1, 5 }, "int32")
    local values, positions = numbers:sort()
    assert.same({ -2147483648, -1, 0, 5, 5, 2147483647 }, values:totable())
    assert.same({ 2, 5, 4, 1, 6, 3 }, positions:totable())
    assert.same({ 255, 7, 7, 0 }, (mt.tensor({ 7, 255, 0, 7 }, "uint8"):sort{ descending = true }):totable())
  end)

  it("sorts long rows, the same at every thread count", function()
    local x = mt.randn(3, 20001)
    local values, positions = x:sort()
    assert.equal(1, (values:narrow(2, 2, 20000):ge(values:narrow(2, 1, 20000))):all():item())
    assert.equal(values:bytes(), x:gather(2, positions):bytes())
    local threads = mt.get_num_threads()
    mt.set_num_threads(3)
    local again, places = x:sort()
    mt.set_num_threads(threads)
    assert.equal(values:bytes(), again:bytes())
    assert.equal(positions:bytes(), places:bytes())
  end)

  it("of nothing is nothing", function()
    local values, positions = mt.zeros(0, 3):sort(1)
    assert.same({ 0, 3 }, values:shape())
    assert.same({ 0, 3 }, positions:shape())
    assert.same({ 2, 0 }, mt.zeros(2, 0):argsort():shape())
  end)

  it("says what is wrong", function()
    local function fails(f, message) assert.error_matches(f, message) end
    fails(function() mt.ones(2):sort(2) end, "axis in 1..1")
    fails(function() mt.tensor(1):sort() end, "at least one axis expected")
    fails(function() mt.ones(2):sort{ reverse = true } end, "unknown option 'reverse', expected one of: descending")
    fails(function() mt.ones(2):sort(1, { descending = 1 }) end, "option 'descending': boolean expected, got 1")
  end)
end)

describe("topk", function()
  for _, case in ipairs(shapes) do
    for _, largest in ipairs{ false, true } do
      local shape, axis = table.unpack(case)
      local along = axis < 0 and #shape + 1 + axis or axis
      for k = 0, shape[along] do
        it(("%d of {%s} along %d, largest = %s, matches the reference"):format(k, table.concat(shape, ","), axis,
          tostring(largest)), function()
          gradcheck.check{
            ours = function(x) return (x:topk(k, axis, { largest = largest })) end,
            reference = function(x) return sorted(x, along, k, largest) end,
            inputs = { { shape = shape } },
          }
        end)
      end
    end
  end

  it("is the beginning of sort, also among equals and NaN", function()
    local values = { 3, nan, 1, 3, 2, nan, 3, 1 }
    for _, largest in ipairs{ false, true } do
      for k = 1, 8 do
        local _, positions = mt.tensor(values):topk(k, { largest = largest })
        assert.same({ table.unpack(order_of(values, largest), 1, k) }, positions:totable())
      end
    end
    local x = mt.randn(1000)
    local _, few = x:topk(17)
    assert.same({ table.unpack(x:argsort{ descending = true }:totable(), 1, 17) }, few:totable())
  end)

  it("says what is wrong", function()
    local function fails(f, message) assert.error_matches(f, message) end
    fails(function() mt.ones(2):topk(3) end, "integer in %[0, 2%] expected, got 3")
    fails(function() mt.ones(2):topk() end, "integer in %[0, 2%] expected, got no value")
    fails(function() mt.ones(2, 3):topk(1, 3) end, "axis in 1..2")
    fails(function() mt.ones(2):topk(1, { sorted = true }) end, "unknown option 'sorted', expected one of: largest")
  end)
end)
