local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local function pair(value)
  if type(value) == "table" then
    return value[1], value[2]
  end
  return value or 1, value or 1
end

--- How many zeros lie above and below (or left and right of) an image, by what `padding` says.
local function sides(options, axis, size, kernel, stride, dilation)
  local padding = options.padding ~= "valid" and options.padding or 0
  if padding == "same" or padding == "same_upper" then
    local total = math.max(0, ((size + stride - 1) // stride - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2
  end
  if type(padding) == "table" and #padding == 0 then
    local names = axis == 1 and { "top", "bottom" } or { "left", "right" }
    return padding[names[1]] or 0, padding[names[2]] or 0
  end
  local both = (type(padding) == "table" and padding or { padding, padding })[axis]
  return both, both
end

--- Calls visit(output index, input index, weight index) for every product of a convolution, in plain Lua.
local function each_product(x_shape, w_shape, options, visit)
  local sy, sx = pair(options.stride)
  local dy, dx = pair(options.dilation)
  local n, h, w, channels = table.unpack(x_shape)
  local kh, kw, group_in, outputs = table.unpack(w_shape)
  local group_out = outputs // (options.groups or 1)
  local top, bottom = sides(options, 1, h, kh, sy, dy)
  local left, right = sides(options, 2, w, kw, sx, dx)
  local oh, ow = (h + top + bottom - (kh - 1) * dy - 1) // sy + 1, (w + left + right - (kw - 1) * dx - 1) // sx + 1
  for image = 0, n - 1 do
    for y = 0, oh - 1 do
      for x = 0, ow - 1 do
        local out = ((image * oh + y) * ow + x) * outputs
        for ky = 0, kh - 1 do
          for kx = 0, kw - 1 do
            local iy, ix = y * sy - top + ky * dy, x * sx - left + kx * dx
            if iy >= 0 and iy < h and ix >= 0 and ix < w then
              local from, tap = ((image * h + iy) * w + ix) * channels, (ky * kw + kx) * group_in
              for i = 0, group_in - 1 do
                for o = 1, outputs do
                  visit(out + o, from + (o - 1) // group_out * group_in + i + 1, (tap + i) * outputs + o)
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
  -- Pixels that lie badly in the cache (kernels/conv2d_forward.c, conv2d_grad_weight.c), more than are packed together.
  { { 3, 7, 7, 512 }, { 1, 1, 512, 20 }, {} },
  { { 1, 4, 4, 1024 }, { 1, 1, 1024, 33 }, {} },
  { { 1, 3, 3, 1030 }, { 1, 1, 1030, 17 }, {} },
  { { 2, 5, 5, 512 }, { 3, 3, 512, 9 }, { stride = 2, padding = 1 } },
  { { 2, 9, 8, 8 }, { 1, 1, 8, 1024 }, {} },
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
  -- by those of 2 x 2: likewise
  { { 1, 14, 14, 16 }, { 5, 5, 16, 16 }, { padding = 2 } },
  { { 3, 13, 12, 17 }, { 5, 5, 17, 19 }, {} },
  { { 9, 6, 5, 9 }, { 5, 5, 9, 33 }, { padding = { 4, 2 } } },
  { { 2, 9, 13, 16 }, { 5, 5, 16, 16 }, { padding = { bottom = 3, right = 1, left = 2 } } },
  { { 1, 15, 15, 32 }, { 5, 5, 16, 32 }, { groups = 2, padding = 2 } },
  -- other padding on opposite sides
  { { 2, 9, 8, 16 }, { 3, 3, 16, 16 }, { padding = { bottom = 2, right = 1 } } },
  { { 2, 9, 8, 16 }, { 3, 3, 16, 16 }, { padding = { top = 2, left = 1, right = 1 } } },
  { { 1, 7, 9, 5 }, { 4, 2, 5, 6 }, { padding = "same" } },
  { { 1, 7, 9, 16 }, { 3, 3, 16, 16 }, { padding = "same" } },
  { { 1, 7, 8, 3 }, { 3, 3, 3, 16 }, { padding = "same_upper", stride = 2 } },
  { { 2, 6, 9, 5 }, { 5, 2, 5, 4 }, { padding = "same_upper", stride = { 2, 3 } } },
  { { 1, 4, 4, 2 }, { 1, 1, 2, 3 }, { padding = "same_upper", stride = 3 } }, -- a kernel smaller than the stride
  { { 1, 7, 9, 5 }, { 3, 3, 5, 6 }, { padding = "valid" } },
  -- dilation
  { { 2, 9, 11, 5 }, { 3, 3, 5, 17 }, { dilation = 2, padding = 2 } },
  { { 1, 9, 11, 5 }, { 3, 2, 5, 3 }, { dilation = { 1, 4 }, stride = { 2, 3 }, padding = { 0, 3 } } },
  { { 1, 5, 4, 3 }, { 2, 3, 3, 4 }, { dilation = { 4, 3 }, padding = "same" } },
  { { 1, 3, 3, 3 }, { 3, 3, 3, 4 }, { dilation = 5, padding = 6 } }, -- most taps outside of the image
  { { 1, 40, 43, 9 }, { 3, 3, 9, 8 }, { dilation = 2, padding = 2 } }, -- several strips
  -- groups
  { { 2, 7, 9, 6 }, { 3, 3, 2, 9 }, { groups = 3, padding = 1 } },
  { { 3, 6, 5, 16 }, { 3, 3, 4, 32 }, { groups = 4, padding = 1, stride = 2, dilation = { 2, 1 } } },
  { { 1, 6, 5, 10 }, { 1, 1, 5, 34 }, { groups = 2 } },
  { { 3, 13, 10, 16 }, { 3, 3, 8, 18 }, { groups = 2, padding = 1 } }, -- by Winograd's tiles
  { { 2, 9, 8, 32 }, { 3, 3, 4, 32 }, { groups = 8, padding = { bottom = 1, right = 2 }, stride = 2 } },
  { { 2, 7, 7, 8 }, { 2, 4, 4, 8 }, { groups = 2, padding = 3, stride = { 3, 2 } } },
  { { 2, 8, 8, 20 }, { 5, 3, 10, 6 }, { groups = 2, padding = "same_upper", stride = 2 } },
  -- depthwise
  { { 2, 7, 9, 5 }, { 3, 3, 1, 5 }, { groups = 5, padding = 1 } },
  { { 2, 7, 9, 33 }, { 3, 3, 1, 33 }, { groups = 33, padding = 1, stride = 2 } },
  { { 1, 9, 7, 4 }, { 5, 5, 1, 12 }, { groups = 4, padding = 4, stride = { 1, 3 }, dilation = 2 } },
  { { 1, 6, 7, 8 }, { 3, 3, 1, 8 }, { groups = 8, padding = { bottom = 1, right = 1 }, stride = 2 } },
  { { 3, 6, 7, 1 }, { 3, 3, 1, 7 }, { dilation = 2, padding = 2 } }, -- one channel, one group
  { { 1, 11, 12, 6 }, { 3, 3, 1, 6 }, { groups = 6, stride = { 4, 6 }, dilation = { 2, 4 }, padding = 3 } },
}

-- Depthwise tiles of every width, whole vectors of channels and more, each unrolled kernel.
for width = 1, 17 do
  local kernel, stride = width % 2 == 0 and 3 or 5, width % 4 < 2 and 1 or 2
  for _, channels in ipairs { 16, 35 } do
    cases[#cases + 1] = {
      { 1, 4 + width % 3, width, channels }, { kernel, kernel, 1, channels },
      { groups = channels, stride = stride, padding = "same_upper" },
    }
    cases[#cases + 1] = {
      { 1, 6, width + 4, channels }, { kernel - 1, kernel, 1, channels },
      { groups = channels, stride = 3 - stride, padding = { top = 2, left = width % 3, right = 1 } },
    }
  end
end

local function describe_case(case)
  local options = {}
  for _, name in ipairs { "stride", "padding", "dilation", "groups" } do
    local value = case[3][name]
    if type(value) == "table" and #value == 0 then
      for _, side in ipairs { "top", "bottom", "left", "right" } do
        options[#options + 1] = value[side] and ("%s %d"):format(side, value[side])
      end
    elseif type(value) == "string" then
      options[#options + 1] = value
    else
      options[#options + 1] = value and ("%s %s"):format(name, table.concat({ pair(value) }, "x"))
    end
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

  it("has the gradients that central differences give, with groups and dilation", function()
    for _, case in ipairs {
      { { 2, 5, 6, 4 }, { 2, 3, 2, 6 }, { groups = 2, dilation = 2, padding = { top = 1, left = 2 } } },
      { { 2, 5, 6, 3 }, { 3, 2, 1, 6 }, { groups = 3, stride = 2, padding = "same_upper", relu = true } },
      { { 1, 4, 6, 17 }, { 3, 3, 1, 17 }, { groups = 17, stride = 2, padding = "same_upper" } },
      { { 1, 4, 5, 16 }, { 5, 5, 1, 16 }, { groups = 16, padding = 2 } },
    } do
      local options = case[3]
      gradcheck.check {
        ours = function(x, w, b)
          return mt.conv2d(x, w, b, options)
        end,
        reference = function(x, w, b)
          return convolve(x, w, b, options)
        end,
        inputs = { { shape = case[1] }, { shape = case[2] }, { shape = { case[2][4] } } },
      }
    end
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

  it("gives the same bits again with groups, with other numbers of threads nearly (depthwise: too)", function()
    local random = reference.generator(3)
    local x, g = random_array({ 5, 13, 12, 16 }, random), random_array({ 5, 13, 12, 16 }, random)
    for _, case in ipairs { { 1, 2 }, { 4, 2 }, { 4, 1 }, { 2, 1 }, { 16, 2 } } do
      local groups, dilation = table.unpack(case)
      local w = random_array({ 3, 3, 16 // groups, 16 }, random)
      local function run(n)
        mt.set_num_threads(n)
        local tx, tw = to_tensor(x):requires_grad(true), to_tensor(w):requires_grad(true)
        local output = mt.conv2d(tx, tw, nil, { padding = dilation, dilation = dilation, groups = groups })
        output:backward(to_tensor(g))
        return { output, tx:grad(), tw:grad() }
      end
      local first = run(1)
      for n = 1, 3 do
        local once, again = run(n), run(n)
        for i = 1, 3 do
          assert.are.equal(once[i]:bytes(), again[i]:bytes())
          if groups == 16 then assert.are.equal(first[i]:bytes(), once[i]:bytes()) end
          assert_close("threads", once[i], reference.from_tensor(first[i]), 1e-6)
        end
      end
    end
  end)

  it("gives gradients with groups only where they are wanted, also to an empty batch", function()
    local x, w = mt.rand(1, 4, 4, 4), mt.rand(2, 2, 2, 4):requires_grad(true)
    mt.conv2d(x, w, nil, { groups = 2 }):sum():backward()
    assert.is_nil(x:grad())
    assert.are.same({ 2, 2, 2, 4 }, w:grad():shape())
    local input, weight, bias = mt.rand(1, 4, 4, 4):requires_grad(true), mt.rand(2, 2, 1, 4), mt.zeros(4)
    mt.conv2d(input, weight, bias, { groups = 4 }):sum():backward()
    assert.are.same({ 1, 4, 4, 4 }, input:grad():shape())
    bias:requires_grad(true)
    mt.conv2d(x, weight, bias, { groups = 4, dilation = 2 }):sum():backward()
    assert.are.same({ 4, 4, 4, 4 }, bias:grad():totable())
    w:zero_grad()
    local y = mt.conv2d(mt.zeros(0, 4, 4, 4), w, nil, { groups = 2 })
    assert.are.same({ 0, 3, 3, 4 }, y:shape())
    y:backward(mt.zeros(0, 3, 3, 4))
    assert.are.equal(0.0, w:grad():abs():max():item())
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
    assert.matches("unknown option 'dilate'", message(x, w, nil, { dilate = 2 }), 1, true)
    assert.matches("option 'dilation': integer in [1, ", message(x, w, nil, { dilation = 0 }), 1, true)
    assert.matches("option 'groups': integer in [1, ", message(x, w, nil, { groups = 0 }), 1, true)
    assert.matches(
      "conv2d: groups is 4, expected a divisor of the input's 2 channels and the weight's 4 outputs",
      message(x, w, nil, { groups = 4 }), 1, true)
    assert.matches(
      "conv2d: weight has 2 channels, expected 1 (the input's 2 in 2 groups)",
      message(x, w, nil, { groups = 2 }), 1, true)
    assert.matches("kernel of 7 x 7, expected at most the padded input's 5 x 6", message(x, w, nil, { dilation = 3 }),
      1, true)
    assert.matches("option 'padding': \"same\" is for a stride of 1",
      message(x, w, nil, { padding = "same", stride = 2 }),
      1, true)
    assert.matches("option 'padding': 'same' or 'same_upper' or 'valid' expected, got 'full'",
      message(x, w, nil, { padding = "full" }), 1, true)
    assert.matches("option 'padding': {top = , bottom = , left = , right = } with integers >= 0 expected, got top = -1",
      message(x, w, nil, { padding = { top = -1 } }), 1, true)
    assert.matches("got a field 'above'", message(x, w, nil, { padding = { above = 1 } }), 1, true)
    assert.matches("masktune.Tensor", message(x, 3), 1, true)
    assert.matches("too many elements", message(x, w, nil, { padding = 1 << 30 }), 1, true)
  end)
end)
