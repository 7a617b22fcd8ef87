local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

--- Pooling by PyTorch's borders, where `rule` makes a value of the list of values in a window.
local function pooler(shape, size, rule)
  local n, h, w, channels = table.unpack(shape)
  local windows = reference.build({ n, size[1], size[2], channels }, function(at)
    local places = {}
    for iy = (at[2] - 1) * h // size[1], (at[2] * h + size[1] - 1) // size[1] - 1 do
      for ix = (at[3] - 1) * w // size[2], (at[3] * w + size[2] - 1) // size[2] - 1 do
        places[#places + 1] = reference.flat(shape, { at[1], iy + 1, ix + 1, at[4] })
      end
    end
    return places
  end)
  return function(x)
    return reference.map(windows, function(places)
      local values = {}
      for i, place in ipairs(places) do values[i] = x[place] end
      return rule(values)
    end)
  end
end

local function mean(values)
  local sum = 0.0
  for _, value in ipairs(values) do sum = sum + value end
  return sum / #values
end

local function largest(values) return math.max(table.unpack(values)) end

--- Values that are all different, far apart for central differences.
local function distinct(shape)
  local count = reference.count(shape)
  return { shape = shape, values = reference.new(shape, function(i)
    return reference.to_float32((i * 7919 % count) / count - 0.5)
  end) }
end

describe("adaptive pooling", function()
  local isa, threads = mt.isa(), mt.get_num_threads()
  after_each(function()
    mt.isa(isa)
    mt.set_num_threads(threads)
  end)

  for _, case in ipairs{
    { { 2, 7, 9, 5 }, { 1, 1 } }, { { 1, 7, 9, 3 }, { 3, 4 } }, { { 2, 5, 4, 3 }, { 5, 2 } },
    { { 1, 3, 2, 4 }, { 7, 7 } },
  } do
    local shape, size = table.unpack(case)
    it(("agrees with plain loops, with its gradients: {%s} to %d x %d"):format(table.concat(shape, ","), size[1],
      size[2]), function()
      for f, rule in pairs{ [mt.adaptive_avg_pool2d] = mean, [mt.adaptive_max_pool2d] = largest } do
        gradcheck.check{
          ours = function(x) return f(x, size) end,
          reference = pooler(shape, size, rule),
          inputs = { distinct(shape) },
        }
      end
    end)
  end

  it("takes one number for both sizes, and \"input\" for the input's own", function()
    local x = mt.rand(1, 6, 4, 2)
    assert.same({ 1, 3, 3, 2 }, mt.adaptive_avg_pool2d(x, 3):shape())
    assert.same({ 1, 6, 2, 2 }, mt.adaptive_max_pool2d(x, { "input", 2 }):shape())
    assert.equal(x:bytes(), mt.adaptive_avg_pool2d(x, "input"):bytes())
  end)

  it("is the mean of whole images for a size of 1, and lets a NaN win", function()
    local x = mt.randn(3, 50, 41, 20)
    local difference = mt.adaptive_avg_pool2d(x, 1):reshape(3, 20) - mt.global_avg_pool(x)
    assert.is_true(difference:abs():max():item() < 1e-6)
    local nan = mt.tensor{ 1, 0 / 0, 3, 2 }:reshape(1, 1, 4, 1)
    local y = mt.adaptive_max_pool2d(nan, { 1, 2 }):reshape(2):totable()
    assert.are_not.equal(y[1], y[1])
    assert.equal(3, y[2])
  end)

  it("gives the first among equals the whole gradient", function()
    local x = mt.ones(1, 2, 2, 1):requires_grad(true)
    mt.adaptive_max_pool2d(x, 1):sum():backward()
    assert.same({ 1, 0, 0, 0 }, x:grad():reshape(4):totable())
  end)

  it("gives the same bits with every number of threads", function()
    local values = mt.randn(5, 30, 31, 20)
    local function run(n)
      mt.set_num_threads(n)
      local all = {}
      for _, f in ipairs{ mt.adaptive_avg_pool2d, mt.adaptive_max_pool2d } do
        local x = values:clone():requires_grad(true)
        local y = f(x, { 7, 4 })
        y:backward(y:detach())
        all[#all + 1], all[#all + 2] = y:bytes(), x:grad():bytes()
      end
      return all
    end
    local one = run(1)
    assert.same(one, run(2))
    assert.same(one, run(3))
  end)

  it("names the argument, its value and what was expected", function()
    local x = mt.zeros(1, 4, 5, 3)
    local function fails(pattern, ...)
      local ok, message = pcall(mt.adaptive_avg_pool2d, ...)
      assert.is_false(ok)
      assert.matches(pattern, message, 1, true)
    end
    fails("adaptive_avg_pool2d: input has shape {4,5,3}, expected {N,H,W,C}", mt.zeros(4, 5, 3), 1)
    fails("adaptive_avg_pool2d: input is uint8, expected float32", x:to "uint8", 1)
    fails("adaptive_avg_pool2d: input has shape {1,0,5,3}, expected at least one pixel", mt.zeros(1, 0, 5, 3), 1)
    fails("bad argument #2 to 'adaptive_avg_pool2d' (integer in [1, 1073741824] or \"input\", or two of them, "
      .. "expected, "
      .. "got 0)", x, 0)
    fails("got no value", x)
    fails("got 'all'", x, { 1, "all" })
    fails("{height, width} expected", x, { 1 })
  end)
end)
