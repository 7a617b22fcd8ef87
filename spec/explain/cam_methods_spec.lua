--- What all heatmap methods have in common, and what golden files cannot show. Their formulas are compared with
-- PyTorch's values in spec/oracle/cam_golden_spec.lua.
local mt = require "masktune"
local nn = mt.nn

local N, H, W = 5, 11, 9
local CLASSES = 4

local function build()
  return nn.Sequential{
    { "stem", nn.Sequential{ nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU() } },
    { "pool", nn.MaxPool2d(2) },
    { "body", nn.Residual{ { "conv1", nn.Conv2d(6, 6, 3, { padding = 1 }) }, { "bn1", nn.BatchNorm2d(6) } } },
    { "flatten", nn.Flatten() },
    { "out", nn.Linear(6 * 4 * 3, CLASSES) },
  }
end

local function flat(tensor) return tensor:reshape(tensor:numel()):totable() end

local function distance(a, b)
  local difference, norm = 0, 0
  local values = flat(b)
  for i, value in ipairs(flat(a)) do
    difference = difference + (value - values[i]) ^ 2
    norm = norm + values[i] ^ 2
  end
  assert(norm > 0)
  return math.sqrt(difference / norm)
end

--- Heatmaps of a method whose random numbers begin anew.
local function heat_of(method, model, images, options)
  options = options or {}
  if method.options.generator then options.generator = mt.generator(3) end
  return method(model, images, options)
end

local names = { "ablationcam", "eigencam", "eigengradcam", "elementwise", "fem", "finercam", "fullgrad", "gradcam",
  "gradcam++", "hirescam", "input_x_gradient", "integrated_gradients", "layercam", "random", "scorecam", "smoothgrad",
  "xgradcam" }

