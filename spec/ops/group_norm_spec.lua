local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local eps = 1e-5

--- The elements of each group, and each element's place in weight and bias: what does not change from call to call.
local function plan_of(shape, group_of, affine_of)
  local groups, names, places = {}, {}, {}
  for i = 1, reference.count(shape) do
    local position = reference.coordinates(shape, i)
    local name = group_of(position)
    if not groups[name] then names[#names + 1], groups[name] = name, {} end
    table.insert(groups[name], i)
    places[i] = affine_of(position)
  end
  return groups, names, places
end

local function normaliser(shape, group_of, affine_of)
  local groups, names, places = plan_of(shape, group_of, affine_of)
  return function(x, weight, bias)
    local y = { shape = shape }
    for _, name in ipairs(names) do
      local members, mean, var = groups[name], 0.0, 0.0
      for _, i in ipairs(members) do mean = mean + x[i] / #members end
      for _, i in ipairs(members) do var = var + (x[i] - mean) ^ 2 / #members end
      for _, i in ipairs(members) do
        local place = places[i]
        y[i] = (x[i] - mean) / math.sqrt(var + eps) * (weight and weight[place] or 1.0) + (bias and bias[place] or 0.0)
      end
    end
    return y
  end
end

local function last(position) return position[#position] end

local function group_norm(shape, groups)
  local size = last(shape) // groups
  return normaliser(shape, function(at) return at[1] .. "/" .. (last(at) - 1) // size end, last)
end

local function layer_norm(shape, over)
  local leading = #shape - #over
  return normaliser(shape, function(at) return table.concat(at, ",", 1, leading) end, function(at)
    return reference.flat(over, { table.unpack(at, leading + 1) })
  end)
end

describe("normalisation within samples", function()
  local threads = mt.get_num_threads()
  after_each(function() mt.set_num_threads(threads) end)

  for _, case in ipairs{
    { { 3, 2, 3, 6 }, 1 }, { { 2, 3, 5, 6 }, 3 }, { { 2, 3, 1, 10 }, 2 }, { { 4, 12 }, 4 }, { { 2, 7, 9 }, 9 },
    { { 1, 2, 2, 3, 4 }, 2 },
  } do
    local shape, groups = table.unpack(case)
    it(("group_norm of {%s} in %d groups, with its gradients"):format(table.concat(shape, ","), groups), function()
      gradcheck.check{
        ours = function(x, weight, bias) return mt.group_norm(x, groups, weight, bias) end,
        reference = group_norm(shape, groups),
        inputs = { { shape = shape, low = -1, high = 3 }, { shape = { last(shape) } }, { shape = { last(shape) } } },
      }
      gradcheck.check{
        ours = function(x) return mt.group_norm(x, groups) end,
        reference = group_norm(shape, groups),
        inputs = { { shape = shape } },
      }
    end)
  end

  it("instance_norm is one with a group for every channel", function()
    gradcheck.check{
      ours = mt.instance_norm,
      reference = group_norm({ 3, 4, 3, 5 }, 5),
      inputs = { { shape = { 3, 4, 3, 5 } }, { shape = { 5 } }, { shape = { 5 } } },
    }
    gradcheck.check{
      ours = function(x, bias) return mt.instance_norm(x, nil, bias) end,
      reference = function(x, bias) return group_norm({ 2, 3, 3, 2 }, 2)(x, nil, bias) end,
      inputs = { { shape = { 2, 3, 3, 2 } }, { shape = { 2 } } },
    }
  end)

  for _, case in ipairs{
    { { 3, 7 }, { 7 } }, { { 2, 3, 4, 5 }, { 5 } }, { { 2, 3, 4, 5 }, { 3, 4, 5 } }, { { 6 }, { 6 } },
    { { 35, 18 }, { 18 } },
  } do
    local shape, over = table.unpack(case)
    it(("layer_norm of {%s} over {%s}"):format(table.concat(shape, ","), table.concat(over, ",")), function()
      gradcheck.check{
        ours = function(x, weight, bias) return mt.layer_norm(x, over, weight, bias) end,
        reference = layer_norm(shape, over),
        inputs = { { shape = shape, low = 0, high = 4 }, { shape = over }, { shape = over } },
      }
    end)
  end

  it("layer_norm takes eps, a number as the shape, and either of weight and bias alone", function()
    local x = mt.tensor{ { 1, 3 }, { -2, 2 } }
    local expected = mt.tensor{ { -1 / math.sqrt(2), 1 / math.sqrt(2) }, { -2 / math.sqrt(5), 2 / math.sqrt(5) } }
    assert.is_true((mt.layer_norm(x, 2, nil, nil, { eps = 1 }) - expected):abs():max():item() < 1e-6)
    local weight = mt.ones(2):requires_grad(true)
    mt.layer_norm(x, 2, weight):sum():backward()
    assert.is_not_nil(weight:grad())
    local bias = mt.ones(2):requires_grad(true)
    mt.layer_norm(x, 2, nil, bias):sum():backward()
    assert.same({ 2, 2 }, bias:grad():totable())
  end)

  it("keeps its accuracy where the mean is large, and with many pixels", function()
    local x = mt.randn(1, 60, 60, 3) + 1000
    local y = mt.instance_norm(x)
    assert.is_true(math.abs(y:mean():item()) < 1e-4)
    assert.is_true(math.abs((y * y):mean():item() - 1) < 1e-3)
  end)

  it("gives the same bits with every number of threads", function()
    local values, g = mt.randn(7, 12, 13, 48), mt.randn(7, 12, 13, 48)
    local function run(n)
      mt.set_num_threads(n)
      local x = values:clone():requires_grad(true)
      local w, b = mt.ones(48):requires_grad(true), mt.zeros(48):requires_grad(true)
      local y = mt.group_norm(x, 6, w, b)
      y:backward(g)
      return { y:bytes(), x:grad():bytes(), w:grad():bytes(), b:grad():bytes() }
    end
    local one = run(1)
    assert.same(one, run(2))
    assert.same(one, run(3))
  end)

  for _, shape in ipairs{ { 203, 300 }, { 37, 4131 } } do
    it(("layer_norm of %d rows of %d does, and adds up all of them"):format(shape[1], shape[2]), function()
      local n = shape[2]
      local values, g = mt.randn(shape[1], n), mt.randn(shape[1], n)
      local function run(count, wanted)
        mt.set_num_threads(count)
        local x, w = values:clone():requires_grad(wanted), (mt.ones(n) * 2):requires_grad(true)
        local b = mt.zeros(n):requires_grad(true)
        mt.layer_norm(x, n, w, b):backward(g)
        return { w:grad():bytes(), b:grad():bytes(), wanted and x:grad():bytes() }, w:grad(), b:grad()
      end
      local one, dw, db = run(1, true)
      assert.same(one, run(2, true))
      assert.same(one, run(3, true))
      assert.same({ one[1], one[2], false }, run(2, false))
      assert.is_true((db - g:sum(1)):abs():max():item() < 1e-4)
      assert.is_true((dw - (g * mt.layer_norm(values, n)):sum(1)):abs():max():item() < 1e-4)
    end)
  end

  it("takes an empty batch and no channels", function()
    local w = mt.ones(4):requires_grad(true)
    local y = mt.group_norm(mt.zeros(0, 3, 3, 4), 2, w)
    assert.same({ 0, 3, 3, 4 }, y:shape())
    y:backward(mt.zeros(0, 3, 3, 4))
    assert.same({ 0, 0, 0, 0 }, w:grad():totable())
    assert.same({ 2, 3, 3, 0 }, mt.instance_norm(mt.zeros(2, 3, 3, 0)):shape())
    assert.same({ 2, 0 }, mt.layer_norm(mt.zeros(2, 0), 0):shape())
  end)

  it("names the argument, its value and what was expected", function()
    local x = mt.zeros(2, 3, 3, 4)
    local function fails(pattern, f, ...)
      local ok, message = pcall(f, ...)
      assert.is_false(ok)
      assert.matches(pattern, message, 1, true)
    end
    fails("group_norm: groups is 3, expected a divisor of the input's 4 channels", mt.group_norm, x, 3)
    fails("group_norm: input has shape {4}, expected {N,...,C}", mt.group_norm, mt.zeros(4), 2)
    fails("group_norm: input is uint8, expected float32", mt.group_norm, x:to "uint8", 2)
    fails("group_norm: weight has shape {3}, expected {4}", mt.group_norm, x, 2, mt.ones(3))
    fails("group_norm: bias is int32, expected float32", mt.group_norm, x, 2, nil, mt.ones(4):to "int32")
    fails("bad argument #2 to 'group_norm' (integer in [1, ", mt.group_norm, x, 0)
    fails("unknown option 'epsilon'", mt.group_norm, x, 2, nil, nil, { epsilon = 1 })
    fails("instance_norm: input has shape {2,1,1,4}, expected more than one pixel", mt.instance_norm,
      mt.zeros(2, 1, 1, 4))
    fails("layer_norm: input has shape {2,3,3,4}, expected it to end in {3}", mt.layer_norm, x, 3)
    fails("layer_norm: input has shape {2,3,3,4}, expected it to end in {1,2,3,3,4}", mt.layer_norm, x,
      { 1, 2, 3, 3, 4 })
    fails("layer_norm: weight has shape {4}, expected {3,4}", mt.layer_norm, x, { 3, 4 }, mt.ones(4))
    fails("one size or more expected", mt.layer_norm, x, {})
  end)
end)
