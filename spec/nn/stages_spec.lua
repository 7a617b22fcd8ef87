-- Stages of convolution, normalisation, ReLU and pooling that a container runs as one operation give what the same
-- modules give when they are called one by one (each checked against the oracle in its own spec).
local mt = require "masktune"
local nn = mt.nn

local function relative(a, b)
  local d = a - b
  return math.sqrt((d * d):sum():item()) / (1e-30 + math.sqrt((b * b):sum():item()))
end

local function one_by_one(modules, x)
  for _, m in ipairs(modules) do x = m(x) end
  return x
end

--- Outputs, gradients (flat, by name) and running statistics of one training pass.
local function pass(model, modules, run, x, weights)
  x:zero_grad()
  model:zero_grad()
  local y = run(modules, x)
  local loss = (y * weights):sum()
  loss:backward()
  return { y = y:detach(), x = x:grad():clone(), grads = model:grad_dict(), state = model:state_dict() }
end

local function compare(got, expected)
  assert.is_true(relative(got.y, expected.y) < 3e-6, "output")
  assert.is_true(relative(got.x, expected.x) < 1e-5, "gradient of the input")
  for name, grad in pairs(expected.grads) do
    if name:match("bias$") and math.sqrt((grad * grad):sum():item()) < 1e-3 then
      -- a bias in front of a normalisation: exactly zero in theory, rounding noise one by one
      assert.is_true(got.grads[name]:abs():max():item() < 1e-3, name)
    else
      assert.is_true(relative(got.grads[name], grad) < 2e-5, name)
    end
  end
  for name, value in pairs(expected.state) do
    if name:match("running") then assert.is_true(relative(got.state[name], value) < 1e-5, name) end
  end
end