describe("every heatmap method", function()
  local model, images

  setup(function()
    mt.manual_seed(21)
    model = build()
    images = mt.rand(N, H, W, 3)
    model(images)
    model.cam_layer = "body"
  end)

  it("is listed with a line about it", function()
    local found = {}
    for name, method in pairs(mt.cam) do
      found[#found + 1] = name
      assert.is_true(#method.summary > 10 and #method.paper > 5, name)
    end
    assert.same(names, found)
    local text = tostring(mt.cam)
    for _, name in ipairs(names) do
      assert.is_truthy(("\n" .. text):find("\n" .. name:gsub("%+", "%%+") .. " +%S"), name)
    end
  end)

  for _, name in ipairs(names) do
    describe(name, function()
      local method = mt.cam[name]

      it("gives heat >= 0 of the right shape, and the predictions", function()
        local heat, predicted = heat_of(method, model, images)
        assert.same(method.input and { N, H, W } or { N, 4, 3 }, heat:shape())
        assert.equal("float32", heat:dtype())
        assert.is_true(heat:min():item() >= 0)
        assert.is_true(heat:max():item() > 0)
        assert.is_false(heat:requires_grad())
        model:eval()
        assert.same(model(images):argmax(2):totable(), predicted:totable())
        model:train()
      end)

      it("gives the same for parts of the images, but for the noise of smoothgrad", function()
        local options = name == "smoothgrad" and { noise = 0 } or {}
        local heat, predicted = heat_of(method, model, images, options)
        for _, batch in ipairs{ 1, 2, N } do
          options.batch = batch
          local again, classes = heat_of(method, model, images, options)
          assert.is_true(distance(again, heat) < 1e-4)
          assert.same(predicted:totable(), classes:totable())
        end
      end)

      it("takes uint8 images, works inside no_grad, and leaves everything as it was", function()
        local bytes = (images * 255):to("uint8")
        model:train()
        model:get("stem.1"):eval()
        local state = model:state_dict()["stem.1.running_mean"]:totable()
        local heat = heat_of(method, model, bytes)
        local same
        mt.no_grad(function()
          same = heat_of(method, model, bytes:to("float32") / 255)
          assert.is_false(mt.is_grad_enabled())
        end)
        assert.is_true(distance(heat, same) < 1e-5)
        assert.is_true(model:is_training() and model.body:is_training() and mt.is_grad_enabled())
        assert.is_false(model:get("stem.1"):is_training())
        assert.same(state, model:state_dict()["stem.1.running_mean"]:totable())
        assert.same({}, model:grad_dict())
        model:train()
      end)

      it("takes targets", function()
        local _, predicted = heat_of(method, model, images)
        local default = heat_of(method, model, images)
        assert.is_true(distance(heat_of(method, model, images, { target = predicted }), default) < 1e-6)
        local each = {}
        for i = 1, N do
          each[i] = i % CLASSES + 1
        end
        local mixed = heat_of(method, model, images, { target = mt.tensor(each, "int32") })
        local second = heat_of(method, model, images, { target = 2 })
        assert.equal(second[1]:bytes(), mixed[1]:bytes())
        local ignores = { eigencam = true, fem = true, random = true }
        assert.equal(ignores[name] == true, second:bytes() == heat_of(method, model, images, { target = 3 }):bytes())
      end)

      it("gives the same when called again", function()
        local heat = method(model, images)
        mt.rand(3)
        assert.equal(heat:bytes(), method(model, images):bytes())
      end)

      if not method.input then
        it("averages several layers' scaled heatmaps, in any layer's resolution", function()
          local function scaled(layer)
            local heat = heat_of(method, model, images, { layer = layer })
            local low = heat:min({ 2, 3 }, { keepdim = true })
            heat = (heat - low) / ((heat - low):max({ 2, 3 }, { keepdim = true }) + 1e-7)
            return mt.image.resize(heat, { size = { H, W }, planes = true })
          end
          local heat = heat_of(method, model, images, { layers = { "stem.2", "body" } })
          assert.same({ N, H, W }, heat:shape())
          if name ~= "random" then -- which draws on
            assert.is_true(distance(heat, (scaled "stem.2" + scaled "body") / 2) < 1e-4)
          end
          assert.is_true(distance(heat_of(method, model, images, { layers = { "body" } }), scaled "body") < 1e-5)
        end)
      end

      it("says what is wrong", function()
        local layered = not method.input
        for message, options in pairs{
          ["unknown option 'colour'"] = { colour = 1 },
          ["target of image 1 is 9, expected 1 to 4"] = { target = 9 },
          ["option 'target': integer >= 1 or int32 tensor {N} expected, got 'x'"] = { target = "x" },
          ["option 'batch': integer >= 1 expected, got 0"] = { batch = 0 },
          [layered and "gives shape {5,72}, expected {5,h,w,C}" or "unknown option 'layer'"] = { layer = "flatten" },
          [layered and "module 'nowhere' not found" or "unknown option 'layers'"] = { layers = { "nowhere" } },
          [layered and "options 'layer' and 'layers': one of them" or "unknown option 'layer"] =
            { layer = "body", layers = { "body" } },
        } do
          local ok, problem = pcall(method, model, images, options)
          assert.is_false(ok, message)
          assert.is_truthy(problem:find(message, 1, true), problem)
          assert.is_nil(problem:find("engine.lua", 1, true), problem)
        end
        local ok, problem = pcall(method, images, images)
        assert.is_false(ok)
        assert.is_truthy(problem:find("mt.cam." .. name .. ": argument 'model': module expected", 1, true), problem)
      end)
    end)
  end

  it("blames the line that called it", function()
    local line = debug.getinfo(1, "l").currentline
    for i, wrong in ipairs{
      function() mt.cam.layercam(model, images, { colour = 1 }) end,
      function() mt.cam.layercam(model, images, { target = 1.5 }) end,
      function() mt.cam.layercam(model, 3) end,
      function() mt.cam.layercam(3, images) end,
      function() mt.explain(model, images, { cam = "layercam", colour = 1 }) end,
      function() mt.explain(model, images, { cam = "nosuch" }) end,
    } do
      local _, problem = pcall(wrong)
      assert.is_truthy(problem:find(("cam_methods_spec.lua:%d:"):format(line + 1 + i), 1, true), problem)
    end
  end)

  it("says when a layer does not run, or does not matter", function()
    local blind = nn.Module{
      inner = nn.Conv2d(3, 2, 1), idle = nn.ReLU(), out = nn.Linear(3, 2),
      forward = function(self, x)
        self.inner(x)
        return self.out(x:mean{ 2, 3 })
      end,
    }
    for _, name in ipairs(names) do
      local method = mt.cam[name]
      if not method.input then
        local ok, problem = pcall(method, blind, images, { layer = "idle" })
        assert.is_false(ok)
        assert.is_truthy(problem:find("layer 'idle' does not run in the model's forward pass", 1, true), problem)
        ok, problem = pcall(method, blind, images, { layer = "inner" })
        assert.equal(not method.gradient, ok)
        if method.gradient then
          assert.is_truthy(problem:find("the model's logits do not depend on layer 'inner'", 1, true), problem)
        end
      end
    end
    assert.is_true(mt.cam.fullgrad(blind, images):max():item() > 0) -- an idle layer adds nothing
  end)
end)

describe("the heatmap method", function()
  local model, images

  setup(function()
    mt.manual_seed(22)
    model = build()
    images = mt.rand(N, H, W, 3)
    model(images)
  end)

  it("integrated_gradients shares out the difference of two logits", function()
    model:eval()
    local function logits(x) return model(x):detach() end
    local black, grey = mt.zeros(N, H, W, 3), mt.full({ N, H, W, 3 }, 0.5)
    for baseline, from in pairs{ [0] = black, [0.5] = grey } do
      -- signed shares: what speaks for the class less what speaks against it
      local signed
      mt.explain(model, images, { target = 2, cam = {
        input = true, gradient = false, options = mt.cam.integrated_gradients.options,
        rule = function(tap, context)
          signed = mt.cam.integrated_gradients.rule(tap, context)
          return signed
        end,
      }, baseline = baseline, steps = 200 })
      local expected = (logits(images) - logits(from)):narrow(2, 2, 1):reshape(N)
      assert.is_true(distance(signed:sum{ 2, 3 }, expected) < 1e-2)
      local heat = mt.cam.integrated_gradients(model, images, { target = 2, baseline = baseline, steps = 200 })
      assert.is_true(distance(heat, signed:relu()) < 1e-6)
    end
    local tensor = mt.cam.integrated_gradients(model, images, { baseline = mt.full({ 3 }, 0.5) })
    assert.equal(mt.cam.integrated_gradients(model, images, { baseline = 0.5 }):bytes(), tensor:bytes())
    assert.has_error(function() mt.cam.integrated_gradients(model, images, { baseline = mt.zeros(2) }) end,
      "mt.cam.integrated_gradients: option 'baseline': number or tensor that broadcasts to {5,11,9,3} expected, "
      .. "got {2}")
    model:train()
  end)

  it("integrated_gradients is exact for polynomials", function()
    local cubic = nn.Module{ forward = function(_, x)
      local sums = (x * x * x):sum{ 2, 3, 4 }
      return mt.stack({ sums, -sums }, 2)
    end }
    local heat = mt.cam.integrated_gradients(cubic, images, { target = 1, steps = 2 })
    assert.is_true(distance(heat, (images ^ 3):sum(4)) < 1e-5)
  end)

  it("smoothgrad averages gradients under noise", function()
    local heat = mt.cam.smoothgrad(model, images, { samples = 3, noise = 0.3, generator = mt.generator(5), target = 2 })
    local generator, sum = mt.generator(5), nil
    local range = images:max({ 2, 3, 4 }, { keepdim = true }) - images:min({ 2, 3, 4 }, { keepdim = true })
    model:eval()
    for _ = 1, 3 do
      local noisy = (images + mt.randn({ N, H, W, 3 }, { generator = generator }) * range * 0.3):requires_grad(true)
      model(noisy):narrow(2, 2, 1):sum():backward()
      sum = sum and sum + noisy:grad() or noisy:grad()
    end
    model:train()
    model:zero_grad()
    assert.is_true(distance(heat, (sum / 3):abs():sum(4)) < 1e-4)
  end)

  it("random draws from its generator, image after image", function()
    local generator, weights = mt.generator(8), {}
    for i = 1, N do
      weights[i] = mt.rand(6, { low = -1, high = 1, generator = generator })
    end
    weights = mt.stack(weights, 1)
    local _, taps = mt.capture(model, images, { layers = { "body" }, gradients = false })
    local expected = (taps[1].value * weights:reshape(N, 1, 1, 6)):sum(4):relu()
    local heat = mt.cam.random(model, images, { layer = "body", generator = mt.generator(8), batch = 2 })
    assert.is_true(distance(heat, expected) < 1e-5)
  end)

  it("ablationcam runs all of a net that is no row of Sequentials", function()
    local inner = build()
    inner(images)
    local script = nn.Module{ net = inner, forward = function(self, x) return self.net(x) end }
    local heat = mt.cam.ablationcam(inner, images, { layer = "stem.2" })
    assert.is_true(distance(mt.cam.ablationcam(script, images, { layer = "net.stem.2" }), heat) < 1e-4)
    assert.is_true(mt.cam.ablationcam(inner, images, { layer = "body.conv1" }):max():item() > 0)
  end)

  it("finercam takes another base, and is that with one class", function()
    local options = { layer = "body", base = "layercam", alpha = 0 }
    -- with alpha 0 the weights cancel: the target's logit alone
    assert.is_true(distance(mt.cam.finercam(model, images, options), mt.cam.layercam(model, images, { layer = "body" }))
      < 1e-4)
    for base, message in pairs{
      eigencam = "option 'base': a method that uses the gradient at a layer expected, got 'eigencam'",
      fullgrad = "option 'base': a method that uses the gradient at a layer expected, got 'fullgrad'",
      nosuch = "option 'base': CAM expected (one of ablationcam, eigencam",
    } do
      local ok, problem = pcall(mt.cam.finercam, model, images, { layer = "body", base = base })
      assert.is_false(ok)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
  end)

  it("fullgrad takes no rounding of a convolution for a channel's map", function()
    -- Of the first layer's channels all but one are alive at pixel 1,1 only, and the score is what the second layer
    -- makes of pixel 4,4: in the same tile of Winograd's but out of reach, so that their gradient is zero. A 5x5 kernel
    -- with the same 3x3 inside does not go by Winograd.
    mt.manual_seed(3)
    local corners, last = mt.zeros(4, 4, 4, 3), mt.zeros(2, 4 * 4 * 8)
    for n = 1, 4 do
      corners[n][1][1] = mt.full({ 3 }, 9)
      corners[n][4][4] = mt.ones(3)
    end
    for channel = 1, 8 do last[{ { 1, 2 }, channel * 16 }] = mt.rand(2) end -- Flatten's order: channel, row, column
    local first = nn.Conv2d(3, 8, 1)
    local thresholds = mt.full({ 8 }, -20)
    thresholds[1] = -0.5
    first.weight, first.bias = mt.rand(1, 1, 3, 8) + 1, thresholds
    local inner, bias = mt.randn(3, 3, 8, 8), mt.rand(8)
    local function heat(kernel)
      local second, linear = nn.Conv2d(8, 8, kernel, { padding = kernel // 2 }), nn.Linear(4 * 4 * 8, 2)
      local weight, border = mt.zeros(kernel, kernel, 8, 8), (kernel - 3) // 2
      for y = 1, 3 do
        for x = 1, 3 do weight[{ border + y, border + x }] = inner[{ y, x }] end
      end
      second.weight, second.bias, linear.weight = weight, bias, last
      return mt.cam.fullgrad(nn.Sequential{ first, nn.ReLU(), second, nn.Flatten(), linear }:eval(), corners)
    end
    local d = heat(3) - heat(5)
    assert.is_true(d:abs():max():item() < 1e-4)
  end)

  it("fullgrad refuses a layer that runs twice", function()
    local twice = nn.Module{ conv = nn.Conv2d(3, 3, 1), out = nn.Linear(3, 2), forward = function(self, x)
      return self.out(self.conv(self.conv(x)):mean{ 2, 3 })
    end }
    assert.has_error(function() mt.cam.fullgrad(twice, images) end,
      "mt.cam.fullgrad: layer 'conv' runs 2 times, expected once")
  end)

  it("eigencam finds the direction of the largest variance, with the farthest value positive", function()
    -- two groups of pixels on a line through three channels
    local values = mt.zeros(2, 2, 2, 3)
    local line = { 3, -1, 0.5, 0.5 }
    for p = 1, 4 do
      local y, x = (p - 1) // 2 + 1, (p - 1) % 2 + 1
      for image, sign in ipairs{ 1, -1 } do
        values[image][y][x] = mt.tensor{ 2 * line[p] * sign + 7, -line[p] * sign, 4 }
      end
    end
    local mean = 3 / 4
    local map = require("masktune.core").cam.principal(values)
    for p = 1, 4 do
      local y, x = (p - 1) // 2 + 1, (p - 1) % 2 + 1
      local expected = (line[p] - mean) * math.sqrt(5)
      assert.is_true(math.abs(map[1][y][x]:item() - expected) < 1e-5)
      assert.is_true(math.abs(map[2][y][x]:item() - expected) < 1e-5)
    end
    local flat_map = require("masktune.core").cam.principal(mt.ones(1, 2, 2, 3))
    assert.equal(0, flat_map:abs():max():item())
  end)

  it("eigencam counts NaN as 0 and refuses infinity", function()
    local principal = require("masktune.core").cam.principal
    local values = mt.rand(2, 3, 3, 2)
    local broken = values:clone()
    values[2][1][1] = 0
    broken[2][1][1] = 0 / 0
    assert.equal(principal(values):bytes(), principal(broken):bytes())
    broken[2][1][1] = math.huge
    assert.has_error(function() principal(broken) end, "cam: values of image 2 hold infinity, expected finite values")
  end)
end)
