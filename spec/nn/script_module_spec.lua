local mt = require "masktune"
local nn = mt.nn

local function doubling()
  return nn.Module{
    layer = nn.Linear(2, 2, { bias = false }),
    factor = 2,
    forward = function(self, x) return self.layer(x) * self.factor end,
  }
end

describe("a module written as a Lua table", function()
  it("runs its forward, with its children, parameters and plain fields at hand", function()
    local m = doubling()
    m.layer.weight = mt.tensor{ { 1, 0 }, { 0, -1 } }
    assert.same({ { 2, -4 } }, m(mt.tensor{ { 1, 2 } }):totable())
    m.factor = 10
    assert.same({ { 10, -20 } }, m(mt.tensor{ { 1, 2 } }):totable())
    assert.equal("Module", m:class())
  end)

  it("names children by field, sorted, list items 0, 1, ..., and makes tensors parameters", function()
    local m = nn.Module{
      nn.ReLU(), nn.Flatten(), zeta = nn.Linear(1, 1), alpha = nn.ReLU(), scale = mt.ones(3),
      forward = function(self, x) return self[1](x) * self.scale end,
    }
    local names = {}
    for name in m:children() do
      names[#names + 1] = name
    end
    assert.same({ "0", "1", "alpha", "zeta" }, names)
    local parameters = {}
    for name in m:named_parameters() do
      parameters[#parameters + 1] = name
    end
    assert.same({ "scale", "zeta.weight", "zeta.bias" }, parameters)
    m(mt.tensor{ 1, -2, 3 }):sum():backward()
    assert.same({ 1, 0, 3 }, m.scale:grad():totable())
    assert.same({ 1, 0, 3 }, m:grad_dict().scale:totable())
  end)

  it("works inside Sequential and Residual, and carries gradients", function()
    local inner = doubling()
    inner.layer.weight = mt.tensor{ { 1, 0 }, { 0, 1 } }
    local net = nn.Sequential{ { "first", inner }, { "block", nn.Residual{ doubling(), relu = false } } }
    net.block[1].layer.weight = mt.tensor{ { 1, 0 }, { 0, 1 } }
    local x = mt.tensor{ { 1, 2 } }:requires_grad(true)
    local y = net(x)
    assert.same({ { 6, 12 } }, y:totable())
    y:sum():backward()
    assert.same({ { 6, 6 } }, x:grad():totable())
    assert.same({ "block.0.layer.weight", "first.layer.weight" }, (function()
      local names = {}
      for name in pairs(net:grad_dict()) do names[#names + 1] = name end
      table.sort(names)
      return names
    end)())
  end)

  it("works in a coroutine", function()
    local net = nn.Sequential{ doubling() }
    local co = coroutine.wrap(function()
      coroutine.yield(net(mt.ones(1, 2)):shape())
      return net(mt.ones(4, 2)):shape()
    end)
    assert.same({ 1, 2 }, co())
    assert.same({ 4, 2 }, co())
  end)

  it("passes an error inside forward on, with its message, and runs again afterwards", function()
    local broken = true
    local m = nn.Sequential{ nn.Module{ forward = function(_, x)
      if broken then error("the third eye is closed", 0) end
      return x
    end } }
    local ok, message = pcall(m, mt.ones(2))
    assert.is_false(ok)
    assert.matches("the third eye is closed", message, 1, true)
    broken = false
    assert.same({ 1, 1 }, m(mt.ones(2)):totable())
    local function through_inner(self, x) return self.inner(x) end
    local shapes = nn.Sequential{ nn.Module{ inner = nn.Linear(3, 1), forward = through_inner } }
    ok, message = pcall(shapes, mt.ones(2, 2))
    assert.is_false(ok)
    assert.matches("linear: input has shape {2,2}, expected its last axis to be 3", message, 1, true)
    local value = {}
    ok, message = pcall(nn.Sequential{ nn.Module{ forward = function() error(value) end } }, mt.ones(1))
    assert.is_false(ok)
    assert.equal(value, message)
    ok, message = pcall(nn.Module{ forward = function() error(nil) end }, mt.ones(1))
    assert.is_false(ok)
    assert.is_nil(message)
  end)

  it("refuses a forward that returns no tensor, and one that calls itself without end", function()
    local ok, message = pcall(nn.Module{ forward = function() return 5 end }, mt.ones(1))
    assert.is_false(ok)
    assert.matches("Module: forward returned number, expected a tensor", message, 1, true)
    ok, message = pcall(nn.Module{ forward = function(self, x) return self(x) end }, mt.ones(1))
    assert.is_false(ok)
    assert.is_true(message:find("nested more than") ~= nil or message:find("C stack overflow") ~= nil, message)
    local endless
    endless = nn.Module{ forward = function(self, x) return coroutine.wrap(function() return self(x) end)() end }
    assert.is_false((pcall(endless, mt.ones(1))))
    assert.same({ 1 }, nn.ReLU()(mt.ones(1)):totable())
  end)

  it("is checked when it is made", function()
    local function fails(pattern, ...)
      local ok, message = pcall(nn.Module, ...)
      assert.is_false(ok)
      assert.matches(pattern, message, 1, true)
    end
    local function forward(_, x) return x end
    fails("table expected", 5)
    fails("Module: forward is nil, expected a function", {})
    fails("Module: item 1 is number, expected a module", { 5, forward = forward })
    fails("'train' is a method", { train = nn.ReLU(), forward = forward })
    fails("parameter 'w' is int32, expected float32", { w = mt.ones(2):to("int32"), forward = forward })
    local x = mt.ones(2):requires_grad(true)
    fails("parameter 'w' is the result of an operation", { w = x + x, forward = forward })
    fails("names and items 1, 2, ... without gaps expected", { [3.5] = 1, forward = forward })
    fails("not found", { cam_layer = "zzz", forward = forward })
  end)

  it("takes new children, parameters and fields later", function()
    local m = doubling()
    m.extra = nn.Linear(1, 1)
    m.gain = mt.ones(2)
    m.note = "hello"
    assert.equal(4 + 2 + 2, m:num_parameters())
    assert.equal("hello", m.note)
    assert.has_error(function() m.forward = 3 end, "Module: forward is number, expected a function")
    m.forward = function(_, x) return x end
    assert.same({ { 7, 8 } }, m(mt.tensor{ { 7, 8 } }):totable())
  end)

  it("takes several inputs, tensors or not, and gives all results", function()
    local seen
    local m = nn.Module{
      layer = nn.Linear(2, 2, { bias = false }),
      forward = function(self, a, b, options, ...)
        seen = { options = options, n = select("#", ...), ... }
        return self.layer(a) + b, "extra", nil
      end,
    }
    m.layer.weight = mt.tensor{ { 1, 0 }, { 0, 1 } }
    local options = {}
    local results = table.pack(m(mt.ones(1, 2), mt.full({ 1, 2 }, 3), options, nil, 7))
    assert.same({ { 4, 4 } }, results[1]:totable())
    assert.same({ "extra", 3 }, { results[2], results.n })
    assert.equal(options, seen.options)
    assert.same({ 2, nil, 7 }, { seen.n, seen[1], seen[2] })
    assert.same({ { 2, 2 } }, (m:forward(mt.ones(1, 2), 1)):totable())
    local x = mt.ones(1, 2):requires_grad(true)
    m(x, x * 2):sum():backward()
    assert.same({ { 3, 3 } }, x:grad():totable())
    local without = nn.Module{ forward = function(_, n) return mt.ones(n) end }
    assert.same({ 4 }, without(4):shape())
    local ok, message = pcall(nn.Sequential{ m }, mt.ones(1, 2))
    assert.is_false(ok)
    assert.matches("bad argument #2 to 'add' (tensor or number expected, got nil)", message, 1, true)
    local several = nn.Module{ forward = function(_, a) return a, a end }
    ok, message = pcall(nn.Sequential{ several }, mt.ones(1, 2))
    assert.is_false(ok)
    assert.matches("Module: forward returned 2 values, expected one tensor where it stands in a container", message, 1,
      true)
  end)

  it("is seen by heatmaps also where it is called with several inputs", function()
    local inner = nn.Module{
      conv = nn.Conv2d(3, 4, 3),
      forward = function(self, x, scale) return self.conv(x) * scale end,
    }
    local model = nn.Module{
      inner = inner,
      head = nn.Linear(4, 2),
      forward = function(self, x) return self.head(mt.global_avg_pool(self.inner(x, 2))) end,
    }
    assert.same({ 2, 6, 6 }, mt.cam.xgradcam(model, mt.rand(2, 8, 8, 3), { layer = "inner" }):shape())
  end)

  it("gives one tensor to built-in modules, which say so", function()
    local function fails(pattern, f, ...)
      local ok, message = pcall(f, ...)
      assert.is_false(ok)
      assert.equal(pattern, message)
    end
    local x = mt.ones(1, 2)
    fails("Linear: 2 inputs, expected one tensor (only the forward of a Module takes several)", nn.Linear(2, 2), x, x)
    fails("Sequential: 3 inputs, expected one tensor (only the forward of a Module takes several)",
      nn.Sequential{ nn.ReLU() }, x, nil, 3)
    assert.same({ { 1, 1 } }, nn.ReLU()(x, nil):totable())
    fails("ReLU: input is nil, expected a tensor", nn.ReLU(), nil)
    fails("ReLU: input is missing, expected a tensor", nn.ReLU())
    fails("ReLU: input is 1, expected a tensor", nn.ReLU(), 1)
    fails("ReLU: input is table, expected a tensor", nn.ReLU(), {})
    fails("Conv2d: input is 'image', expected a tensor", nn.Conv2d(3, 3, 3), "image")
    fails("ReLU: input is masktune.Module, expected a tensor", nn.ReLU(), nn.ReLU())
  end)
end)
