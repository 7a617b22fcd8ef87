local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

--- Mean and squared deviations of every channel (the last axis), in double.
local function statistics(x)
  local channels = x.shape[#x.shape]
  local count = #x // channels
  local mean, squares = {}, {}
  for c = 1, channels do
    local sum = 0.0
    for i = c, #x, channels do
      sum = sum + x[i]
    end
    mean[c] = sum / count
    local deviations = 0.0
    for i = c, #x, channels do
      deviations = deviations + (x[i] - mean[c]) ^ 2
    end
    squares[c] = deviations
  end
  return mean, squares, count
end

local function normalise(x, weight, bias, mean, var, options, residual)
  local channels = x.shape[#x.shape]
  return reference.new(x.shape, function(i)
    local c = (i - 1) % channels + 1
    local y = (x[i] - mean[c]) / math.sqrt(var[c] + (options.eps or 1e-5)) * weight[c] + bias[c]
    y = y + (residual and residual[i] or 0.0)
    return options.relu and math.max(y, 0.0) or y
  end)
end

local function batch_norm(x, weight, bias, options, residual)
  local mean, squares, count = statistics(x)
  local var = {}
  for c = 1, #mean do
    var[c] = squares[c] / count
  end
  return normalise(x, weight, bias, mean, var, options, residual)
end

local function to_tensor(array)
  local parts = {}
  for i = 1, #array do
    parts[i] = string.pack("<f", array[i])
  end
  return mt.from_bytes(table.concat(parts), "float32", array.shape)
end

local function random_array(shape, random, low, high)
  return reference.new(shape, function()
    return reference.to_float32(random(low or -1, high or 1))
  end)
end

local function assert_close(tensor, expected, tolerance)
  local distance = reference.relative_error(reference.from_tensor(tensor), expected)
  assert(distance <= tolerance, ("relative error %g"):format(distance))
end

--- Central differences of every input, in training and with fixed statistics.
local function check(shape, options)
  local channels = shape[#shape]
  local inputs = { { shape = shape }, { shape = { channels } }, { shape = { channels } } }
  local mean, var = {}, {}
  for c = 1, channels do
    mean[c], var[c] = reference.to_float32(0.1 * c - 0.3), reference.to_float32(0.5 + 0.1 * c)
  end
  mean.shape, var.shape = { channels }, { channels }
  if options.residual then
    inputs[4] = { shape = shape }
  end
  gradcheck.check {
    ours = function(x, weight, bias, residual)
      local given = {}
      for name, value in pairs(options) do
        given[name] = value
      end
      given.residual = residual
      return mt.batch_norm(x, weight, bias, to_tensor(mean), to_tensor(var), given)
    end,
    reference = function(x, weight, bias, residual)
      if options.training then
        return batch_norm(x, weight, bias, options, residual)
      end
      return normalise(x, weight, bias, mean, var, options, residual)
    end,
    inputs = inputs,
    tolerance_gradient = 1e-5,
  }
end

describe("batch_norm", function()
  local isa, threads = mt.isa(), mt.get_num_threads()

  after_each(function()
    mt.isa(isa)
    mt.set_num_threads(threads)
  end)

  for _, name in ipairs { "avx512", "avx2", "plain" } do
    if pcall(mt.isa, name) then
      mt.isa(isa)
      for _, training in ipairs { true, false } do
        for _, shape in ipairs { { 7, 5 }, { 4, 1 }, { 1, 2, 3, 17 }, { 3, 1, 1, 33 }, { 3, 68 } } do
          for _, extra in ipairs { {}, { relu = true }, { residual = true }, { relu = true, residual = true } } do
            local options = { training = training, relu = extra.relu, residual = extra.residual, eps = 1e-3 }
            it(
              ("has output and gradients of the double reference: %s, {%s}%s%s%s"):format(
                name,
                table.concat(shape, ","),
                training and ", training" or "",
                extra.relu and ", relu" or "",
                extra.residual and ", residual" or ""
              ),
              function()
                mt.isa(name)
                check(shape, options)
              end
            )
          end
        end
      end
    end
  end

  it("moves the running statistics towards the mean and the unbiased variance", function()
    local x = random_array({ 3, 4, 5, 6 }, reference.generator(5))
    local mean, var = mt.full({ 6 }, 2.0), mt.full({ 6 }, 3.0)
    mt.batch_norm(to_tensor(x), mt.ones(6), mt.zeros(6), mean, var, { training = true, momentum = 0.25 })
    local batch_mean, squares, count = statistics(x)
    assert_close(
      mean,
      reference.new({ 6 }, function(c)
        return 0.75 * 2.0 + 0.25 * batch_mean[c]
      end),
      1e-6
    )
    assert_close(
      var,
      reference.new({ 6 }, function(c)
        return 0.75 * 3.0 + 0.25 * squares[c] / (count - 1)
      end),
      1e-6
    )
  end)

  it("leaves the running statistics alone in evaluation", function()
    local mean, var = mt.full({ 2 }, 2.0), mt.full({ 2 }, 4.0)
    local y = mt.batch_norm(mt.full({ 3, 2 }, 6.0), mt.ones(2), mt.zeros(2), mean, var, { eps = 0 })
    assert.are.equal(string.pack("<ffffff", 2, 2, 2, 2, 2, 2), y:bytes())
    assert.are.equal(string.pack("<ff", 2, 2), mean:bytes())
    assert.are.equal(string.pack("<ff", 4, 4), var:bytes())
  end)

  it("keeps its digits where the mean is ten thousand times the deviation", function()
    local random = reference.generator(11)
    local x = random_array({ 4000, 3 }, random, 9999, 10001)
    for i = 1, 3 do -- and where the first value of a block is far off
      x[i] = 20000.0
    end
    local y = mt.batch_norm(to_tensor(x), mt.ones(3), mt.zeros(3), mt.zeros(3), mt.ones(3), { training = true })
    assert_close(y, batch_norm(x, { 1, 1, 1 }, { 0, 0, 0 }, {}), 2e-4)
  end)

  it("gives the same bits with every number of threads", function()
    local random = reference.generator(2)
    local x, g = random_array({ 40, 7, 9, 20 }, random), random_array({ 40, 7, 9, 20 }, random)
    local function run(n)
      mt.set_num_threads(n)
      local leaf, weight = to_tensor(x):requires_grad(true), mt.ones(20):requires_grad(true)
      local bias, mean, var = mt.zeros(20):requires_grad(true), mt.zeros(20), mt.ones(20)
      local y = mt.batch_norm(leaf, weight, bias, mean, var, { training = true, relu = true })
      y:backward(to_tensor(g))
      local all = {}
      for i, t in ipairs { y, mean, var, leaf:grad(), weight:grad(), bias:grad() } do
        all[i] = t:bytes()
      end
      return all
    end
    local one = run(1)
    assert.are.same(one, run(2))
    assert.are.same(one, run(3))
  end)

  it("passes NaN on through the ReLU", function()
    local x = mt.from_bytes(string.pack("<ffff", 1, 2, 0 / 0, -4), "float32", { 2, 2 })
    local y = mt.batch_norm(x, mt.ones(2), mt.zeros(2), mt.zeros(2), mt.ones(2), { relu = true })
    local values = reference.from_tensor(y)
    assert.are_not.equal(values[3], values[3])
    assert.are.equal(0.0, values[4])
  end)

  it("takes an empty batch in evaluation", function()
    local y = mt.batch_norm(mt.zeros(0, 4, 4, 3), mt.ones(3), mt.zeros(3), mt.zeros(3), mt.ones(3))
    assert.are.same({ 0, 4, 4, 3 }, y:shape())
  end)

  it("names the argument, its value and what was expected", function()
    local function message(x, options, weight, bias, mean, var)
      local function or_ones(t)
        return t or mt.ones(3)
      end
      local ok, text = pcall(mt.batch_norm, x, or_ones(weight), or_ones(bias), or_ones(mean), or_ones(var), options)
      assert.is_false(ok)
      return text
    end
    local x = mt.zeros(4, 3)
    assert.matches(
      "batch_norm: input has shape {1,3}, expected more than 1 value per channel when training",
      message(mt.zeros(1, 3), { training = true }),
      1,
      true
    )
    assert.matches("expected more than 1 value per channel", message(mt.zeros(0, 3), { training = true }), 1, true)
    assert.matches("batch_norm: input has shape {3}, expected {...,C}", message(mt.zeros(3)), 1, true)
    assert.matches("batch_norm: input is int32, expected float32", message(x:to "int32"), 1, true)
    assert.matches("batch_norm: weight has shape {2}, expected {3}", message(x, nil, mt.ones(2)), 1, true)
    assert.matches("batch_norm: bias has shape {2}, expected {3}", message(x, nil, nil, mt.ones(2)), 1, true)
    assert.matches("batch_norm: running_mean has shape {1,3}", message(x, nil, nil, nil, mt.ones(1, 3)), 1, true)
    assert.matches("batch_norm: running_var is uint8", message(x, nil, nil, nil, nil, mt.ones(3):to "uint8"), 1, true)
    assert.matches("batch_norm: residual has shape {3,3}", message(x, { residual = mt.zeros(3, 3) }), 1, true)
    assert.matches("option 'eps': number in [0", message(x, { eps = -1 }), 1, true)
    assert.matches("option 'training': boolean expected, got 1", message(x, { training = 1 }), 1, true)
  end)
end)

describe("conv2d_batch_norm", function()
  local threads = mt.get_num_threads()

  after_each(function()
    mt.set_num_threads(threads)
  end)

  --- Runs a function of fresh leaves; gives the output, the running statistics and all gradients.
  local function run(f, residual_shape)
    local random = reference.generator(9)
    local leaves = {}
    for i, shape in ipairs { { 6, 7, 9, 5 }, { 3, 3, 5, 17 }, { 17 }, { 17 }, { 17 }, residual_shape } do
      leaves[i] = to_tensor(random_array(shape, random)):requires_grad(true)
    end
    local mean, var = mt.full({ 17 }, 0.25), mt.full({ 17 }, 1.5)
    local y = f(leaves[1], leaves[2], leaves[3], leaves[4], leaves[5], mean, var, leaves[6])
    y:backward(to_tensor(random_array(y:shape(), random)))
    local results = { y, mean, var }
    for _, leaf in ipairs(leaves) do
      results[#results + 1] = leaf:grad()
    end
    return results
  end

  for _, training in ipairs { true, false } do
    for _, relu in ipairs { true, false } do
      for _, residual in ipairs { true, false } do
        it(
          ("equals the two operations: %s%s%s"):format(
            training and "training" or "evaluation",
            relu and ", relu" or "",
            residual and ", residual" or ""
          ),
          function()
            local shape = residual and { 6, 4, 5, 17 } or nil
            local separate = run(function(x, w, b, weight, bias, mean, var, r)
              local z = mt.conv2d(x, w, b, { stride = 2, padding = 1 })
              return mt.batch_norm(z, weight, bias, mean, var, { training = training, relu = relu, residual = r })
            end, shape)
            local fused = run(function(x, w, b, weight, bias, mean, var, r)
              local options = { stride = 2, padding = 1, training = training, relu = relu, residual = r }
              return mt.conv2d_batch_norm(x, w, b, weight, bias, mean, var, options)
            end, shape)
            for i = 1, #separate do
              if i == 6 and training then -- a bias before batch norm has no effect: rounding errors about zero
                assert.is_true(fused[i]:numel() == 17)
                for _, value in ipairs(reference.from_tensor(fused[i])) do
                  assert.is_true(math.abs(value) < 1e-3)
                end
              else
                assert_close(fused[i], reference.from_tensor(separate[i]), 1e-5)
              end
            end
          end
        )
      end
    end
  end

  it("folds the normalisation into the weights where nothing needs a parameter's gradient", function()
    local random = reference.generator(4)
    local function tensor(...)
      return to_tensor(random_array({ ... }, random))
    end
    local w, b, weight, bias = tensor(3, 3, 5, 17), tensor(17), tensor(17), tensor(17)
    local mean, var, x, r = tensor(17), mt.full({ 17 }, 0.7), tensor(2, 7, 9, 5), tensor(2, 7, 9, 17)
    local g = tensor(2, 7, 9, 17)
    for _, residual in ipairs { false, r } do
      local options = { padding = 1, relu = true, residual = residual or nil }
      local expected = mt.batch_norm(
        mt.conv2d(x, w, b, { padding = 1 }),
        weight,
        bias,
        mean,
        var,
        { relu = true, residual = residual or nil }
      )
      local got = mt.conv2d_batch_norm(x, w, b, weight, bias, mean, var, options)
      assert_close(got, reference.from_tensor(expected), 1e-5)
    end
    local function input_gradient(f)
      local leaf = mt.from_bytes(x:bytes(), "float32", x:shape()):requires_grad(true)
      f(leaf):backward(g)
      return leaf:grad()
    end
    local expected = input_gradient(function(leaf)
      return mt.batch_norm(mt.conv2d(leaf, w, nil, { padding = 1 }), weight, bias, mean, var, { relu = true })
    end)
    local got = input_gradient(function(leaf)
      return mt.conv2d_batch_norm(leaf, w, nil, weight, bias, mean, var, { padding = 1, relu = true })
    end)
    assert_close(got, reference.from_tensor(expected), 1e-5)
  end)

  it("checks both halves", function()
    local ones = mt.ones(4)
    local function message(x, w, weight, options)
      local ok, text = pcall(mt.conv2d_batch_norm, x, w, nil, weight, ones, ones, ones, options)
      assert.is_false(ok)
      return text
    end
    local x, w = mt.zeros(1, 3, 3, 2), mt.zeros(3, 3, 2, 4)
    assert.matches("conv2d: input has 5 channels", message(mt.zeros(1, 3, 3, 5), w, ones), 1, true)
    assert.matches("batch_norm: weight has shape {5}, expected {4}", message(x, w, mt.ones(5)), 1, true)
    assert.matches("more than 1 value per channel", message(x, w, ones, { training = true }), 1, true)
  end)
end)
