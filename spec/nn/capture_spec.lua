local mt = require "masktune"
local reference = require "support.reference"
local nn = mt.nn

local function layers()
  return {
    nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 6, 3, { padding = 1 }), nn.ReLU(), nn.MaxPool2d(2),
    nn.Residual{ { "conv1", nn.Conv2d(6, 6, 3, { padding = 1 }) }, { "bn1", nn.BatchNorm2d(6) } },
    nn.Residual{ { "conv1", nn.Conv2d(6, 6, 3, { padding = 1 }) }, { "bn1", nn.BatchNorm2d(6) },
      { "relu", nn.ReLU() }, { "conv2", nn.Conv2d(6, 6, 1) }, { "bn2", nn.BatchNorm2d(6) } },
    nn.Sequential{ nn.Conv2d(6, 6, 3, { padding = 1 }), nn.BatchNorm2d(6), nn.ReLU() },
    nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 5 * 5, 3),
  }
end

--- The same modules, called one at a time from Lua: nothing is fused.
local function unfused(items)
  local module = nn.Module{ forward = function(self, x)
    for i = 1, #items do
      x = self[i](x)
    end
    return x
  end, table.unpack(items) }
  return module
end

local function distance(a, b)
  return reference.relative_error(reference.from_tensor(a), reference.from_tensor(b))
end

local paths = { "0", "1", "2", "3", "4", "5", "6", "6.conv1", "6.bn1", "7", "7.conv1", "7.bn1", "7.relu", "7.conv2",
  "7.bn2", "8", "8.0", "8.1", "8.2", "9", "10" }

describe("the activation of a layer inside a fused chain", function()
  for _, path in ipairs(paths) do
    it("and its gradient are what they are without fusion: layer " .. path, function()
      mt.manual_seed(15) -- every layer's heatmap is well away from zero
      local items = layers()
      local chain, single = nn.Sequential(items), unfused(items)
      local images = mt.rand(4, 12, 12, 3)
      chain(images)
      chain:eval()
      single:eval()
      local a = reference.from_tensor(mt.cam.xgradcam(chain, images, { layer = path }))
      local b = reference.from_tensor(mt.cam.xgradcam(single, images, { layer = path }))
      assert.same(b.shape, a.shape)
      local largest = math.max(table.unpack(b))
      assert.is_true(largest > 0)
      assert.is_true(reference.relative_error(a, b) < 1e-4)
    end)
  end

  it("leaves no gradients behind and training as it was", function()
    local chain = nn.Sequential(layers()):eval()
    mt.cam.xgradcam(chain, mt.rand(1, 12, 12, 3), { layer = "2" })
    assert.same({}, chain:grad_dict())
    chain(mt.rand(1, 12, 12, 3)):sum():backward()
    assert.is_not_nil(chain:grad_dict()["0.weight"])
  end)
end)

