--- The layers as modules: what they are made of, how they print, and what they refuse. Their values are compared with
-- PyTorch's in spec/oracle/layers_golden_spec.lua, with plain loops in spec/ops.
local mt = require "masktune"
local nn = mt.nn

local function shapes(model)
  local found = {}
  for name, tensor in pairs(model:state_dict()) do
    found[name] = table.concat(tensor:shape(), ",")
  end
  return found
end

--- Every layer once, with an input it takes: { name, arguments, input, its first line in print }.
local image = { 2, 6, 7, 8 }
local layers = {
  { "Conv2d", { 8, 12, 3, { groups = 4, padding = "same", bias = false } }, image,
    "Conv2d(8, 12, kernel 3x3, stride 1x1, padding 1x1, groups 4, no bias)" },
  { "Conv2d", { 8, 8, { 3, 2 }, { dilation = { 1, 2 }, padding = { top = 1, right = 2 } } }, image,
    "Conv2d(8, 8, kernel 3x2, stride 1x1, padding top 1 bottom 0 left 0 right 2, dilation 1x2)" },
  { "Conv2d", { 8, 4, 3, { padding = "same_upper", stride = 2 } }, image,
    "Conv2d(8, 4, kernel 3x3, stride 2x2, padding same_upper)" },
  { "MaxPool2d", { 2, { ceil_mode = true, dilation = 2 } }, image,
    "MaxPool2d(kernel 2x2, stride 2x2, padding 0x0, dilation 2x2, ceil_mode)" },
  { "AvgPool2d", { 3, { stride = 2, padding = 1, count_include_pad = false } }, image,
    "AvgPool2d(kernel 3x3, stride 2x2, padding 1x1, padding not counted)" },
  { "AdaptiveAvgPool2d", { { 2, "input" } }, image, "AdaptiveAvgPool2d(2 x the input's)" },
  { "AdaptiveMaxPool2d", { 3 }, image, "AdaptiveMaxPool2d(3 x 3)" },
  { "ZeroPad2d", { { 1, 2, 3, 4 } }, image, "ZeroPad2d(top 3, bottom 4, left 1, right 2)" },
  { "LayerNorm", { 8 }, image, "LayerNorm({8}, eps 1e-05)" },
  { "LayerNorm", { { 6, 7, 8 }, { bias = false, eps = 0.1 } }, image, "LayerNorm({6,7,8}, eps 0.1, no bias)" },
  { "GroupNorm", { 2, 8, { affine = false } }, image, "GroupNorm(2, 8, eps 1e-05, no weight)" },
  { "InstanceNorm2d", { 8 }, image, "InstanceNorm2d(8, eps 1e-05, no weight)" },
  { "InstanceNorm2d", { 8, { affine = true, track_running_stats = true } }, image,
    "InstanceNorm2d(8, eps 1e-05, momentum 0.1)" },
  { "Embedding", { 5, 3, { padding_idx = 2 } }, "indices", "Embedding(5, 3, padding_idx 2)" },
  { "ReLU6", {}, image, "ReLU6()" },
  { "LeakyReLU", { 0.2 }, image, "LeakyReLU(slope 0.2)" },
  { "Sigmoid", {}, image, "Sigmoid()" },
  { "Tanh", {}, image, "Tanh()" },
  { "SiLU", {}, image, "SiLU()" },
  { "GELU", {}, image, "GELU()" },
  { "GELU", { { approximate = "tanh" } }, image, "GELU(by tanh)" },
  { "Softplus", { { beta = 2 } }, image, "Softplus(beta 2, threshold 20)" },
  { "Softmax", {}, image, "Softmax(axis -1)" },
  { "LogSoftmax", { 2 }, image, "LogSoftmax(axis 2)" },
}

local function input_for(layer)
  if layer[3] == "indices" then return mt.tensor({ { 1, 5, 2 }, { 3, 3, 1 } }, "int32") end
  return mt.randn(layer[3])
end

