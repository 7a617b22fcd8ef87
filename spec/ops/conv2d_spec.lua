local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local function pair(value)
  if type(value) == "table" then
    return value[1], value[2]
  end
  return value or 1, value or 1
end

--- Calls visit(output index, input index, weight index) for every product of a convolution, in plain Lua.
local function each_product(x_shape, w_shape, options, visit)
  local sy, sx = pair(options.stride)
  local py, px = pair(options.padding or 0)
  local n, h, w, channels = table.unpack(x_shape)
  local kh, kw, _, outputs = table.unpack(w_shape)
  local oh, ow = (h + 2 * py - kh) // sy + 1, (w + 2 * px - kw) // sx + 1
  for image = 0, n - 1 do
    for y = 0, oh - 1 do
      for x = 0, ow - 1 do
        local out = ((image * oh + y) * ow + x) * outputs
        for ky = 0, kh - 1 do
          for kx = 0, kw - 1 do
            local iy, ix = y * sy - py + ky, x * sx - px + kx
            if iy >= 0 and iy < h and ix >= 0 and ix < w then
              local from, tap = ((image * h + iy) * w + ix) * channels, (ky * kw + kx) * channels
              for i = 0, channels - 1 do
                for o = 1, outputs do
                  visit(out + o, from + i + 1, (tap + i) * outputs + o)
                end
              end
            end
          end
        end
      end
    end
  end
  return { n, oh, ow, outputs }
end

local function convolve(x, w, b, options)
  local sums = {}
  local shape = each_product(x.shape, w.shape, options, function(out, from, tap)
    sums[out] = (sums[out] or 0.0) + x[from] * w[tap]
  end)
  local outputs = shape[4]
  return reference.new(shape, function(i)
    local value = (sums[i] or 0.0) + (b and b[(i - 1) % outputs + 1] or 0.0)
    return options.relu and math.max(value, 0.0) or value
  end)
end

--- Gradients of sum(g * convolve(x, w, b)) for x, w and b: a convolution is linear in each.
local function gradients(x, w, g, options)
  local zeros = function()
    return 0.0
  end
  local gx, gw = reference.new(x.shape, zeros), reference.new(w.shape, zeros)
  local gb = reference.new({ w.shape[4] }, zeros)
  each_product(x.shape, w.shape, options, function(out, from, tap)
    gx[from] = gx[from] + g[out] * w[tap]
    gw[tap] = gw[tap] + g[out] * x[from]
  end)
  for i = 1, #g do
    local o = (i - 1) % w.shape[4] + 1
    gb[o] = gb[o] + g[i]
  end
  return gx, gw, gb
end

local function random_array(shape, random)
  return reference.new(shape, function()
    return reference.to_float32(random(-1, 1))
  end)
end

local function to_tensor(array)
  local parts = {}
  for i = 1, #array do
    parts[i] = string.pack("<f", array[i])
  end
  return mt.from_bytes(table.concat(parts), "float32", array.shape)
end

local function assert_close(what, tensor, expected, tolerance)
  local got = reference.from_tensor(tensor)
  assert.are.same(expected.shape, got.shape)
  local distance = reference.relative_error(got, expected)
  assert(distance <= tolerance, ("%s: relative error %g"):format(what, distance))
end

--- Compares output and all gradients with plain Lua.
local function check(x_shape, w_shape, options)
  local random = reference.generator(7)
  local x, w = random_array(x_shape, random), random_array(w_shape, random)
  local b = random_array({ w_shape[4] }, random)
  local tx, tw, tb =
    to_tensor(x):requires_grad(true), to_tensor(w):requires_grad(true), to_tensor(b):requires_grad(true)
  local output = mt.conv2d(tx, tw, tb, options)
  local expected = convolve(x, w, b, options)
  assert_close("output", output, expected, 1e-6)
  local g = random_array(expected.shape, random)
  output:backward(to_tensor(g))
  local gx, gw, gb = gradients(x, w, g, options)
  assert_close("input's gradient", tx:grad(), gx, 2e-6)
  assert_close("weight's gradient", tw:grad(), gw, 2e-6)
  assert_close("bias's gradient", tb:grad(), gb, 2e-6)
end

