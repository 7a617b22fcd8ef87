local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

describe("the residual nets for small images", function()
  -- He et al. 2016, table 6, and the exact counts of the widely used PyTorch version.
  local published = { resnet20 = 269722, resnet32 = 464154, resnet44 = 658586, resnet56 = 853018, resnet110 = 1727962 }

  for name, count in pairs(published) do
    it(("have the published number of parameters: %s"):format(name), function()
      assert.equal(count, mt.models[name] {}:num_parameters())
    end)
  end

  it("have the names, shapes and CAM layer of the reference", function()
    local model = mt.models.resnet32 { classes = 7 }
    local state, count = model:state_dict(), 0
    for _ in pairs(state) do count = count + 1 end
    assert.equal(31 + 31 * 5 + 2, count)
    assert.same({ 16, 3, 3, 3 }, state["conv1.weight"]:shape())
    assert.same({ 64, 64, 3, 3 }, state["layer3.4.conv2.weight"]:shape())
    assert.same({ 32, 16, 3, 3 }, state["layer2.0.conv1.weight"]:shape())
    assert.same({ 64 }, state["layer3.0.bn2.running_var"]:shape())
    assert.same({ 7, 64 }, state["linear.weight"]:shape())
    assert.equal("layer3.4", model.cam_layer)
    assert.equal("layer3.2", mt.models.resnet20 {}.cam_layer)
    assert.equal(7, model.classes)
  end)

  it("start with Kaiming's normal weights, repeatable by the seed", function()
    mt.manual_seed(5)
    local model = mt.models.resnet32 {}
    local weight = model.layer3[2].conv1.weight -- 36,864 values: the deviation is known to 0.4%
    local expected = math.sqrt(2 / (64 * 9))
    assert.is_true(math.abs(weight:std():item() / expected - 1) < 0.02)
    assert.is_true(math.abs(weight:mean():item()) < expected / 50)
    assert.is_true(weight:abs():max():item() > 3 * expected)
    assert.is_true(math.abs(model.linear.weight:std():item() / math.sqrt(2 / 64) - 1) < 0.12)
    assert.is_true(model.linear.bias:abs():max():item() <= 1 / 8)
    mt.manual_seed(5)
    assert.equal(weight:bytes(), mt.models.resnet32 {}.layer3[2].conv1.weight:bytes())
  end)

  it("take other sizes, channels and batches of one", function()
    local model = mt.models.resnet20 { classes = 4, input_channels = 1 }:eval()
    assert.same({ 1, 4 }, model(mt.zeros(1, 28, 28, 1)):shape())
    assert.same({ 2, 4 }, model(mt.zeros(2, 7, 5, 1)):shape())
    assert.same({ 0, 4 }, model(mt.zeros(0, 32, 32, 1)):shape())
  end)

  it("give heatmaps of a quarter of the size at the CAM layer", function()
    local model = mt.models.resnet20 {}
    local heat = mt.cam.xgradcam(model, mt.rand(2, 32, 32, 3), { layer = model.cam_layer })
    assert.same({ 2, 8, 8 }, heat:shape())
  end)

  it("learn two colours in a few steps", function()
    mt.manual_seed(1)
    local model = mt.models.resnet20 { classes = 2 }
    local optimiser = mt.optim.sgd(model:parameters(), { lr = 0.05, momentum = 0.9 })
    local images = mt.cat({ mt.rand(8, 8, 8, 3), mt.rand(8, 8, 8, 3) * 0.3 }, 1)
    local labels = mt.cat({ mt.ones(8), mt.full({ 8 }, 2) }, 1):to("int32")
    local first, last
    for _ = 1, 12 do
      optimiser:zero_grad()
      local loss = mt.cross_entropy(model(images), labels)
      loss:backward()
      optimiser:step()
      first, last = first or loss:item(), loss:item()
    end
    assert.is_true(last < first / 4, first .. " -> " .. last)
  end)

  it("refuse unknown options by name", function()
    assert.has_error(function() mt.models.resnet32 { clases = 3 } end,
      "resnet32: unknown option 'clases', expected one of: classes, input_channels; did you mean 'classes'?")
    assert.has_error(function() mt.models.resnet32 { classes = 0 } end,
      "resnet32: option 'classes': integer >= 1 expected, got 0")
  end)
end)

