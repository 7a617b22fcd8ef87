local mt = require "masktune"

local HEIGHT, WIDTH, CHANNELS, HIDDEN, CLASSES = 3, 4, 5, 6, 3

--- A net whose layer "features.2" gives {N,3,4,5} for images {N,5,6,3}, with running statistics that matter, and with
-- mostly positive weights, so that every class has something that speaks for it.
local function build_net()
  local nn = mt.nn
  local model = nn.Sequential{
    { "features", nn.Sequential{ nn.Conv2d(3, CHANNELS, 3), nn.BatchNorm2d(CHANNELS), nn.ReLU() } },
    { "flatten", nn.Flatten() },
    { "hidden", nn.Linear(HEIGHT * WIDTH * CHANNELS, HIDDEN) },
    { "relu", nn.ReLU() },
    { "dropout", nn.Dropout(0.5) },
    { "out", nn.Linear(HIDDEN, CLASSES) },
  }
  local state = model:state_dict()
  for name, tensor in pairs(state) do
    if name:find("running_mean") then
      state[name] = mt.rand(tensor:shape(), { low = -0.5, high = 0 })
    elseif name:find("^hidden") or name:find("^out") then
      state[name] = mt.rand(tensor:shape(), { low = -0.05, high = 0.3 })
    end
  end
  model:load_state_dict(state)
  return model
end

--- The logits of one image from its activation (HEIGHT x WIDTH x CHANNELS numbers), in doubles.
local function tail(weights, activation)
  local hidden, logits = {}, {}
  for j = 1, HIDDEN do
    local sum = weights["hidden.bias"][j]
    for y = 0, HEIGHT - 1 do
      for x = 0, WIDTH - 1 do
        for c = 0, CHANNELS - 1 do -- the weights count C,H,W
          sum = sum + weights["hidden.weight"][j][(c * HEIGHT + y) * WIDTH + x + 1]
            * activation[(y * WIDTH + x) * CHANNELS + c + 1]
        end
      end
    end
    hidden[j] = math.max(0, sum)
  end
  for k = 1, CLASSES do
    logits[k] = weights["out.bias"][k]
    for j = 1, HIDDEN do
      logits[k] = logits[k] + weights["out.weight"][k][j] * hidden[j]
    end
  end
  return logits
end

--- d logit / d activation by central differences.
local function gradient_of(weights, activation, class)
  local gradient, step = {}, 1e-6
  for i, value in ipairs(activation) do
    activation[i] = value + step
    local above = tail(weights, activation)[class]
    activation[i] = value - step
    gradient[i] = (above - tail(weights, activation)[class]) / (2 * step)
    activation[i] = value
  end
  return gradient
end

local channel_weight = {
  xgradcam = function(activation, gradient, c)
    local sum, product = 0, 0
    for i = c, #activation, CHANNELS do
      sum = sum + activation[i]
    end
    for i = c, #activation, CHANNELS do
      product = product + gradient[i] * activation[i] / (sum + 1e-7)
    end
    return product
  end,
  gradcam = function(activation, gradient, c)
    local sum = 0
    for i = c, #activation, CHANNELS do
      sum = sum + gradient[i]
    end
    return sum / (HEIGHT * WIDTH)
  end,
}

--- The heatmap of one image, HEIGHT * WIDTH numbers.
local function expected_heat(method, weights, activation, class)
  local gradient, heat = gradient_of(weights, activation, class), {}
  for p = 1, HEIGHT * WIDTH do
    local sum = 0
    for c = 1, CHANNELS do
      sum = sum + channel_weight[method](activation, gradient, c) * activation[(p - 1) * CHANNELS + c]
    end
    heat[p] = math.max(0, sum)
  end
  return heat
end

local function argmax(values)
  local best = 1
  for i = 2, #values do
    if values[i] > values[best] then
      best = i
    end
  end
  return best
end

local function flat(tensor)
  return tensor:reshape(tensor:numel()):totable()
end

local function relative_error(got, expected)
  local difference, norm = 0, 0
  for i, value in ipairs(expected) do
    difference = difference + (got[i] - value) ^ 2
    norm = norm + value ^ 2
  end
  assert(norm > 0)
  return math.sqrt(difference / norm)
end

local N = 7
local LAYER = { layer = "features.2" }

