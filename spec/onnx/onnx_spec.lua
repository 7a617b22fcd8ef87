-- ONNX files, against ONNX Runtime where a Python with it is named by MASKTUNE_PYTHON.
local mt = require "masktune"
local process = require "support.process"
local protobuf = require "masktune.onnx.protobuf"

local python = os.getenv "MASKTUNE_PYTHON"
local has_runtime = python and process.run(process.quoted(python) .. " -c 'import onnxruntime'")

--- Batch statistics as after training, and not 0 and 1.
local function shake(model)
  local state = model:state_dict()
  for name, tensor in pairs(state) do
    if name:find "running_mean$" or name:find "bias$" then
      state[name] = mt.randn(tensor:shape()) * 0.1
    elseif name:find "running_var$" then
      state[name] = mt.rand(tensor:shape()) + 0.5
    end
  end
  model:load_state_dict(state)
  return model:eval() or model
end

--- The largest difference between ONNX Runtime's logits and ours, over the largest of these.
local function difference(model, size, count)
  local height, width, channels = table.unpack(size)
  local images = mt.rand { count, height, width, channels }
  local wanted = model(model.preprocess and model.preprocess(images) or images)
  return process.with_folder(function(folder)
    mt.onnx.export(folder .. "/net.onnx", model, { size = size, class_names = { "cat", "dog" } })
    mt.write_file(folder .. "/images", images:permute(1, 4, 2, 3):bytes())
    local ok, output = process.run(("%s spec/onnx/run.py %s/net.onnx %s/images %s/logits"):format(
      process.quoted(python), folder, folder, folder))
    assert.is_true(ok, output)
    assert.truthy(output:find(") cat\ndog\n", 1, true), output)
    local got = mt.from_bytes(mt.read_file(folder .. "/logits"), "float32", wanted:shape())
    return (got - wanted):abs():max():item() / wanted:abs():max():item()
  end)
end

describe("an ONNX file", function()
  local nn = mt.nn
  local nets = {
    ["small_cnn"] = { function() return mt.models.small_cnn { classes = 2 } end, { 28, 28, 3 } },
    ["resnet18"] = { function() return mt.models.resnet18 { classes = 3 } end, { 64, 48, 3 } },
    ["resnet20"] = { function() return mt.models.resnet20 { classes = 4 } end, { 32, 32, 3 } },
    ["vgg16_bn"] = { function() return mt.models.vgg16_bn { classes = 2, input = { 32, 32, 3 } } end, { 32, 32, 3 } },
    ["mobilenet_v2"] = { function() return mt.models.mobilenet_v2 { classes = 3 } end, { 64, 64, 3 } },
    ["efficientnet_lite0"] = { function() return mt.models.efficientnet_lite0 { classes = 3 } end, { 75, 64, 3 } },
    ["a net with preprocessing"] = { function()
      local model = mt.models.small_cnn { classes = 2 }
      model.preprocess = mt.data.preprocess { { "normalize", mean = { 0.4, 0.5, 0.6 }, std = { 0.2, 0.3, 0.25 } } }
      return model
    end, { 28, 28, 3 } },
    ["a net of other layers"] = { function()
      return nn.Sequential {
        nn.Conv2d(2, 6, 3, { padding = 2, dilation = 2 }), nn.LeakyReLU(0.2), nn.AvgPool2d(3, { padding = 1 }),
        nn.Conv2d(6, 4, 3, { stride = 2, groups = 2 }), nn.SiLU(), nn.MaxPool2d(3, { stride = 2, ceil_mode = true }),
        nn.Tanh(), nn.Flatten(), nn.Linear(16, 5), nn.Sigmoid(), nn.Linear(5, 3), nn.Softmax(),
      }
    end, { 28, 28, 2 } },
  }
  for name, case in pairs(nets) do
    it("of " .. name .. " computes what the net computes, in ONNX Runtime #nosan", function()
      if not has_runtime then return pending("no Python with onnxruntime") end
      mt.manual_seed(3)
      local model = shake(case[1]())
      for _, count in ipairs { 1, 3 } do
        local found = difference(model, case[2], count)
        assert.is_true(found < 1e-5, found)
      end
    end)
  end

  it("is refused for layers that are not written, and for what is no module", function()
    local softplus = nn.Sequential { nn.Softplus() }
    local ok, message = pcall(mt.onnx.export, "/tmp/never.onnx", softplus, { size = { 8, 8, 3 } })
    assert.is_false(ok)
    assert.equal("mt.onnx.export: layer '0' is a Softplus, which is not written", message)
    assert.has_error(function() mt.onnx.export("/tmp/never.onnx", {}, { size = { 8, 8, 3 } }) end)
    local model = mt.models.small_cnn()
    model.preprocess = mt.data.preprocess { { "resize", size = 28 } }
    ok, message = pcall(mt.onnx.export, "/tmp/never.onnx", model, { size = { 28, 28, 3 } })
    assert.truthy(not ok and message:find("only 'normalize' is written", 1, true), message)
  end)
end)

describe("protocol buffers", function()
  it("are written as their documentation has them", function()
    assert.equal("\x08\x96\x01", protobuf.integer(1, 150))
    assert.equal("\x12\x07testing", protobuf.bytes(2, "testing"))
    assert.equal("\x32\x06\x03\x8e\x02\x9e\xa7\x05", protobuf.integers(6, { 3, 270, 86942 }))
    assert.equal("\x08" .. ("\xff"):rep(9) .. "\x01", protobuf.integer(1, -1))
    assert.equal("\x0d\x00\x00\x80\x3f", protobuf.float(1, 1.0))
  end)
end)
