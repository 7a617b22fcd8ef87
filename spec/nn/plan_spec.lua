-- A container keeps the plan of its first run. Whatever changes in its tree afterwards must count in the next run as it
-- does in a tree that never ran.
local mt = require "masktune"
local nn = mt.nn

local function block(channels)
  return nn.Residual {
    { "conv1", nn.Conv2d(channels, channels, 3, { padding = 1, bias = false }) }, { "bn1", nn.BatchNorm2d(channels) },
    { "relu", nn.ReLU() }, { "conv2", nn.Conv2d(channels, channels, 3, { padding = 1, bias = false }) },
    { "bn2", nn.BatchNorm2d(channels) },
  }
end

local function net()
  return nn.Sequential {
    nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Sequential { block(8), nn.Sequential { block(8) } }, nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.ReLU(),
  }
end

local function relative(a, b)
  local d = a - b
  return math.sqrt((d * d):sum():item()) / (1e-30 + math.sqrt((b * b):sum():item()))
end

--- Runs one module; containers and residual blocks in their parts, so that no plan is made.
local function apart(module, x)
  if module.class == "Sequential" then
    for _, child in module:children() do x = apart(child, x) end
    return x
  elseif module.class == "Residual" then
    local y = x
    for name, child in module:children() do
      if name ~= "downsample" then y = apart(child, y) end
    end
    return (y + (module.downsample and apart(module.downsample, x) or x)):relu()
  end
  return module(x)
end

describe("the plan of a container", function()
  local model, x
  before_each(function()
    mt.manual_seed(4)
    model, x = net(), mt.randn(4, 12, 13, 3)
    for _ = 1, 3 do model(x * 2 + 1) end
    model:eval()
    mt.no_grad(function() model(x) end) -- the plan is there
  end)

  --- The net as it is now gives what its modules give one by one, and what a net gives that never ran.
  local function check()
    local fresh, twin = model:clone(), model:clone()
    local y = model(x):detach()
    assert.is_true(relative(y, apart(twin, x):detach()) < 1e-5)
    assert.equal(fresh(x):detach():bytes(), y:bytes())
    local state = model:state_dict()
    for name, buffer in fresh:named_buffers() do assert.equal(buffer:bytes(), state[name]:bytes(), name) end
    return y
  end

  it("sees train and eval of the whole net, and of a part", function()
    local before = check()
    model:train()
    assert.is_true(relative(check(), before) > 1e-3)
    model:eval()
    check()
    model[5][2]:train()
    check()
    model[2]:train()
    check()
    model:eval()
    check()
  end)

  it("sees freezing and its end", function()
    model:train()
    check()
    model[5]:freeze()
    local mean = model[5][1].bn1.running_mean:clone()
    check()
    assert.equal(mean:bytes(), model[5][1].bn1.running_mean:bytes())
    model[5]:unfreeze()
    check()
    assert.not_equal(mean:bytes(), model[5][1].bn1.running_mean:bytes())
  end)

  it("sees children that are replaced at every depth", function()
    local before = check()
    model[3] = nn.Identity()
    local without_relu = check()
    assert.is_true(relative(without_relu, before) > 1e-3)
    model[5][2][1].relu = nn.Tanh()
    assert.is_true(relative(check(), without_relu) > 1e-3)
    model[5][1] = block(8):eval()
    check()
    model[7] = nn.BatchNorm2d(4):eval()
    check()
    model[4] = nn.MaxPool2d(3)
    assert.same({ 4, 3, 3, 4 }, check():shape())
    model[4] = nn.AvgPool2d(2)
    check()
  end)

  it("sees children of a module that it runs but does not look into", function()
    local inner = nn.Module { layer = nn.ReLU(), forward = function(self, input) return self.layer(input) end }
    local outer = nn.Sequential { nn.Conv2d(3, 4, 1), inner }
    local y = outer(x)
    inner.layer = nn.Tanh()
    assert.is_true(relative(outer(x):detach(), y:detach()) > 1e-3)
    assert.equal(outer[1](x):tanh():detach():bytes(), outer(x):detach():bytes())
  end)

  it("sees values written to parameters and buffers, and other weights", function()
    local before = check()
    model[2].running_mean = model[2].running_mean + 1
    local moved = check()
    assert.is_true(relative(moved, before) > 1e-3)
    model[1].weight = model[1].weight:detach() * 0.5
    assert.is_true(relative(check(), moved) > 1e-3)
    model:load_state_dict(net():state_dict())
    check()
  end)

  it("sees which parameters want gradients", function()
    local function wanted()
      model:zero_grad()
      model(x):sum():backward()
      local names = {}
      for name in pairs(model:grad_dict()) do names[#names + 1] = name end
      return #names
    end
    model:train()
    local all = wanted()
    assert.is_true(all > 0)
    model[5]:freeze()
    assert.equal(all - 12, wanted())
    model[5]:unfreeze()
    assert.equal(all, wanted())
  end)

  it("sees other captures, one after the other and none in between", function()
    local function activation(m, layer)
      local _, taps = mt.capture(m, x, { layers = { layer } })
      return taps[1].value:detach()
    end
    for _ = 1, 2 do
      for _, layer in ipairs { "0", "1", "2", "4", "4.0", "4.0.bn1", "4.1.0.bn2", "4.1", "7", "3" } do
        local got = activation(model, layer)
        assert.equal(activation(model:clone(), layer):bytes(), got:bytes(), layer)
        mt.no_grad(check)
      end
    end
  end)

  it("may be changed by a script that it runs", function()
    local chain
    local meddler = nn.Module { forward = function(_, input)
      for i = 3, 5 do chain[i] = nn.Identity() end
      chain(x:narrow(1, 1, 2)) -- makes a new plan while the old one runs
      return input
    end }
    local function run(items)
      chain = nn.Sequential(items)
      return chain(x):detach()
    end
    local calls = 0
    local once = nn.Module { m = meddler, forward = function(self, input)
      calls = calls + 1
      return calls == 1 and self.m(input) or input
    end }
    mt.manual_seed(9)
    local y = run { nn.Conv2d(3, 4, 1), once, nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU() }
    assert.same({ 4, 10, 11, 5 }, y:shape()) -- that run went on as it began
    assert.same({ 4, 12, 13, 4 }, chain(x):shape())
    assert.equal(3, calls)
  end)
end)