local cases = {
  { { 1, 7, 9, 5 }, { 3, 3, 5, 3 }, {} },
  { { 1, 7, 9, 5 }, { 3, 3, 5, 17 }, { padding = 1 } },
  { { 2, 7, 9, 5 }, { 1, 1, 5, 33 }, {} },
  { { 1, 7, 9, 5 }, { 1, 1, 5, 1 }, { stride = 2 } },
  { { 1, 7, 9, 5 }, { 1, 1, 5, 3 }, { stride = 3, padding = 2 } },
  { { 3, 7, 9, 1 }, { 5, 5, 1, 17 }, { padding = 4 } },
  { { 1, 7, 9, 3 }, { 7, 7, 3, 16 }, { stride = 2, padding = 3 } },
  { { 2, 7, 9, 5 }, { 3, 3, 5, 3 }, { stride = 2 } },
  { { 1, 7, 9, 5 }, { 3, 3, 5, 3 }, { stride = 3, padding = 1 } },
  { { 1, 7, 9, 2 }, { 2, 5, 2, 3 }, { stride = { 1, 3 }, padding = { 0, 2 } } },
  { { 1, 2, 3, 5 }, { 5, 7, 5, 3 }, { padding = { 4, 6 } } }, -- a kernel larger than the image
  { { 1, 2, 2, 3 }, { 5, 5, 3, 3 }, { stride = 3, padding = 3 } },
  { { 1, 4, 4, 2 }, { 1, 1, 2, 3 }, { padding = 3 } }, -- padding beyond what the kernel reaches
  { { 1, 5, 5, 2 }, { 2, 2, 2, 3 }, { stride = 5 } }, -- a stride beyond the kernel
  { { 2, 3, 61, 4 }, { 3, 3, 4, 16 }, { padding = 1 } }, -- several tiles of pixels in a row
  { { 1, 3, 5, 40 }, { 1, 3, 40, 49 }, { padding = 1 } }, -- several tiles of taps, several panels
  { { 33, 2, 2, 3 }, { 2, 2, 3, 8 }, {} }, -- many images in a block
  -- by Winograd's tiles of 4 x 4 outputs: whole, beyond the border, groups of images, several chunks
  { { 1, 8, 8, 8 }, { 3, 3, 8, 16 }, { padding = 1 } },
  { { 2, 9, 11, 9 }, { 3, 3, 9, 17 }, {} },
  { { 7, 5, 6, 16 }, { 3, 3, 16, 33 }, { padding = 2 } },
  { { 5, 4, 3, 19 }, { 3, 3, 19, 8 }, { padding = { 1, 0 } } },
  { { 1, 37, 45, 8 }, { 3, 3, 8, 8 }, { padding = 1 } },
}

