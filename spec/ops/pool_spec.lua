local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local function pair(value)
  if type(value) == "table" then
    return value[1], value[2]
  end
  return value, value
end

--- The number of windows along an axis, by PyTorch's rules.
local function count_windows(size, kernel, stride, padding, dilation, ceil_mode)
  local span = size + 2 * padding - dilation * (kernel - 1) - 1
  if not ceil_mode then return span // stride + 1 end
  local count = (span + stride - 1) // stride + 1
  return (count - 1) * stride >= size + padding and count - 1 or count
end

--- Calls visit(output index, indices of the inputs in its window, the window's area) for every window, in plain Lua.
local function each_window(shape, options, visit)
  local kh, kw = pair(options.kernel)
  local sy, sx = pair(options.stride or options.kernel)
  local py, px = pair(options.padding or 0)
  local dy, dx = pair(options.dilation or 1)
  local n, h, w, channels = table.unpack(shape)
  local out = { n, count_windows(h, kh, sy, py, dy, options.ceil_mode),
    count_windows(w, kw, sx, px, dx, options.ceil_mode), channels }
  for i = 1, reference.count(out) do
    local at = reference.coordinates(out, i)
    local inputs, area = {}, 0
    for ky = 1, kh do
      for kx = 1, kw do
        local iy, ix = (at[2] - 1) * sy - py + (ky - 1) * dy + 1, (at[3] - 1) * sx - px + (kx - 1) * dx + 1
        local inside = iy >= 1 and iy <= h and ix >= 1 and ix <= w
        if inside then
          inputs[#inputs + 1] = reference.flat(shape, { at[1], iy, ix, at[4] })
        end
        local padded = iy >= 1 - py and iy <= h + py and ix >= 1 - px and ix <= w + px
        area = area + ((options.count_include_pad == false and inside or options.count_include_pad ~= false and padded)
          and 1 or 0)
      end
    end
    visit(i, inputs, area)
  end
  return out
end

--- Each window's value, and the weight of each of its inputs in it (which is also its share of the gradient).
local function largest(x, inputs)
  local winner = inputs[1]
  for _, i in ipairs(inputs) do
    winner = x[i] > x[winner] and i or winner
  end
  return { [winner] = 1.0 }
end

local function average(_, inputs, area)
  local weights = {}
  for _, i in ipairs(inputs) do
    weights[i] = 1.0 / area
  end
  return weights
end

local function zeros(shape)
  return reference.new(shape, function()
    return 0.0
  end)
end

local function pool(x, options, rule)
  local values = {}
  values.shape = each_window(x.shape, options, function(out, inputs, area)
    values[out] = 0.0
    for i, weight in pairs(rule(x, inputs, area)) do
      values[out] = values[out] + weight * x[i]
    end
  end)
  return values
end

--- The gradient of sum(g * pool(x)).
local function pool_gradient(x, options, rule, g)
  local gradient = zeros(x.shape)
  each_window(x.shape, options, function(out, inputs, area)
    for i, weight in pairs(rule(x, inputs, area)) do
      gradient[i] = gradient[i] + weight * g[out]
    end
  end)
  return gradient
end

local function to_tensor(array)
  local parts = {}
  for i = 1, #array do
    parts[i] = string.pack("<f", array[i])
  end
  return mt.from_bytes(table.concat(parts), "float32", array.shape)
end

local function assert_close(what, tensor, expected)
  local got = reference.from_tensor(tensor)
  assert.are.same(expected.shape, got.shape)
  local distance = reference.relative_error(got, expected)
  assert(distance <= 1e-6, ("%s: relative error %g"):format(what, distance))
end

local function check(f, shape, options, rule)
  local random = reference.generator(3)
  local x = reference.new(shape, function()
    return reference.to_float32(random(-1, 1))
  end)
  local leaf = to_tensor(x):requires_grad(true)
  local y = f(leaf, options)
  local expected = pool(x, options, rule)
  assert_close("output", y, expected)
  local g = reference.new(expected.shape, function()
    return reference.to_float32(random(-1, 1))
  end)
  y:backward(to_tensor(g))
  assert_close("gradient", leaf:grad(), pool_gradient(x, options, rule, g))
end

--- Values that are all different, far apart for central differences.
local function distinct(shape)
  local count = reference.count(shape)
  return reference.new(shape, function(i)
    return reference.to_float32((i * 7919 % count) / count - 0.5)
  end)
end

local cases = {
  { { 1, 4, 6, 5 }, { kernel = 2 } },
  { { 2, 7, 9, 5 }, { kernel = 2 } },
  { { 1, 7, 9, 17 }, { kernel = 3, stride = 2, padding = 1 } },
  { { 1, 5, 5, 3 }, { kernel = 3, stride = 1, padding = 1 } },
  { { 1, 5, 6, 16 }, { kernel = 2, stride = 3 } },
  { { 1, 5, 6, 33 }, { kernel = { 1, 4 }, stride = { 2, 1 }, padding = { 0, 2 } } },
  { { 2, 4, 3, 1 }, { kernel = { 4, 3 } } },
  { { 1, 18, 17, 2 }, { kernel = 17, stride = 1 } }, -- more places in a window than a byte can count
  { { 2, 7, 9, 5 }, { kernel = 2, ceil_mode = true } },
  { { 1, 7, 8, 17 }, { kernel = 3, stride = 2, ceil_mode = true } },
  { { 1, 6, 9, 3 }, { kernel = 3, stride = { 2, 3 }, padding = 1, ceil_mode = true } },
  { { 1, 4, 5, 3 }, { kernel = { 2, 3 }, stride = 4, padding = 1, ceil_mode = true } }, -- a last window left out
}

local max_cases = {
  { { 1, 9, 8, 5 }, { kernel = 3, stride = 1, dilation = 2 } },
  { { 2, 9, 11, 16 }, { kernel = 2, stride = 2, dilation = 3, padding = 1 } },
  { { 1, 9, 11, 3 }, { kernel = { 2, 3 }, stride = { 4, 5 }, dilation = { 3, 2 }, ceil_mode = true } },
}

local avg_cases = {
  { { 1, 7, 9, 17 }, { kernel = 3, stride = 2, padding = 1, count_include_pad = false } },
  { { 2, 6, 5, 3 }, {
    kernel = { 3, 4 }, stride = 2, padding = { 1, 2 }, count_include_pad = false, ceil_mode = true,
  } },
}

describe("pooling", function()
  local isa, threads = mt.isa(), mt.get_num_threads()

  after_each(function()
    mt.isa(isa)
    mt.set_num_threads(threads)
  end)

  for _, name in ipairs { "avx512", "avx2", "plain" } do
    if pcall(mt.isa, name) then
      mt.isa(isa)
      local function text(case)
        local parts = { "{" .. table.concat(case[1], ",") .. "}" }
        for _, option in ipairs{ "kernel", "stride", "padding", "dilation", "ceil_mode", "count_include_pad" } do
          local value = case[2][option]
          if type(value) == "table" then value = table.concat(value, "x") end
          if value ~= nil then parts[#parts + 1] = option .. " " .. tostring(value) end
        end
        return table.concat(parts, ", ") .. ", on " .. name
      end

      local function each(f, rule, sentence, ...)
        for _, list in ipairs{ ... } do
          for _, case in ipairs(list) do
            it(sentence .. text(case), function()
              mt.isa(name)
              check(f, case[1], case[2], rule)
            end)
          end
        end
      end
      each(mt.max_pool2d, largest, "takes maxima and gives the winner the gradient: ", cases, max_cases)
      each(mt.avg_pool2d, average, "takes means and spreads the gradient: ", cases, avg_cases)

      it("takes the mean of whole images on " .. name, function()
        mt.isa(name)
        gradcheck.check {
          ours = mt.global_avg_pool,
          reference = function(x)
            local n, h, w, channels = table.unpack(x.shape)
            local means = pool(x, { kernel = { h, w } }, average)
            means.shape = { n, channels }
            return means
          end,
          inputs = { { shape = { 2, 2, 3, 19 } } },
        }
      end)
    end
  end

  it("has the gradients that central differences give", function()
    local shape, options = { 1, 5, 6, 2 }, { kernel = 3, stride = 2, padding = 1 }
    for f, rule in pairs { [mt.max_pool2d] = largest, [mt.avg_pool2d] = average } do
      gradcheck.check {
        ours = function(x)
          return f(x, options)
        end,
        reference = function(x)
          return pool(x, options, rule)
        end,
        inputs = { { shape = shape, values = distinct(shape) } },
      }
    end
  end)

  it("lets a NaN win, and padding never", function()
    local nan = 0 / 0
    local x = mt.from_bytes(string.pack("<ffff", -3, nan, -2, -1), "float32", { 1, 1, 4, 1 })
    local y = reference.from_tensor(mt.max_pool2d(x, { kernel = { 1, 2 } }))
    assert.are_not.equal(y[1], y[1])
    assert.are.equal(-1.0, y[2])
    local all_negative = mt.max_pool2d(mt.full({ 1, 3, 3, 1 }, -5.0), { kernel = 3, stride = 2, padding = 1 })
    assert.are.equal(string.pack("<ffff", -5, -5, -5, -5), all_negative:bytes())
  end)

  it("gives the first among equals the whole gradient", function()
    local x = mt.ones(1, 2, 2, 1):requires_grad(true)
    mt.max_pool2d(x):backward(mt.ones(1, 1, 1, 1))
    assert.are.equal(string.pack("<ffff", 1, 0, 0, 0), x:grad():bytes())
  end)

  it("gives the same bits with every number of threads", function()
    local values, g = mt.randn(3, 30, 31, 20), mt.randn(3, 15, 15, 20)
    local function run(n)
      mt.set_num_threads(n)
      local all = {}
      for _, f in ipairs { mt.max_pool2d, mt.avg_pool2d } do
        local x = mt.from_bytes(values:bytes(), "float32", values:shape()):requires_grad(true)
        local y = f(x, { kernel = 3, stride = 2 })
        y:backward(mt.from_bytes(g:bytes():sub(1, y:numel() * 4), "float32", y:shape()))
        all[#all + 1], all[#all + 2] = y:bytes(), x:grad():bytes()
      end
      all[#all + 1] = mt.global_avg_pool(values):bytes()
      return all
    end
    local one = run(1)
    assert.are.same(one, run(2))
    assert.are.same(one, run(3))
  end)

  it("takes an empty batch and no channels", function()
    local x = mt.zeros(0, 4, 4, 3):requires_grad(true)
    local y = mt.max_pool2d(x)
    assert.are.same({ 0, 2, 2, 3 }, y:shape())
    y:backward(mt.zeros(0, 2, 2, 3))
    assert.are.same({ 0, 4, 4, 3 }, x:grad():shape())
    assert.are.same({ 0, 3 }, mt.global_avg_pool(mt.zeros(0, 4, 4, 3)):shape())
    assert.are.same({ 2, 2, 2, 0 }, mt.avg_pool2d(mt.zeros(2, 4, 4, 0)):shape())
  end)

  it("names the argument, its value and what was expected", function()
    local x = mt.zeros(1, 4, 5, 3)
    local function message(f, ...)
      local ok, text = pcall(f, ...)
      assert.is_false(ok)
      return text
    end
    for name, f in pairs { max_pool2d = mt.max_pool2d, avg_pool2d = mt.avg_pool2d } do
      assert.matches(name .. ": input has shape {4,5,3}, expected {N,H,W,C}", message(f, mt.zeros(4, 5, 3)), 1, true)
      assert.matches(name .. ": input is uint8, expected float32", message(f, x:to "uint8"), 1, true)
      assert.matches(
        name .. ": kernel is {5,5}, expected at most the padded input's 4 x 5",
        message(f, x, { kernel = 5 }),
        1,
        true
      )
      assert.matches(
        name .. ": padding is {2,2}, expected 0 to half the kernel",
        message(f, x, { kernel = 3, padding = 2 }),
        1,
        true
      )
      assert.matches("option 'stride': integer in [1, ", message(f, x, { stride = 0 }), 1, true)
      assert.matches("unknown option 'size'", message(f, x, { size = 2 }), 1, true)
      assert.matches("option 'ceil_mode': boolean expected, got 1", message(f, x, { ceil_mode = 1 }), 1, true)
    end
    assert.matches("unknown option 'dilation'", message(mt.avg_pool2d, x, { dilation = 2 }), 1, true)
    assert.matches("unknown option 'count_include_pad'", message(mt.max_pool2d, x, { count_include_pad = true }), 1,
      true)
    assert.matches("max_pool2d: kernel is {5,5}, expected at most the padded input's 4 x 5",
      message(mt.max_pool2d, x, { kernel = 2, dilation = 4 }), 1, true)
    assert.matches("global_avg_pool: input has shape {2,3}", message(mt.global_avg_pool, mt.zeros(2, 3)), 1, true)
    assert.matches(
      "global_avg_pool: input has shape {1,0,4,3}, expected at least one pixel",
      message(mt.global_avg_pool, mt.zeros(1, 0, 4, 3)),
      1,
      true
    )
  end)
end)
