local mt = require "masktune"
local nn = mt.nn

local function small_net()
  return nn.Sequential{
    { "features", nn.Sequential{ nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU() } },
    { "flatten", nn.Flatten() },
    { "head", nn.Linear(12, 4) },
  }
end

local function names(iterate, ...)
  local list = {}
  for name in iterate(...) do
    list[#list + 1] = name
  end
  return list
end

describe("a module", function()
  before_each(function() mt.manual_seed(3) end)

  it("finds its children by name, position and dotted path, as one and the same object", function()
    local net = small_net()
    assert.equal(net.features, net.features)
    assert.equal(net.features, net[1])
    assert.equal(net.features[3], net:get("features.2"))
    assert.equal(net, net:get(""))
    assert.equal(3, #net)
    assert.is_nil(net[4])
    assert.is_nil(net.nothing)
    assert.equal("Conv2d", net.features[1]:class())
  end)

  it("says which names there are when a path leads nowhere", function()
    local net = small_net()
    assert.has_error(function() net:get("features.9") end,
      "module 'features.9' not found: no '9' in this Sequential, which has 0, 1, 2")
    for _, path in ipairs{ "features..0", ".features", "features.", "head.weight", ("x"):rep(300) } do
      local ok, message = pcall(net.get, net, path)
      assert.is_false(ok)
      assert.matches("not found", message, 1, true)
    end
  end)

  it("lists children, modules, parameters and buffers in the tree's order", function()
    local net = small_net()
    assert.same({ "features", "flatten", "head" }, names(net.children, net))
    local modules = { "", "features", "features.0", "features.1", "features.2", "flatten", "head" }
    assert.same(modules, names(net.modules, net))
    local parameters = {
      "features.0.weight", "features.0.bias", "features.1.weight", "features.1.bias", "head.weight", "head.bias",
    }
    assert.same(parameters, names(net.named_parameters, net))
    assert.same({ "features.1.running_mean", "features.1.running_var", "features.1.num_batches_tracked" },
      names(net.named_buffers, net))
    assert.equal(6, #net:parameters())
    assert.equal(3, #net:buffers())
    assert.equal(2 * 3 * 9 + 3 + 3 + 3 + 12 * 4 + 4, net:num_parameters())
  end)

  it("keeps convolution weights as kH,kW,I,O in memory and starts inside PyTorch's bounds", function()
    local conv = nn.Conv2d(5, 40, { 3, 2 })
    assert.same({ 3, 2, 5, 40 }, conv.weight:shape())
    local bound = 1 / math.sqrt(5 * 3 * 2)
    local sum, square, largest, n = 0, 0, 0, conv.weight:numel()
    for _, v in ipairs(conv.weight:reshape(n):totable()) do
      sum, square, largest = sum + v, square + v * v, math.max(largest, math.abs(v))
    end
    assert.is_true(largest <= bound and largest > 0.98 * bound)
    assert.is_true(math.abs(sum / n) < 4 * bound / math.sqrt(3 * n))
    assert.is_true(math.abs(square / n - bound ^ 2 / 3) < 0.1 * bound ^ 2)
    local linear = nn.Linear(16, 50)
    assert.same({ 50, 16 }, linear.weight:shape())
    for _, v in ipairs(linear.bias:totable()) do
      assert.is_true(math.abs(v) <= 0.25)
    end
    assert.is_nil(nn.Linear(3, 3, { bias = false }).bias)
  end)

  it("starts from the same values after the same seed", function()
    mt.manual_seed(9)
    local a = nn.Linear(6, 6).weight:bytes()
    mt.manual_seed(9)
    assert.equal(a, nn.Linear(6, 6).weight:bytes())
    assert.are_not.equal(a, nn.Linear(6, 6).weight:bytes())
  end)

  it("switches the whole tree between training and evaluation", function()
    local net = small_net()
    assert.is_true(net.features[2]:is_training())
    assert.equal(net, net:eval())
    assert.is_false(net.features[2]:is_training())
    assert.equal(net, net:train())
    assert.is_true(net.features[2]:is_training())
    net:train(false)
    assert.is_false(net:is_training())
  end)

  it("counts batches and moves running statistics in training only", function()
    local norm = nn.BatchNorm1d(2, { momentum = 0.5 })
    norm(mt.tensor{ { 1, 0 }, { 3, 0 } })
    assert.equal(1, norm.num_batches_tracked:item())
    assert.same({ 1, 0 }, norm.running_mean:totable())
    assert.same({ 1.5, 0.5 }, norm.running_var:totable())
    norm:eval()
    norm(mt.tensor{ { 5, 5 }, { 3, 1 } })
    assert.equal(1, norm.num_batches_tracked:item())
    assert.same({ 1, 0 }, norm.running_mean:totable())
  end)

  it("drops out in training and lets everything through in evaluation", function()
    local dropout = nn.Dropout(0.5)
    local x = mt.ones(1000)
    assert.are_not.equal(x:bytes(), dropout(x):bytes())
    dropout:eval()
    assert.equal(x:bytes(), dropout(x):bytes())
  end)

  it("takes values into a parameter that optimisers may hold already", function()
    local linear = nn.Linear(2, 1)
    local held = linear:parameters()[1]
    linear.weight = mt.tensor{ { 3, 4 } }
    assert.same({ { 3, 4 } }, held:totable())
    assert.has_error(function() linear.weight = mt.ones(2, 2) end, "Linear: weight has shape {2,2}, expected {1,2}")
    assert.has_error(function() linear.weight = 3 end, "Linear: weight is number, expected a tensor")
    assert.has_error(function() linear.colour = 3 end, "Linear: no field 'colour' to assign")
    assert.has_error(function() linear.train = 3 end, "Linear: 'train' is a method and cannot be assigned")
  end)

  it("has a child replaced, by name or position", function()
    local net = small_net()
    local head = nn.Linear(12, 9)
    net.head = head
    assert.equal(head, net.head)
    assert.same({ 2, 9 }, net(mt.rand(2, 4, 4, 2)):shape())
    net[3] = nn.Linear(12, 5)
    assert.same({ 2, 5 }, net(mt.rand(2, 4, 4, 2)):shape())
    assert.has_error(function() net.head = 5 end, "Sequential: head is number, expected a module")
    assert.has_error(function() net[7] = head end, "Sequential: child 7 does not exist, there are 3")
  end)

  it("carries cam_layer, which must exist, and classes", function()
    local net = small_net()
    net.cam_layer = "features.2"
    net.classes = 4
    assert.equal("features.2", net.cam_layer)
    assert.equal(4, net.classes)
    assert.has_error(function() net.cam_layer = "features.7" end)
    assert.has_error(function() net.classes = 0 end)
    net.cam_layer = nil
    assert.is_nil(net.cam_layer)
  end)

  it("never stands inside itself and never nests without bound", function()
    local inner = nn.Sequential{ nn.ReLU() }
    local outer = nn.Sequential{ inner }
    assert.has_error(function() inner[1] = outer end, "Sequential: a module cannot stand inside itself")
    assert.has_error(function() inner[1] = inner end, "Sequential: a module cannot stand inside itself")
    local ok, message = pcall(function()
      local tower = nn.ReLU()
      for _ = 1, 100000 do
        tower = nn.Sequential{ tower }
      end
    end)
    assert.is_false(ok)
    assert.matches("modules are nested 65 deep, expected at most 64", message, 1, true)
    ok, message = pcall(function()
      local place = nn.Sequential{ nn.ReLU() }
      for _ = 1, 100000 do
        local below = nn.Sequential{ nn.ReLU() }
        place[1] = below
        place = below
      end
    end)
    assert.is_false(ok)
    assert.matches("levels deep, expected at most", message, 1, true)
  end)

  it("tells modules from other values", function()
    assert.is_true(mt.is_module(nn.ReLU()))
    for _, value in ipairs{ 3, "x", {}, mt.ones(1), print } do
      assert.is_false(mt.is_module(value))
    end
    assert.is_false(mt.is_module())
  end)

  it("prints as a tree with the parameters of every layer and in all", function()
    assert.equal([[
Sequential(
  (features): Sequential(
    (0): Conv2d(2, 3, kernel 3x3, stride 1x1, padding 0x0)          57
    (1): BatchNorm2d(3, eps 1e-05, momentum 0.1)                     6
    (2): ReLU()
  )
  (flatten): Flatten()
  (head): Linear(12, 4)                                             52
)
115 parameters]], tostring(small_net()))
    assert.equal("ReLU()\n0 parameters", tostring(nn.ReLU()))
    assert.matches("1,000,000 parameters$", tostring(nn.Linear(1000, 1000, { bias = false })))
  end)

  it("refuses arguments that make no layer, naming them", function()
    local function fails(pattern, f, ...)
      local ok, message = pcall(f, ...)
      assert.is_false(ok)
      assert.matches(pattern, message, 1, true)
    end
    fails("bad argument #1", nn.Conv2d, 0, 3, 3)
    fails("bad argument #3", nn.Conv2d, 3, 3, "3")
    fails("bad argument #3", nn.Conv2d, 3, 3, { 3, 0 })
    fails("option 'stride': integer in [1, 1024] or a table of two expected, got 0", nn.Conv2d, 3, 3, 3, { stride = 0 })
    fails("unknown option 'pad'", nn.Conv2d, 3, 3, 3, { pad = 1 })
    fails("number in [0, 1] expected", nn.Dropout, 1.5)
    fails("option 'momentum'", nn.BatchNorm2d, 3, { momentum = 2 })
    fails("no argument expected", nn.ReLU, true)
    fails("too many elements", nn.Linear, 1 << 30, 1 << 30)
    fails("item 2: module or {name, module} expected, got number", nn.Sequential, { nn.ReLU(), 5 })
    fails("item 1: module or {name, module} expected", nn.Sequential, { { nn.ReLU() } })
    fails("name 'a' is used twice", nn.Sequential, { { "a", nn.ReLU() }, { "a", nn.ReLU() } })
    fails("name is 'a.b'", nn.Sequential, { { "a.b", nn.ReLU() } })
    fails("named modules are written {\"conv\", module}", nn.Sequential, { conv = nn.ReLU() })
    fails("BatchNorm2d: input has shape {2,3}, expected {N,H,W,C}", nn.BatchNorm2d(3), mt.ones(2, 3))
    fails("ReLU: input is 5, expected a tensor", nn.ReLU(), 5)
  end)
end)

describe("Residual", function()
  it("adds the input, or what `downsample` makes of it, and rectifies", function()
    local x = mt.tensor{ { 1, -2 }, { -3, 4 } }
    local double = nn.Linear(2, 2, { bias = false })
    double.weight = mt.tensor{ { 2, 0 }, { 0, 2 } }
    assert.same({ { 3, 0 }, { 0, 12 } }, nn.Residual{ double }(x):totable())
    assert.same({ { 3, -6 }, { -9, 12 } }, nn.Residual{ double, relu = false }(x):totable())
    local triple = nn.Linear(2, 2, { bias = false })
    triple.weight = mt.tensor{ { 3, 0 }, { 0, 3 } }
    local block = nn.Residual{ { "conv1", double }, downsample = triple, relu = false }
    assert.same({ { 5, -10 }, { -15, 20 } }, block(x):totable())
    assert.same({ "conv1", "downsample" }, names(block.children, block))
  end)

  it("refuses a main path whose shape is not the shortcut's, instead of broadcasting", function()
    local ok, message = pcall(nn.Residual{ nn.Linear(2, 1) }, mt.ones(3, 2))
    assert.is_false(ok)
    assert.matches("Residual: shortcut has shape {3,2}, expected {3,1}", message, 1, true)
  end)
end)