local function describe_case(case)
  local options = {}
  for _, name in ipairs { "stride", "padding" } do
    local value = case[3][name]
    options[#options + 1] = value and ("%s %s"):format(name, table.concat({ pair(value) }, "x")) or nil
  end
  return ("images %s, weight %s %s"):format(
    table.concat(case[1], "x"),
    table.concat(case[2], "x"),
    table.concat(options, ", ")
  )
end

describe("conv2d", function()
  local isa, threads = mt.isa(), mt.get_num_threads()

  after_each(function()
    mt.isa(isa)
    mt.set_num_threads(threads)
  end)

  for _, name in ipairs { "avx512", "avx2", "plain" } do
    if pcall(mt.isa, name) then
      mt.isa(isa)
      describe("on " .. name, function()
        for _, case in ipairs(cases) do
          it("agrees with plain loops in double: " .. describe_case(case), function()
            mt.isa(name)
            check(table.unpack(case))
          end)
        end

        it("agrees where channels are split among the threads", function()
          mt.isa(name)
          mt.set_num_threads(2)
          check({ 1, 4, 4, 130 }, { 3, 3, 130, 128 }, { padding = 1 })
        end)
      end)
    end
  end

  it("has the gradients that central differences give", function()
    local options = { stride = 2, padding = 1 }
    gradcheck.check {
      ours = function(x, w, b)
        return mt.conv2d(x, w, b, options)
      end,
      reference = function(x, w, b)
        return convolve(x, w, b, options)
      end,
      inputs = { { shape = { 2, 5, 4, 3 } }, { shape = { 3, 2, 3, 4 } }, { shape = { 4 } } },
    }
  end)

  it("applies a ReLU as it writes, with its gradient", function()
    local options = { padding = 1, relu = true }
    gradcheck.check {
      ours = function(x, w, b)
        return mt.conv2d(x, w, b, options)
      end,
      reference = function(x, w, b)
        return convolve(x, w, b, options)
      end,
      inputs = { { shape = { 2, 4, 5, 3 } }, { shape = { 3, 3, 3, 5 } }, { shape = { 5 } } },
    }
  end)

  it("works without a bias, and gives gradients only where they are wanted", function()
    local x, w = mt.ones(1, 3, 3, 2), mt.ones(2, 2, 2, 4):requires_grad(true)
    local y = mt.conv2d(x, w)
    assert.are.same({ 1, 2, 2, 4 }, y:shape())
    y:sum():backward()
    assert.is_nil(x:grad())
    assert.are.equal(4.0, w:grad():max():item())
  end)

  it("gives the same bits again, and nearly the same with other numbers of threads", function()
    local random = reference.generator(3)
    local x, w = random_array({ 9, 13, 12, 6 }, random), random_array({ 3, 3, 6, 20 }, random)
    local b, g = random_array({ 20 }, random), random_array({ 9, 13, 12, 20 }, random)
    local function run(n)
      mt.set_num_threads(n)
      local leaves = {}
      for i, array in ipairs { x, w, b } do
        leaves[i] = to_tensor(array):requires_grad(true)
      end
      local output = mt.conv2d(leaves[1], leaves[2], leaves[3], { padding = 1 })
      output:backward(to_tensor(g))
      return { output, leaves[1]:grad(), leaves[2]:grad(), leaves[3]:grad() }
    end
    local first = run(1)
    for n = 1, 3 do
      local once, again = run(n), run(n)
      for i = 1, 4 do
        assert.are.equal(once[i]:bytes(), again[i]:bytes())
        assert_close("threads", once[i], reference.from_tensor(first[i]), 1e-6)
      end
    end
  end)

  it("uses every thread for one image without changing a bit of the output", function()
    local x, w = mt.randn(1, 40, 40, 8), mt.randn(3, 3, 8, 16)
    mt.set_num_threads(1)
    local one = mt.conv2d(x, w, nil, { padding = 1 }):bytes()
    mt.set_num_threads(3)
    assert.are.equal(one, mt.conv2d(x, w, nil, { padding = 1 }):bytes())
  end)

  it("passes on a NaN to the outputs that see it, and to no other", function()
    local x = mt.from_bytes(string.pack("<" .. ("f"):rep(5), 1, 2, 0 / 0, 4, 5), "float32", { 1, 1, 5, 1 })
    local y = reference.from_tensor(mt.conv2d(x, mt.ones(1, 2, 1, 1), nil, { relu = true }))
    local seen = {}
    for i = 1, 4 do
      seen[i] = y[i] ~= y[i]
    end
    assert.are.same({ false, true, true, false }, seen)
  end)

  it("takes an empty batch, and no channels", function()
    local w, b = mt.ones(3, 3, 2, 4):requires_grad(true), mt.ones(4):requires_grad(true)
    local y = mt.conv2d(mt.zeros(0, 5, 5, 2), w, b)
    assert.are.same({ 0, 3, 3, 4 }, y:shape())
    y:backward(mt.zeros(0, 3, 3, 4))
    assert.are.equal(0.0, w:grad():abs():max():item())
    assert.are.equal(0.0, b:grad():abs():max():item())
    assert.are.equal(1.0, mt.conv2d(mt.zeros(1, 5, 5, 0), mt.zeros(3, 3, 0, 4), b):min():item())
    assert.are.same({ 1, 3, 3, 0 }, mt.conv2d(mt.zeros(1, 5, 5, 2), mt.zeros(3, 3, 2, 0)):shape())
  end)

  it("names the argument, its value and what was expected", function()
    local x, w = mt.zeros(1, 5, 6, 2), mt.zeros(3, 3, 2, 4)
    local function message(...)
      local ok, text = pcall(mt.conv2d, ...)
      assert.is_false(ok)
      return text
    end
    assert.matches("conv2d: input has shape {5,6,2}, expected {N,H,W,I}", message(mt.zeros(5, 6, 2), w), 1, true)
    assert.matches("conv2d: weight has shape {3,2,4}, expected {kH,kW,I,O}", message(x, mt.zeros(3, 2, 4)), 1, true)
    assert.matches(
      "conv2d: input has 2 channels, expected the weight's 3",
      message(x, mt.zeros(3, 3, 3, 4)),
      1,
      true
    )
    assert.matches("conv2d: bias has shape {3}, expected {4}", message(x, w, mt.zeros(3)), 1, true)
    assert.matches("conv2d: input is uint8, expected float32", message(x:to "uint8", w), 1, true)
    assert.matches("conv2d: weight is int32, expected float32", message(x, w:to "int32"), 1, true)
    assert.matches(
      "conv2d: weight has a kernel of 7 x 3, expected at most the padded input's 5 x 6",
      message(x, mt.zeros(7, 3, 2, 4)),
      1,
      true
    )
    assert.matches("expected at least 1 x 1", message(x, mt.zeros(0, 3, 2, 4)), 1, true)
    assert.matches("option 'stride': integer in [1, ", message(x, w, nil, { stride = 0 }), 1, true)
    assert.matches("option 'padding': integer in [0, ", message(x, w, nil, { padding = { 1, -1 } }), 1, true)
    assert.matches("unknown option 'dilation'", message(x, w, nil, { dilation = 2 }), 1, true)
    assert.matches("masktune.Tensor", message(x, 3), 1, true)
    assert.matches("too many elements", message(x, w, nil, { padding = 1 << 30 }), 1, true)
  end)
end)