describe("layers", function()
  before_each(function() mt.manual_seed(11) end)

  for _, layer in ipairs(layers) do
    local name, arguments, _, line = table.unpack(layer)
    it(("%s prints, runs in both modes, and survives a state dict and a clone"):format(line), function()
      local m = nn[name](table.unpack(arguments))
      assert.equal(line, tostring(m):match("^[^\n]*%)"))
      assert.equal(name, m:class())
      local x = input_for(layer)
      local y = m(x)
      local again, copy = nn[name](table.unpack(arguments)), m:clone()
      again:load_state_dict(m:state_dict())
      m:eval()
      copy:eval()
      again:eval()
      local expected = m(x):bytes()
      assert.equal(expected, copy(x):bytes())
      assert.equal(expected, again(x):bytes())
      assert.same(y:shape(), m(x):shape())
      assert.equal(expected, nn.Sequential{ m }(x):bytes())
    end)
  end

  it("have PyTorch's names and shapes in state dicts", function()
    assert.same({ weight = "12,2,3,2", bias = "12" }, shapes(nn.Conv2d(8, 12, { 3, 2 }, { groups = 4 })))
    assert.same({ weight = "8,1,3,3" }, shapes(nn.Conv2d(8, 8, 3, { groups = 8, bias = false })))
    assert.same({ weight = "8,5,6", bias = "8,5,6" }, shapes(nn.LayerNorm{ 5, 6, 8 }))
    assert.same({ weight = "4,5", bias = "4,5" }, shapes(nn.LayerNorm{ 4, 5 }))
    assert.same({ weight = "9" }, shapes(nn.LayerNorm(9, { bias = false })))
    assert.same({}, shapes(nn.LayerNorm(9, { elementwise_affine = false })))
    assert.same({ weight = "6", bias = "6" }, shapes(nn.GroupNorm(2, 6)))
    assert.same({}, shapes(nn.InstanceNorm2d(6)))
    assert.same({ weight = "6", bias = "6", running_mean = "6", running_var = "6", num_batches_tracked = "" },
      shapes(nn.InstanceNorm2d(6, { affine = true, track_running_stats = true })))
    assert.same({ weight = "5,3" }, shapes(nn.Embedding(5, 3)))
  end)

  it("keep the weights of a LayerNorm over images as H,W,C in memory, C,H,W in files", function()
    local m = nn.LayerNorm{ 2, 3, 4 }
    m.weight = mt.arange(24):reshape(2, 3, 4)
    assert.equal(mt.arange(24):reshape(2, 3, 4):permute(3, 1, 2):bytes(), m:state_dict().weight:bytes())
    local other = nn.LayerNorm{ 2, 3, 4 }
    other:load_state_dict(m:state_dict())
    assert.equal(m.weight:bytes(), other.weight:bytes())
  end)

  it("start as PyTorch's do", function()
    local function range(t)
      return t:min():item(), t:max():item()
    end
    local conv = nn.Conv2d(8, 400, 3, { groups = 4 })
    local bound = 1 / math.sqrt(2 * 9)
    for _, t in ipairs{ conv.weight, conv.bias } do
      local low, high = range(t)
      assert.is_true(-bound <= low and low < -0.9 * bound and 0.9 * bound < high and high <= bound)
    end
    local table_of_rows = nn.Embedding(300, 20, { padding_idx = 7 }).weight
    assert.is_true(math.abs(table_of_rows:mean():item()) < 0.06)
    assert.is_true(math.abs(table_of_rows:std():item() - 1) < 0.05)
    assert.equal(0, table_of_rows[7]:abs():max():item())
    for _, m in ipairs{ nn.LayerNorm(5), nn.GroupNorm(1, 5), nn.InstanceNorm2d(5, { affine = true }) } do
      assert.same({ 1, 1, 1, 1, 1 }, m.weight:totable())
      assert.same({ 0, 0, 0, 0, 0 }, m.bias:totable())
    end
  end)

  it("of instance norm follow running statistics in evaluation only if they track them", function()
    local plain, tracking = nn.InstanceNorm2d(2), nn.InstanceNorm2d(2, { track_running_stats = true, momentum = 0.5 })
    local x = mt.randn(3, 4, 5, 2) * 2 + 1
    assert.equal(plain(x):bytes(), plain:eval()(x):bytes())
    assert.equal(plain(x):bytes(), tracking(x):bytes())
    local mean = tracking.running_mean:bytes()
    assert.are_not.equal(plain(x):bytes(), tracking:eval()(x):bytes())
    assert.equal(mean, tracking.running_mean:bytes())
    assert.is_true((tracking.running_mean - x:mean{ 1, 2, 3 } * 0.5):abs():max():item() < 1e-6)
  end)

  it("of convolutions with groups, dilation or uneven padding stand among normalisations like any other", function()
    for _, options in ipairs{
      { groups = 2, padding = 1 }, { dilation = 2, padding = 2 }, { padding = "same_upper", stride = 2 },
      { padding = { bottom = 1 } }, { groups = 8, padding = "same" },
    } do
      local conv, norm, relu = nn.Conv2d(8, 8, 3, options), nn.BatchNorm2d(8), nn.ReLU()
      local net = nn.Sequential{ conv, norm, relu, nn.MaxPool2d(2), nn.Residual{
        nn.Conv2d(8, 8, 3, { groups = 4, padding = 1 }),
        nn.BatchNorm2d(8) } }
      local apart = net:clone()
      local x = mt.randn(4, 9, 10, 8)
      for _, training in ipairs{ true, false } do
        net:train(training)
        apart:train(training)
        local y = net(x)
        local z = apart[3](apart[2](apart[1](x)))
        z = apart[4](z)
        z = (apart[5][2](apart[5][1](z)) + z):relu()
        assert.is_true((y - z):abs():max():item() < 1e-5)
        y:sum():backward()
        z:sum():backward()
        for name, gradient in pairs(net:grad_dict()) do
          local scale = gradient:abs():max():item() + 1e-2 -- a bias before normalisation has rounding errors alone
          assert.is_true((gradient - apart:grad_dict()[name]):abs():max():item() / scale < 1e-3, name)
        end
        net:zero_grad()
        apart:zero_grad()
      end
    end
  end)

  it("name the argument, its value and what was expected", function()
    local function fails(pattern, f, ...)
      local ok, message = pcall(f, ...)
      assert.is_false(ok)
      assert.matches(pattern, message, 1, true)
    end
    fails("Conv2d: groups is 3, expected a divisor of inputs (8) and outputs (12)", nn.Conv2d, 8, 12, 3, { groups = 3 })
    fails("option 'padding': \"same\" is for a stride of 1", nn.Conv2d, 8, 12, 3, { padding = "same", stride = 2 })
    fails("option 'padding'", nn.Conv2d, 8, 12, 3, { padding = true })
    fails("unknown option 'dilation'", nn.AvgPool2d, 2, { dilation = 2 })
    fails("unknown option 'count_include_pad'", nn.MaxPool2d, 2, { count_include_pad = false })
    fails("GroupNorm: groups is 4, expected a divisor of channels (6)", nn.GroupNorm, 4, 6)
    fails("GroupNorm: input has shape {2,5}, expected {N,...,6}", nn.GroupNorm(2, 6), mt.ones(2, 5))
    fails("InstanceNorm2d: input has shape {2,5}, expected {N,H,W,6}", nn.InstanceNorm2d(6), mt.ones(2, 5))
    fails("layer_norm: input has shape {2,5}, expected it to end in {6}", nn.LayerNorm(6), mt.ones(2, 5))
    fails("one size or more expected", nn.LayerNorm, {})
    fails("size 1 of the shape: integer >= 0 expected, got 'a'", nn.LayerNorm, { "a" })
    fails("bad argument #1 to 'LayerNorm' (integer in [1, 1073741824] expected, got no value)", nn.LayerNorm)
    fails("Softmax: input has shape {2,3}, expected one with an axis 3", nn.Softmax(3), mt.ones(2, 3))
    fails("axis 1, 2, ... or -1, -2, ... expected, got 0", nn.Softmax, 0)
    fails("embedding: element 1 of the indices is 6, expected 1..5", nn.Embedding(5, 2), mt.tensor({ 6 }, "int32"))
    fails("option 'padding_idx': integer in [1, 5] expected, got 6", nn.Embedding, 5, 2, { padding_idx = 6 })
    fails("number expected, got 'x'", nn.LeakyReLU, "x")
    fails("no argument expected", nn.ReLU6, 1)
    fails("option 'approximate': 'none' or 'tanh' expected, got 'erf'", nn.GELU, { approximate = "erf" })
    fails("option 'beta': number in", nn.Softplus, { beta = -1 })
    fails("bad argument #1 to 'ZeroPad2d'", nn.ZeroPad2d, { 1, 2, 3 })
    fails("bad argument #1 to 'AdaptiveAvgPool2d' (integer in [1, 1073741824] or \"input\"", nn.AdaptiveAvgPool2d, 0)
    fails("too many elements", nn.LayerNorm, { 1 << 30, 1 << 30, 1 << 30 })
  end)
end)
