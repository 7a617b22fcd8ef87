local mt = require "masktune"
local nn = mt.nn

local MiB = 1 << 20

-- A garbage collection happens when live memory has grown by a quarter, or by 32 MiB, or earlier (core/memory.h).
local allowed = 100 * MiB

describe("native memory stays flat without collectgarbage", function()
  it("when 2,000 nets are made and dropped", function()
    local start, highest = mt.memory().live, 0
    for _ = 1, 2000 do
      local model = mt.models.small_cnn{ input = { 16, 16, 3 } } -- 120 KB each
      assert(model.backbone[1].weight)
      highest = math.max(highest, mt.memory().live)
    end
    assert.is_true(highest < 2 * start + allowed, ("%d MiB live"):format(highest // MiB))
  end)

  it("when nets refer to themselves through their forward functions", function()
    local start, highest = mt.memory().live, 0
    for _ = 1, 1000 do
      local net
      net = nn.Sequential{
        nn.Module{ inner = nn.Linear(200, 200), forward = function(_, x) return net[1].inner(x) end },
      }
      net(mt.ones(1, 200))
      highest = math.max(highest, mt.memory().live)
    end
    assert.is_true(highest < 2 * start + allowed, ("%d MiB live"):format(highest // MiB))
  end)

  it("over a training loop of 300 steps", function()
    mt.manual_seed(1)
    local model = nn.Sequential{
      nn.Conv2d(3, 4, 3, { stride = 2 }), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3), nn.Flatten(), nn.Dropout(0.2),
      nn.Linear(4 * 5 * 5, 2),
    }
    local optimiser = mt.optim.adam(model:parameters(), { lr = 1e-3 })
    local labels = mt.ones(64):to("int32")
    local start, highest = mt.memory().live, 0
    for _ = 1, 300 do -- 0.75 MiB of images each
      optimiser:zero_grad()
      mt.cross_entropy(model(mt.rand(64, 32, 32, 3)), labels):backward()
      optimiser:step()
      highest = math.max(highest, mt.memory().live)
    end
    assert.is_true(highest < 2 * start + allowed, ("%d MiB live"):format(highest // MiB))
  end)
end)
