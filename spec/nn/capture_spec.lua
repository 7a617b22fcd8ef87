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

describe("the activation of a layer inside a fused chain", function()
  local paths = { "0", "1", "2", "3", "4", "5", "6", "6.conv1", "6.bn1", "7", "7.conv1", "7.bn1", "7.relu", "7.conv2",
    "7.bn2", "8", "8.0", "8.1", "8.2", "9", "10" }
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
