local mt = require "masktune"

describe("VGG-16 with batch normalisation", function()
  it("has 13 convolutions under the reference's names, its CAM layer behind the last of them", function()
    local model = mt.models.vgg16_bn { classes = 10 }
    local state = model:state_dict()
    -- 14,723,136 in torchvision's `features`, and the head's 512*512 + 512 + 1024 + 5130.
    assert.equal(14723136 + 268810, model:num_parameters())
    assert.same({ 64, 3, 3, 3 }, state["features.0.weight"]:shape())
    assert.same({ 64 }, state["features.2.running_mean"]:shape())
    assert.same({ 64, 64, 3, 3 }, state["features.4.weight"]:shape())
    assert.same({ 512, 512, 3, 3 }, state["features.48.weight"]:shape())
    assert.same({ 512, 512 }, state["classifier.0.weight"]:shape())
    assert.same({ 10, 512 }, state["classifier.4.weight"]:shape())
    assert.equal("features.50", model.cam_layer)
    assert.equal("BatchNorm2d", model:get(model.cam_layer):class())
  end)

  it("has torchvision's features with layout = 'torchvision'", function()
    local model = mt.models.vgg16_bn { layout = "torchvision" }
    local state = model:state_dict()
    for _, i in ipairs { 0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40 } do
      assert.equal(4, #state["features." .. i .. ".weight"]:shape())
      assert.equal(1, #state["features." .. i + 1 .. ".running_var"]:shape())
    end
    assert.equal("features.42", model.cam_layer)
    assert.equal("ReLU", model:get(model.cam_layer):class())
  end)

  it("starts as the reference does", function()
    mt.manual_seed(2)
    local model = mt.models.vgg16_bn {}
    local weight = model:get("features.40").weight
    assert.is_true(math.abs(weight:std():item() / math.sqrt(2 / (9 * 512)) - 1) < 0.01)
    assert.is_true(math.abs(model.classifier[1].weight:std():item() / 0.01 - 1) < 0.02)
    assert.equal(0, model:get("features.0").bias:abs():max():item())
    assert.equal(0, model.classifier[5].bias:abs():max():item())
  end)

  it("fits the head to the images", function()
    local model = mt.models.vgg16_bn { classes = 2, input = { 64, 64, 3 } }:eval()
    assert.same({ 512, 2048 }, model.classifier[1].weight:shape())
    assert.same({ 1, 2 }, model(mt.zeros(1, 64, 64, 3)):shape())
  end)

  it("drops channels in training only", function()
    local model = mt.models.vgg16_bn {}
    local x = mt.rand(4, 32, 32, 3)
    mt.no_grad(function()
      assert.not_equal(model(x):bytes(), model(x):bytes())
      model:eval()
      assert.equal(model(x):bytes(), model(x):bytes())
    end)
  end)

  it("refuses images that its five poolings leave nothing of, and unknown layouts", function()
    assert.has_error(function() mt.models.vgg16_bn { input = { 31, 32, 3 } } end,
      "vgg16_bn: option 'input' is {31, 32, 3}, expected {height, width, channels} of at least {32, 32, 1}")
    assert.has_error(function() mt.models.vgg16_bn { layout = "caffe" } end,
      "vgg16_bn: option 'layout': 'reference' or 'torchvision' expected, got 'caffe'")
  end)
end)

describe("dropping whole channels", function()
  it("zeroes channels of an image together and scales the others", function()
    mt.manual_seed(3)
    local y = mt.nn.Dropout2d(0.25)(mt.ones(40, 3, 2, 50)):reshape(40, 6, 50)
    local low, high = y:min(2), y:max(2)
    assert.equal(low:bytes(), high:bytes())
    local zeros = low:eq(0):to("float32"):mean():item() -- of 2,000: deviation 0.01
    assert.is_true(math.abs(zeros - 0.25) < 0.05, zeros)
    assert.is_true(math.abs(high:max():item() - 4 / 3) < 1e-6)
  end)

  it("passes the gradient through the channels that stay", function()
    mt.manual_seed(4)
    local x = mt.ones(2, 4, 4, 6):requires_grad(true)
    local y = mt.nn.Dropout2d(0.5)(x)
    y:sum():backward()
    assert.equal(y:bytes(), x:grad():bytes())
  end)

  it("drops single values of {N,C}, everything with p = 1, nothing with p = 0 or in evaluation", function()
    mt.manual_seed(5)
    local mean = mt.nn.Dropout2d(0.5)(mt.ones(50, 40)):mean():item()
    assert.is_true(math.abs(mean - 1) < 0.1)
    assert.equal(0, mt.nn.Dropout2d(1)(mt.ones(2, 3, 3, 2)):max():item())
    local x = mt.rand(2, 3, 3, 2)
    assert.equal(x:bytes(), mt.nn.Dropout2d(0)(x):bytes())
    assert.equal(x:bytes(), mt.nn.Dropout2d(0.9):eval()(x):bytes())
  end)

  it("refuses other shapes and probabilities", function()
    assert.has_error(function() mt.nn.Dropout2d()(mt.ones(3)) end,
      "Dropout2d: input has shape {3}, expected {N,H,W,C} or {N,C}")
    assert.has_error(function() mt.nn.Dropout2d(1.5) end,
      "bad argument #1 to 'Dropout2d' (number in [0, 1] expected, got 1.5)")
  end)
end)