describe("the residual nets for large images", function()
  -- torchvision's documentation.
  local published = { resnet18 = 11689512, resnet34 = 21797672, resnet50 = 25557032 }

  for name, count in pairs(published) do
    it(("have torchvision's number of parameters: %s"):format(name), function()
      assert.equal(count, mt.models[name] {}:num_parameters())
    end)
  end

  it("have torchvision's names, and the stride in the 3x3", function()
    local model = mt.models.resnet50 { classes = 2 }
    local state = model:state_dict()
    assert.same({ 64, 3, 7, 7 }, state["conv1.weight"]:shape())
    assert.same({ 256, 64, 1, 1 }, state["layer1.0.downsample.0.weight"]:shape())
    assert.same({ 2048 }, state["layer4.0.downsample.1.running_mean"]:shape())
    assert.same({ 512, 512, 3, 3 }, state["layer4.2.conv2.weight"]:shape())
    assert.same({ 2, 2048 }, state["fc.weight"]:shape())
    assert.equal("layer4.2", model.cam_layer)
    assert.truthy(tostring(model.layer2[1].conv1):find("stride 1x1", 1, true))
    assert.truthy(tostring(model.layer2[1].conv2):find("stride 2x2", 1, true))
    local fan_out = 512 * 9
    assert.is_true(math.abs(model.layer4[2].conv2.weight:std():item() / math.sqrt(2 / fan_out) - 1) < 0.01)
  end)
end)

describe("the shortcut without parameters", function()
  --- Every stride-th pixel, zeros on both sides of the channels.
  local function shortcut(stride, padding)
    return function(x)
      local n, h, w, c = table.unpack(x.shape)
      local rows, columns, channels = (h + stride - 1) // stride, (w + stride - 1) // stride, c + 2 * padding
      return reference.new({ n, rows, columns, channels }, function(i)
        local channel, rest = (i - 1) % channels - padding, (i - 1) // channels
        if channel < 0 or channel >= c then return 0.0 end
        local column, row, image = rest % columns, rest // columns % rows, rest // columns // rows
        return x[((image * h + row * stride) * w + column * stride) * c + channel + 1]
      end)
    end
  end

  local cases = {
    { { 2, 6, 4, 3 }, 2, 1 }, { { 1, 7, 5, 5 }, 2, 4 }, { { 3, 4, 7, 1 }, 3, 0 }, { { 2, 1, 1, 2 }, 2, 3 },
  }
  for _, case in ipairs(cases) do
    local shape, stride, padding = table.unpack(case)
    it(("subsamples and pads {%s} by %d, forward and backward"):format(table.concat(shape, ","), padding), function()
      local module = mt.nn.Shortcut(shape[4], shape[4] + 2 * padding, { stride = stride })
      gradcheck.check {
        ours = function(x) return module(x) end,
        reference = shortcut(stride, padding),
        inputs = { { shape = shape } },
      }
    end)
  end

  it("takes an empty batch", function()
    assert.same({ 0, 2, 2, 8 }, mt.nn.Shortcut(4, 8, { stride = 2 })(mt.zeros(0, 4, 3, 4)):shape())
  end)

  it("refuses what does not fit", function()
    assert.has_error(function() mt.nn.Shortcut(4, 7) end,
      "Shortcut: outputs is 7, expected the inputs (4) and an even number of channels more")
    assert.has_error(function() mt.nn.Shortcut(4, 2) end,
      "Shortcut: outputs is 2, expected the inputs (4) and an even number of channels more")
    assert.has_error(function() mt.nn.Shortcut(4, 8)(mt.zeros(1, 2, 2, 5)) end,
      "Shortcut: input has shape {1,2,2,5}, expected {N,H,W,4}")
    assert.has_error(function() mt.nn.Shortcut(4, 8)(mt.zeros(2, 4)) end,
      "shortcut: input has shape {2,4}, expected {N,H,W,C}")
    assert.has_error(function() mt.nn.Shortcut(4, 8)(mt.zeros(1, 2, 2, 4):to("int32")) end,
      "shortcut: input is int32, expected float32")
  end)

  it("keeps a NaN where it was", function()
    local x = mt.zeros(1, 2, 2, 2)
    x[1][1][1]:fill(0 / 0)
    local y = mt.nn.Shortcut(2, 4, { stride = 2 })(x):reshape(4):totable()
    assert.equal(0, y[1])
    assert.is_true(y[2] ~= y[2])
  end)
end)