describe("cam", function()
  local model, images, weights, activations

  setup(function()
    mt.manual_seed(11)
    model = build_net()
    images = mt.rand(N, 5, 6, 3)
    weights = {}
    for name, tensor in pairs(model:state_dict()) do
      weights[name] = tensor:totable()
    end
    model:eval()
    activations = {}
    mt.no_grad(function()
      local all = model:get("features")(images)
      for n = 1, N do
        activations[n] = flat(all[n])
      end
    end)
    model:train()
  end)

  for method in pairs(channel_weight) do
    it(method .. " follows its formula for every kind of target", function()
      local predicted, per_image = {}, {}
      for n = 1, N do
        predicted[n] = argmax(tail(weights, activations[n]))
        per_image[n] = n % CLASSES + 1
      end
      local targets = {
        { option = nil, classes = predicted },
        { option = 2, classes = { 2, 2, 2, 2, 2, 2, 2 } },
        { option = mt.tensor(per_image, "int32"), classes = per_image },
      }
      for _, target in pairs(targets) do
        local heat, classes = mt.cam[method](model, images, { layer = "features.2", target = target.option })
        assert.same({ N, HEIGHT, WIDTH }, heat:shape())
        assert.equal("float32", heat:dtype())
        assert.equal("int32", classes:dtype())
        assert.same(predicted, classes:totable())
        local expected = {}
        for n = 1, N do
          for _, value in ipairs(expected_heat(method, weights, activations[n], target.classes[n])) do
            expected[#expected + 1] = value
          end
        end
        assert.is_true(relative_error(flat(heat), expected) < 1e-4)
        assert.is_true(heat:min():item() >= 0)
      end
    end)
  end

  it("gives the same with any batch", function()
    local whole, classes = mt.cam.xgradcam(model, images, LAYER)
    for _, batch in ipairs{ 1, 3, 7, 100 } do
      local heat, again = mt.cam.xgradcam(model, images, { layer = "features.2", batch = batch })
      assert.is_true(relative_error(flat(heat), flat(whole)) < 1e-6)
      assert.same(classes:totable(), again:totable())
    end
  end)

  it("takes uint8 images as 1/255 of their values", function()
    local bytes = (images * 255):to("uint8")
    local heat = mt.cam.xgradcam(model, bytes, { layer = "features.2", batch = 2 })
    local expected = mt.cam.xgradcam(model, bytes:to("float32") / 255, LAYER)
    assert.is_true(relative_error(flat(heat), flat(expected)) < 1e-6)
  end)

  it("takes the first of equally probable classes", function()
    local tied = build_net()
    local state = tied:state_dict()
    state["out.weight"], state["out.bias"] = mt.zeros(CLASSES, HIDDEN), mt.tensor{ 1, 2, 2 }
    tied:load_state_dict(state)
    local heat, classes = mt.cam.xgradcam(tied, images, LAYER)
    assert.same({ 2, 2, 2, 2, 2, 2, 2 }, classes:totable())
    assert.equal(0, heat:max():item())
  end)

  it("shows NaN where the net gives NaN", function()
    local broken = images:clone()
    broken[3] = mt.full({ 5, 6, 3 }, 0 / 0)
    local heat = mt.cam.xgradcam(model, broken, LAYER)
    local value = heat[3]:totable()[1][1]
    assert.is_true(value ~= value)
    assert.is_true(heat[2]:max():item() < math.huge)
  end)

  describe("leaves the model as it was:", function()
    local function modes(of)
      local seen = {}
      for _, path in ipairs{ "", "features", "features.1", "dropout" } do
        seen[path] = of:get(path):is_training()
      end
      return seen
    end

    it("modes, running statistics, gradients and the gradient mode", function()
      model:train()
      model:get("features.1"):eval()
      local before = modes(model)
      local statistics = model:state_dict()["features.1.running_mean"]:totable()
      model:zero_grad()
      mt.cam.xgradcam(model, images, LAYER)
      assert.same(before, modes(model))
      assert.same(statistics, model:state_dict()["features.1.running_mean"]:totable())
      for _, parameter in ipairs(model:parameters()) do
        assert.is_nil(parameter:grad())
      end
      assert.is_true(mt.is_grad_enabled())
      mt.no_grad(function()
        mt.cam.xgradcam(model, images, LAYER)
        assert.is_false(mt.is_grad_enabled())
      end)
      local loss = mt.cross_entropy(model(images), mt.ones({ N }, "int32"))
      loss:backward()
      assert.is_truthy(model:parameters()[1]:grad())
      model:zero_grad()
    end)

    it("after an error too", function()
      local calls = 0
      local scripted = mt.nn.Module{
        inner = model,
        forward = function(self, x)
          calls = calls + 1
          local y = self.inner(x)
          if calls == 2 then
            error("on purpose")
          end
          return y
        end,
      }
      scripted:train()
      assert.error_matches(function()
        mt.cam.xgradcam(scripted, images, { layer = "inner.features.2", batch = 4 })
      end, "on purpose")
      assert.is_true(scripted:is_training())
      assert.is_true(model:get("dropout"):is_training())
      assert.is_true(mt.is_grad_enabled())
      assert.is_truthy((mt.cam.xgradcam(scripted, images, { layer = "inner.features.2" })))
    end)
  end)

  it("keeps memory bounded by the batch, not by the number of images", function()
    local many = mt.zeros({ 600, 5, 6, 3 }, "uint8")
    mt.cam.xgradcam(model, many, { layer = "features.2", batch = 10 })
    mt.empty_cache()
    local before = mt.memory().live
    local heat = mt.cam.xgradcam(model, many, { layer = "features.2", batch = 10 })
    assert.is_true(mt.memory().live - before <= 2 * 600 * (HEIGHT * WIDTH + 1) * 4)
    assert.same({ 600, HEIGHT, WIDTH }, heat:shape())
  end)

  it("says what is wrong", function()
    local blind = mt.nn.Module{
      inner = model,
      forward = function(self, x)
        self.inner(x)
        return mt.zeros(#x, 3)
      end,
    }
    local idle = mt.nn.Module{
      unused = mt.nn.ReLU(),
      forward = function(_, x)
        return mt.zeros(#x, 3)
      end,
    }
    for message, arguments in pairs{
      ["option 'layer': name of a layer expected, got nil"] = { model, images, {} },
      ["mt.cam.xgradcam: option 'layer': name of a layer expected, got nil"] = { model, images },
      ["mt.cam.xgradcam: table of options expected, got 3"] = { model, images, 3 },
      ["unknown option 'targets'"] = { model, images, { layer = "features.2", targets = 1 } },
      ["features.7"] = { model, images, { layer = "features.7" } },
      ["cam: layer 'hidden' gives shape {7,6}, expected {7,h,w,C}"] = { model, images, { layer = "hidden" } },
      ["cam: target of image 1 is 4, expected 1 to 3"] = { model, images, { layer = "features.2", target = 4 } },
      ["option 'target': integer"] = { model, images, { layer = "features.2", target = 0 } },
      ["cam: target of image 2 is 0, expected 1 to 3"] =
        { model, images, { layer = "features.2", target = mt.tensor({ 1, 0, 1, 1, 1, 1, 1 }, "int32") } },
      ["mt.cam.xgradcam: target has shape {3}, expected {7}"] =
        { model, images, { layer = "features.2", target = mt.ones({ 3 }, "int32") } },
      ["mt.cam.xgradcam: target is float32, expected int32"] =
        { model, images, { layer = "features.2", target = mt.ones(7) } },
      ["option 'batch'"] = { model, images, { layer = "features.2", batch = 0 } },
      ["mt.cam.xgradcam: images is int32, expected float32 or uint8"] =
        { model, mt.ones({ 1, 5, 6, 3 }, "int32"), LAYER },
      ["mt.cam.xgradcam: images has shape {5,6,3}, expected {N,H,W,C}"] =
        { model, mt.ones(5, 6, 3), LAYER },
      ["mt.cam.xgradcam: images has shape {0,5,6,3}"] = { model, mt.ones(0, 5, 6, 3), LAYER },
      ["cam: the model gives float32 of shape {7,3,4,5}, expected float32 logits {7,k}"] =
        { model:get("features"), images, { layer = "2" } },
      ["cam: the model's logits do not depend on layer 'inner.features.2'"] =
        { blind, images, { layer = "inner.features.2" } },
      ["cam: layer 'unused' does not run in the model's forward pass"] = { idle, images, { layer = "unused" } },
      ["mt.cam.xgradcam: argument 'model': module expected, got masktune.Tensor"] = { images, images, LAYER },
    } do
      local ok, problem = pcall(mt.cam.xgradcam, table.unpack(arguments))
      assert.is_false(ok, message)
      assert.is_truthy(tostring(problem):find(message, 1, true), problem)
    end
  end)
end)