local function stage(list, inputs, outputs, options)
  local window = { padding = options.padding or 0, stride = options.stride or 1, bias = options.bias ~= false }
  list[#list + 1] = nn.Conv2d(inputs, outputs, options.kernel or 3, window)
  list[#list + 1] = nn.BatchNorm2d(outputs)
  if options.relu6 then
    list[#list].weight = mt.rand(outputs) * 4 + 3 -- many values beyond 6
    list[#list + 1] = nn.ReLU6()
  elseif options.relu ~= false then
    list[#list + 1] = nn.ReLU()
  end
  if options.pool then list[#list + 1] = nn.MaxPool2d(options.pool) end
end

local cases = {
  { name = "the SmallCNN's shapes", channels = { 3, 16, 16, 32 }, size = { 20, 20 },
    stages = { {}, { pool = 2 }, { pool = 2 } } },
  { name = "odd channels, padding, a pooling that drops a border", channels = { 5, 7, 33, 3 }, size = { 13, 11 },
    stages = { { padding = 1 }, { padding = 1, pool = 3 }, { padding = 2, kernel = 5, relu = false } } },
  { name = "kernels 1 and 7 with full padding", channels = { 2, 17, 1 }, size = { 9, 7 },
    stages = { { kernel = 1 }, { kernel = 7, padding = 6 } } },
  { name = "Winograd's tiles beyond the border, channels that no vector divides", channels = { 9, 17, 33, 8 },
    size = { 13, 10 }, stages = { { padding = 1 }, { padding = 2, pool = 2 }, {} } },
  { name = "Winograd on images smaller than a tile and on long ones", channels = { 8, 16, 40 }, size = { 4, 61 },
    stages = { { padding = 1 }, { padding = 1 } } },
  { name = "ReLU6, directly and by Winograd", channels = { 3, 9, 16, 8 }, size = { 12, 13 },
    stages = { { relu6 = true }, { relu6 = true, padding = 1, pool = 2 }, { relu6 = true, kernel = 1 } } },
  { name = "strides, in front, between and where pixels meet no tap", channels = { 4, 8, 8, 5 }, size = { 13, 14 },
    stages = { { padding = 1, stride = { 2, 1 } }, { kernel = 5, stride = { 2, 3 }, padding = 2 },
      { kernel = 1, stride = 2 } } },
  { name = "a padding as wide as the kernel", channels = { 4, 8, 8, 5 }, size = { 12, 14 },
    stages = { { padding = 1 }, { padding = 3 }, { padding = 1, pool = 2 } } },
}

describe("a container of convolution stages", function()
  local threads, isa = mt.get_num_threads(), mt.isa()
  before_each(function() mt.manual_seed(11) end)
  after_each(function()
    mt.set_num_threads(threads)
    mt.isa(isa)
  end)

  local function build(case)
    local list = {}
    for i, options in ipairs(case.stages) do stage(list, case.channels[i], case.channels[i + 1], options) end
    return list
  end

  for _, name in ipairs { "plain", "avx2", "avx512" } do
    for _, case in ipairs(cases) do
      it(("trains as its modules do one by one: %s (%s)"):format(case.name, name), function()
        if not pcall(mt.isa, name) then return pending(name .. " is not supported by this processor") end
        local list = build(case)
        local model = nn.Sequential(list)
        local initial = model:state_dict()
        local x = mt.randn(5, case.size[1], case.size[2], case.channels[1]):requires_grad(true)
        local weights = mt.randn(table.unpack(model(x):shape()))
        for _, count in ipairs { 1, 2, 3 } do
          mt.set_num_threads(count)
          model:load_state_dict(initial)
          local fused = pass(model, list, function(_, input) return model(input) end, x, weights)
          model:load_state_dict(initial)
          compare(fused, pass(model, list, one_by_one, x, weights))
        end
      end)
    end
  end

  it("evaluates as its modules do one by one", function()
    for _, case in ipairs(cases) do
      local list = build(case)
      local model = nn.Sequential(list)
      local x = mt.randn(6, case.size[1], case.size[2], case.channels[1])
      for _ = 1, 3 do model(x * 2 + 1) end -- running statistics away from their start
      model:eval()
      mt.no_grad(function() assert.is_true(relative(model(x), one_by_one(list, x)) < 3e-6, case.name) end)
      assert.is_true(relative(model(x):detach(), one_by_one(list, x):detach()) < 3e-6, case.name)
    end
  end)

  for _, relu in ipairs { true, false } do
    it("adds the shortcut of a residual block inside the operation, ReLU: " .. tostring(relu), function()
      local main = {}
      stage(main, 8, 8, { padding = 1 })
      stage(main, 8, 8, { padding = 1, relu = false })
      local block = nn.Residual { { "conv1", main[1] }, { "bn1", main[2] }, { "relu", main[3] }, { "conv2", main[4] },
        { "bn2", main[5] }, relu = relu }
      local initial = block:state_dict()
      local x = mt.randn(4, 9, 7, 8):requires_grad(true)
      local weights = mt.randn(4, 9, 7, 8)
      local function plain(list, input)
        local sum = one_by_one(list, input) + input
        return relu and sum:relu() or sum
      end
      -- the block's input as a leaf, and as what something else gave
      for _, before in ipairs { function(input) return input end, function(input) return input * 2 end } do
        block:load_state_dict(initial)
        local fused = pass(block, main, function(_, input) return block(before(input)) end, x, weights)
        block:load_state_dict(initial)
        compare(fused, pass(block, main, function(list, input) return plain(list, before(input)) end, x, weights))
      end
    end)
  end

  for _, width in ipairs { 4, 16 } do
    it(("makes the last output of a bottleneck again on the way back: %d channels"):format(width), function()
      local main = {}
      stage(main, 4 * width, width, { kernel = 1, bias = false })
      stage(main, width, width, { padding = 1, bias = false })
      stage(main, width, 4 * width, { kernel = 1, bias = false, relu = false })
      local items = {}
      for i, m in ipairs(main) do items[i] = { "m" .. i, m } end
      local block = nn.Residual(items)
      local initial = block:state_dict()
      local x = mt.randn(5, 10, 9, 4 * width):requires_grad(true)
      local weights = mt.randn(5, 10, 9, 4 * width)
      local fused = pass(block, main, function(_, input) return block(input) end, x, weights)
      block:load_state_dict(initial)
      local function plain(list, input) return (one_by_one(list, input) + input):relu() end
      compare(fused, pass(block, main, plain, x, weights))
    end)
  end

  --- A residual block of convolutions with normalisation: its module, and the same computed from its parts.
  local function residual(channels, kernels, relu)
    local main, items = {}, { relu = relu }
    for i, kernel in ipairs(kernels) do
      stage(main, channels[i], channels[i % #kernels + 1],
        { kernel = kernel, padding = kernel // 2, bias = i == 1, relu = i < #kernels })
    end
    for i, m in ipairs(main) do items[i] = { "m" .. i, m } end
    return nn.Residual(items), function(x)
      local sum = one_by_one(main, x) + x
      return relu == false and sum or sum:relu()
    end
  end

  --- Modules in a row, among them residual blocks: { channels, kernels, relu } each, or one stage's options.
  local function tower(parts)
    local modules, plain = {}, {}
    for _, part in ipairs(parts) do
      if part.kernels then
        modules[#modules + 1], plain[#plain + 1] = residual(part.channels, part.kernels, part.relu)
      elseif part.nested then
        local inner
        modules[#modules + 1], inner = tower(part.nested)
        plain[#plain + 1] = function(x) return one_by_one(inner, x) end
        if part.shortcut then
          modules[#modules] = nn.Residual { modules[#modules], relu = false }
          plain[#plain] = function(x) return one_by_one(inner, x) + x end
        end
      else
        local first = #modules + 1
        stage(modules, part.channels[1], part.channels[2], part)
        table.move(modules, first, #modules, #plain + 1, plain)
      end
    end
    return nn.Sequential(modules), plain
  end

  local basic = { channels = { 16, 16 }, kernels = { 3, 3 } }
  local function times(count, part)
    local parts = {}
    for i = 1, count do parts[i] = part end
    return parts
  end
  local towers = {
    { name = "basic blocks", channels = 16, parts = times(4, basic) },
    { name = "more stages than one operation takes", channels = 16, parts = times(18, basic) },
    { name = "bottlenecks, channels that no vector divides", channels = 20,
      parts = times(3, { channels = { 20, 5, 9 }, kernels = { 1, 3, 1 } }) },
    { name = "blocks of one convolution, of other kernels and without a ReLU", channels = 7,
      parts = { { channels = { 7 }, kernels = { 3 } }, { channels = { 7, 9 }, kernels = { 5, 3 }, relu = false },
        { channels = { 7, 8, 8 }, kernels = { 3, 3, 3 } }, { channels = { 7 }, kernels = { 1 }, relu = false } } },
    { name = "stages before, between and after blocks", channels = 3,
      parts = { { channels = { 3, 16 }, padding = 1 }, basic, basic, { channels = { 16, 9 }, padding = 1, pool = 2 },
        { channels = { 9, 9 }, kernels = { 3, 3 } }, { channels = { 9, 4 }, kernel = 1, relu = false } } },
    { name = "containers in containers, more stages in one than one operation takes", channels = 3,
      parts = { { channels = { 3, 16 }, padding = 1 }, { nested = { basic, { nested = { basic, basic } } } },
        { nested = times(17, basic) }, { nested = {} }, { channels = { 16, 4 }, kernel = 1 } } },
    { name = "blocks that begin together in blocks", channels = 16,
      parts = { { shortcut = true, nested = { basic, { channels = { 16, 16 }, padding = 1, relu = false } } },
        basic, { shortcut = true, nested = { { shortcut = true, nested = { basic, basic,
          { channels = { 16, 16 }, padding = 1, relu = false } } },
          { channels = { 16, 16 }, kernel = 1, relu = false } } } } },
  }
  for _, name in ipairs { "plain", "avx2", "avx512" } do
    for _, case in ipairs(towers) do
      it(("evaluates residual blocks as their parts one by one: %s (%s)"):format(case.name, name), function()
        if not pcall(mt.isa, name) then return pending(name .. " is not supported by this processor") end
        local model, plain = tower(case.parts)
        for _ = 1, 2 do model(mt.randn(4, 10, 13, case.channels)) end -- running statistics away from their start
        model:eval()
        mt.no_grad(function()
          for _, shape in ipairs { { 1, 10, 13 }, { 5, 10, 13 }, { 7, 8, 8 }, { 3, 2, 33 } } do
            local x = mt.randn(shape[1], shape[2], shape[3], case.channels)
            local expected = one_by_one(plain, x)
            for _, count in ipairs { 1, 2, 3 } do
              mt.set_num_threads(count)
              assert.is_true(relative(model(x), expected) < 3e-6, ("%d images, %d threads"):format(shape[1], count))
            end
          end
        end)
      end)
    end
  end

  it("gives the same bits again with the same number of threads", function()
    local list = build(cases[1])
    local model = nn.Sequential(list)
    local initial = model:state_dict()
    local x = mt.randn(7, 20, 20, 3):requires_grad(true)
    local weights = mt.randn(table.unpack(model(x):shape()))
    mt.set_num_threads(3)
    local function run()
      model:load_state_dict(initial)
      return pass(model, list, function(_, input) return model(input) end, x, weights)
    end
    local first, second = run(), run()
    assert.equal(first.y:bytes(), second.y:bytes())
    assert.equal(first.x:bytes(), second.x:bytes())
    for name, grad in pairs(first.grads) do assert.equal(grad:bytes(), second.grads[name]:bytes(), name) end
  end)

  it("keeps a NaN a NaN", function()
    local model = nn.Sequential(build(cases[1]))
    local x = mt.zeros(4, 20, 20, 3)
    x[2]:fill(0 / 0)
    local y = model(x):sum():item()
    assert.is_true(y ~= y)
  end)

  it("leaves images of the wrong shape to the operation that explains it", function()
    local model = nn.Sequential(build(cases[1]))
    assert.has_error(function() model(mt.zeros(4, 20, 20, 5)) end)
    assert.has_error(function() model(mt.zeros(4, 3, 3, 3)) end)
    assert.has_error(function() model(mt.zeros(4, 20, 20)) end)
  end)
end)