describe("mt.capture", function()
  local chain, images, seed

  before_each(function()
    mt.manual_seed(15)
    chain = nn.Sequential(layers())
    images = mt.rand(4, 12, 12, 3)
    chain(images)
    chain:eval()
    seed = mt.randn(4, 3)
  end)

  --- What layer i of the chain gives, and its gradient, by running the layers one at a time from a leaf there.
  local function by_hand(i)
    local x
    mt.no_grad(function()
      x = images
      for j = 1, i do
        x = chain[j](x)
      end
    end)
    x = x:detach():requires_grad(true)
    local y = x
    for j = i + 1, #chain do
      y = chain[j](y)
    end
    y:backward(seed)
    chain:zero_grad()
    return x:detach(), x:grad()
  end

  it("gives all layers' values and gradients in one pass, from the first to the last", function()
    local names = {}
    for i = 1, #chain do
      names[i] = tostring(i - 1)
    end
    local logits, taps = mt.capture(chain, images, { layers = names })
    logits:backward(seed)
    for i = 1, #chain do
      local value, gradient = by_hand(i)
      assert.equal(names[i], taps[i].name)
      assert.equal(chain[i], taps[i].module)
      assert.equal(1, taps[i].runs)
      assert.is_true(distance(taps[i].value:detach(), value) < 1e-4)
      assert.is_true(distance(taps[i].value:grad(), gradient) < 1e-4)
    end
    assert.same({}, chain:grad_dict())
  end)

  it("gives every layer the gradient it gives alone, in any order, nested ones too", function()
    local mixed = { "7.bn2", "0", "8", "8.2", "7", "6.conv1", "5" }
    local logits, taps = mt.capture(chain, images, { layers = mixed })
    logits:backward(seed)
    for i, path in ipairs(mixed) do
      local alone, tap = mt.capture(chain, images, { layers = { path } })
      assert.is_true(distance(alone:detach(), logits:detach()) < 1e-5)
      alone:backward(seed)
      assert.is_true(distance(taps[i].value:detach(), tap[1].value:detach()) < 1e-5)
      assert.is_true(distance(taps[i].value:grad(), tap[1].value:grad()) < 1e-4)
    end
    -- the container's output is its last child's
    assert.equal(taps[3].value:grad():bytes(), taps[4].value:grad():bytes())
  end)

  it("gives the images' gradient, and takes uint8", function()
    local leaf = images:clone():requires_grad(true)
    chain(leaf):backward(seed)
    chain:zero_grad()
    local logits, taps = mt.capture(chain, images, { input = true })
    logits:backward(seed)
    assert.same({}, { table.unpack(taps) })
    assert.is_true(distance(taps.input:grad(), leaf:grad()) < 1e-4)
    assert.is_nil(images:grad())
    assert.is_false(images:requires_grad())
    local bytes = (images * 255):to("uint8")
    local _, of_bytes = mt.capture(chain, bytes)
    assert.is_true(distance(of_bytes.input, bytes:to("float32") / 255) < 1e-6)
    assert.is_false(of_bytes.input:requires_grad())
  end)

  it("records nothing without gradients", function()
    local logits, taps = mt.capture(chain, images, { layers = { "2", "8" }, gradients = false, input = true })
    assert.is_false(logits:requires_grad())
    assert.is_false(taps[1].value:requires_grad())
    assert.is_false(taps.input:requires_grad())
    local recorded, same = mt.capture(chain, images, { layers = { "2", "8" } })
    assert.is_true(distance(logits, recorded:detach()) < 1e-5)
    assert.is_true(distance(taps[2].value, same[2].value:detach()) < 1e-5)
  end)

  it("works inside no_grad, and leaves modes as they were", function()
    chain:train()
    chain[2]:eval()
    mt.no_grad(function()
      local logits, taps = mt.capture(chain, images, { layers = { "3" } })
      assert.is_false(mt.is_grad_enabled())
      logits:backward(seed)
      assert.is_truthy(taps[1].value:grad())
    end)
    assert.is_true(chain:is_training() and chain[1]:is_training() and mt.is_grad_enabled())
    assert.is_false(chain[2]:is_training())
  end)

  describe("puts a value in a layer's place:", function()
    --- The logits when the values of layer `path` are doubled, by hand: in a script that scales its output.
    local function doubled(path)
      local _, taps = mt.capture(chain, images, { layers = { path }, gradients = false })
      return taps[1].value * 2
    end

    for _, path in ipairs(paths) do
      it("layer " .. path, function()
        local value = doubled(path)
        local logits = mt.capture(chain, images, { layers = { path }, replace = { [path] = value }, gradients = false })
        -- a second tap, on the images' side of the net, keeps the whole net running
        local other = path == "0" and "1" or "0"
        local whole, taps = mt.capture(chain, images,
          { layers = { other, path }, replace = { [path] = value }, gradients = false })
        assert.equal(value:bytes(), taps[2].value:bytes())
        assert.is_true(distance(logits, whole) < 1e-5)
        assert.is_true(distance(logits, chain(images):detach()) > 1e-3)
        -- one image for all of several values
        local one = mt.capture(chain, images:narrow(1, 1, 1),
          { layers = { path }, replace = { [path] = value:narrow(1, 2, 2) }, gradients = false })
        if not path:find("^[67]%.") then -- inside a residual block the image itself matters too
          assert.is_true(distance(one, logits:narrow(1, 2, 2)) < 1e-5)
        end
        assert.same({ 2, 3 }, one:shape())
      end)
    end

    it("with its gradient, which goes no further down", function()
      local value = doubled("4")
      local logits, taps = mt.capture(chain, images,
        { layers = { "2", "4", "8" }, replace = { ["4"] = value }, input = true })
      logits:backward(seed)
      assert.is_nil(taps[1].value:grad())
      assert.is_nil(taps.input:grad())
      local x = value:clone():requires_grad(true)
      local y = x
      for i = 6, #chain do
        y = chain[i](y)
      end
      y:backward(seed)
      chain:zero_grad()
      assert.is_true(distance(taps[2].value:grad(), x:grad()) < 1e-4)
      assert.is_truthy(taps[3].value:grad())
      local alone, tap = mt.capture(chain, images, { layers = { "4" }, replace = { ["4"] = value } })
      alone:backward(seed)
      assert.is_true(distance(tap[1].value:grad(), x:grad()) < 1e-4)
    end)

    it("in a script's forward, and where a module stands twice", function()
      local shared = nn.Conv2d(3, 3, 1)
      local twice = nn.Sequential{ shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(3 * 12 * 12, 2) }
      local _, taps = mt.capture(twice, images, { layers = { "0" } })
      assert.equal(2, taps[1].runs)
      assert.is_true(distance(taps[1].value:detach(), shared(images):detach()) < 1e-6)
      local value = mt.rand(4, 12, 12, 3)
      local logits = mt.capture(twice, images, { layers = { "0" }, replace = { ["0"] = value }, gradients = false })
      local by_hand_again = twice[5](twice[4](shared(value:relu())))
      assert.is_true(distance(logits, by_hand_again:detach()) < 1e-5)
      local script = unfused(layers()):eval()
      local six = mt.rand(4, 10, 10, 6)
      local replaced = mt.capture(script, images, { layers = { "3" }, replace = { ["3"] = six }, gradients = false })
      local y = six
      for i = 5, 13 do
        y = script[i](y)
      end
      assert.is_true(distance(replaced, y:detach()) < 1e-5)
    end)
  end)

  it("says of a layer that does not run that it did not", function()
    local idle = nn.Module{ used = nn.Linear(3, 2), unused = nn.ReLU(), forward = function(self, x)
      return self.used(x:mean{ 2, 3 })
    end }
    local logits, taps = mt.capture(idle, images, { layers = { "unused", "used" } })
    assert.is_nil(taps[1].value)
    assert.equal(0, taps[1].runs)
    assert.equal(logits:bytes(), taps[2].value:bytes())
  end)

  it("has no gradient where a layer gives integers", function()
    local script = nn.Module{ pick = nn.Module{ forward = function(_, x) return x:argmax(4) end },
      forward = function(self, x) return self.pick(x):to("float32"):sum{ 2, 3 } end }
    local logits, taps = mt.capture(script, images, { layers = { "pick" } })
    assert.equal("int32", taps[1].value:dtype())
    assert.is_false(taps[1].value:requires_grad() or logits:requires_grad())
  end)

  it("can run inside another", function()
    local inner_heat
    local script = nn.Module{ net = chain, forward = function(self, x)
      inner_heat = mt.cam.gradcam(self.net, x, { layer = "8" })
      return self.net(x)
    end }
    local logits, taps = mt.capture(script, images, { layers = { "net.2" } })
    logits:backward(seed)
    local alone, tap = mt.capture(chain, images, { layers = { "2" } })
    alone:backward(seed)
    assert.equal(tap[1].value:grad():bytes(), taps[1].value:grad():bytes())
    assert.equal(mt.cam.gradcam(chain, images, { layer = "8" }):bytes(), inner_heat:bytes())
  end)

  it("returns its memory", function()
    local function once()
      local logits, taps = mt.capture(chain, images, { layers = paths, input = true })
      logits:backward(seed)
      return taps[1].value:grad():sum():item()
    end
    once()
    collectgarbage()
    local before = mt.memory().live
    for _ = 1, 5 do
      once()
    end
    collectgarbage()
    assert.equal(before, mt.memory().live)
  end)

  it("says what is wrong, and leaves the net as it was", function()
    chain:train()
    for message, arguments in pairs{
      ["unknown option 'layer'"] = { chain, images, { layer = "2" } },
      ["option 'layers': list of names of layers expected, got '2'"] = { chain, images, { layers = "2" } },
      ["list of names of layers expected"] = { chain, images, { layers = { 2 } } },
      ["module '99' not found"] = { chain, images, { layers = { "99" } } },
      ["the same module stands there twice"] = { chain, images, { layers = { "2", "2" } } },
      ["float32 tensor expected for layer '2'"] = { chain, images, { layers = { "2" }, replace = { ["2"] = 1 } } },
      ["values for layers that are among 'layers'"] =
        { chain, images, { layers = { "2" }, replace = { ["3"] = mt.zeros(1) } } },
      ["capture: replacement has shape {4,1}, expected {4,10,10,6}"] =
        { chain, images, { layers = { "0", "3" }, replace = { ["3"] = mt.zeros(4, 1) } } },
      ["option 'gradients': boolean expected, got 1"] = { chain, images, { gradients = 1 } },
      ["images {N,H,W,C} expected, got {4,12}"] = { chain, mt.zeros(4, 12) },
      ["float32 or uint8 images expected, got int32"] = { chain, mt.zeros({ 4, 12, 12, 3 }, "int32") },
      ["conv2d: input has 2 channels, expected the weight's 3"] =
        { chain, mt.zeros(4, 12, 12, 2), { layers = { "4" } } },
    } do
      local ok, problem = pcall(mt.capture, table.unpack(arguments))
      assert.is_false(ok, message)
      assert.is_truthy(tostring(problem):find(message, 1, true), problem)
      assert.is_true(chain:is_training() and chain[3]:is_training() and mt.is_grad_enabled())
    end
    local raised = { "a table" }
    local script = nn.Module{ forward = function() error(raised) end }
    local ok, problem = pcall(mt.capture, script, images)
    assert.is_false(ok)
    assert.equal(raised, problem)
  end)
end)
