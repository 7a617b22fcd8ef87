local mt = require "masktune"

describe("small_cnn", function()
  it("has the reference's names and shapes", function()
    local shapes = {}
    for name, tensor in pairs(mt.models.small_cnn{ classes = 2 }:state_dict()) do
      shapes[name] = table.concat(tensor:shape(), ",")
    end
    local expected = {
      ["linear.0.weight"] = "256,512", ["linear.0.bias"] = "256",
      ["linear.3.weight"] = "2,256", ["linear.3.bias"] = "2",
    }
    local convolutions = { [0] = "16,3,3,3", [3] = "16,16,3,3", [7] = "32,16,3,3", [10] = "32,32,3,3" }
    for index, shape in pairs(convolutions) do
      expected[("backbone.%d.weight"):format(index)] = shape
      expected[("backbone.%d.bias"):format(index)] = shape:match("^%d+")
    end
    for path, channels in pairs{
      ["backbone.1"] = "16", ["backbone.4"] = "16", ["backbone.8"] = "32", ["backbone.11"] = "32", ["linear.1"] = "256",
    } do
      for _, name in ipairs{ "weight", "bias", "running_mean", "running_var" } do
        expected[path .. "." .. name] = channels
      end
      expected[path .. ".num_batches_tracked"] = ""
    end
    assert.same(expected, shapes)
  end)

  it("explains itself at the last ReLU before the last pooling", function()
    local model = mt.models.small_cnn{ classes = 5 }
    assert.equal("backbone.12", model.cam_layer)
    assert.equal("ReLU", model:get(model.cam_layer):class())
    assert.equal("MaxPool2d", model:get("backbone.13"):class())
    assert.equal(5, model.classes)
  end)

  it("takes images of any size from 16 x 16 and any number of channels", function()
    for _, size in ipairs{ { 28, 28, 3 }, { 16, 16, 1 }, { 17, 31, 5 }, { 64, 20, 2 } } do
      local model = mt.models.small_cnn{ classes = 3, input = size }
      assert.same({ 2, 3 }, model(mt.rand(2, table.unpack(size))):shape())
    end
    assert.same({ 1, 2 }, mt.models.small_cnn():eval()(mt.rand(1, 28, 28, 3)):shape())
  end)

  it("learns to tell bright from dark images", function()
    mt.manual_seed(4)
    local model = mt.models.small_cnn{ classes = 2, input = { 16, 16, 1 } }
    local optimiser = mt.optim.sgd(model:parameters(), { lr = 0.05, momentum = 0.9 })
    local images = mt.cat({ mt.rand(16, 16, 16, 1) * 0.5, mt.rand(16, 16, 16, 1) * 0.5 + 0.3 }, 1)
    local labels = mt.cat({ mt.full({ 16 }, 1):to("int32"), mt.full({ 16 }, 2):to("int32") }, 1)
    for _ = 1, 15 do
      optimiser:zero_grad()
      mt.cross_entropy(model(images), labels):backward()
      optimiser:step()
    end
    assert.is_true(mt.cross_entropy(model(images), labels):item() < 0.1)
  end)

  it("refuses options that make no net, naming them", function()
    local function fails(pattern, options)
      local ok, message = pcall(mt.models.small_cnn, options)
      assert.is_false(ok)
      assert.matches(pattern, message, 1, true)
    end
    fails("option 'input' is {15, 28, 3}, expected {height, width, channels} of at least {16, 16, 1}",
      { input = { 15, 28, 3 } })
    fails("option 'classes': integer >= 1 expected, got 0", { classes = 0 })
    fails("unknown option 'size'", { size = 3 })
    fails("option 'input'", { input = { 28, 28 } })
    fails("option 'input'", { input = { 28, 28, 3, 1 } })
  end)
end)
