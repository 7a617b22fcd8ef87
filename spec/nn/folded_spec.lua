-- Evaluation of a few images keeps the weights into which it has folded batch normalisation. They must never outlive
-- what they were made from; and threads that share one image must not change a bit.
local mt = require "masktune"
local process = require "support.process"
local nn = mt.nn

local function evaluated(model, x)
  model:eval()
  return mt.no_grad(function() return model(x) end)
end

local function net()
  mt.manual_seed(3)
  return nn.Sequential {
    nn.Conv2d(3, 16, 3, { padding = 1 }), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Residual {
      { "conv1", nn.Conv2d(16, 16, 3, { padding = 1, bias = false }) }, { "bn1", nn.BatchNorm2d(16) },
      { "relu", nn.ReLU() }, { "conv2", nn.Conv2d(16, 16, 1) }, { "bn2", nn.BatchNorm2d(16) },
    },
    nn.Conv2d(16, 16, 3, { groups = 16 }), nn.BatchNorm2d(16), nn.ReLU6(), nn.MaxPool2d(2),
    nn.GlobalAvgPool2d(), nn.Linear(16, 2),
  }
end

local function train_once(model, optimizer, x)
  model:train()
  optimizer:zero_grad()
  mt.cross_entropy(model(x), mt.ones(x:size(1)):to("int32")):backward()
  optimizer:step()
end

--- How values get into a net, where no gradients are recorded: name -> function(model, x).
local writes = {
  ["an element"] = function(model) model[1].weight[{ 1, 2, 3, 4 }] = 3 end,
  ["a row through an index"] = function(model) model[1].weight[2] = 0.5 end,
  ["an element of a view"] = function(model) model[1].weight:reshape(9, 48)[{ 2, 3 }] = 3 end,
  ["an element of a range"] = function(model) model[1].weight:narrow(1, 2, 1)[{ 1, 1, 1, 1 }] = 3 end,
  ["a mask"] = function(model) model[1].weight[model[1].weight:gt(0.1)] = 0 end,
  ["fill"] = function(model) model[4].bn1.weight:fill(2) end,
  ["copy"] = function(model) model[1].weight:copy(mt.randn(3, 3, 3, 16)) end,
  ["assignment to the bias"] = function(model) model[1].bias = mt.randn(16) end,
  ["assignment to the normalisation's bias"] = function(model) model[2].bias = mt.randn(16) end,
  ["a running mean"] = function(model) model[4].bn2.running_mean:fill(0.3) end,
  ["a running variance"] = function(model) model[6].running_var[3] = 7 end,
  ["a depthwise weight"] = function(model) model[5].weight:fill(0.1) end,
  ["load_state_dict"] = function(model)
    local other = net()
    other[4].conv2.weight:fill(0.2)
    model:load_state_dict(other:state_dict())
  end,
  ["another child"] = function(model) model[4].conv2 = nn.Conv2d(16, 16, 1) end,
  ["running statistics in training"] = function(model, x)
    model:train()
    model(x * 3 + 1)
  end,
  ["running statistics of one layer in training"] = function(model, x)
    model:eval()
    model[6]:train()
    model(x * 3 + 1)
  end,
}
for name, write in pairs(writes) do
  writes[name] = function(model, x) mt.no_grad(function() write(model, x) end) end
end
for _, name in ipairs { "sgd", "adam", "adamw" } do
  writes[name] = function(model, x) train_once(model, mt.optim[name](model:parameters(), { lr = 0.1 }), x) end
end

describe("folded weights that are kept", function()
  local x
  before_each(function()
    mt.manual_seed(1)
    x = mt.randn(2, 12, 12, 3)
  end)

  for name, write in pairs(writes) do
    it("are made anew after " .. name, function()
      local model = net()
      local before = evaluated(model, x):bytes()
      assert.equal(before, evaluated(model, x):bytes())
      write(model, x)
      local after = evaluated(model, x):bytes()
      assert.not_equal(before, after)
      assert.equal(evaluated(model:clone(), x):bytes(), after) -- which has kept nothing
    end)
  end

  it("serve other sizes and numbers of images", function()
    local model = net()
    local one = { 1, 12, 12, 3 }
    for _, shape in ipairs { one, { 1, 40, 37, 3 }, { 16, 12, 12, 3 }, one, { 2, 6, 5, 3 } } do
      local images = mt.randn(table.unpack(shape))
      assert.equal(evaluated(net(), images):bytes(), evaluated(model, images):bytes())
    end
  end)

  it("are counted, and go with training and with the net", function()
    local function live()
      collectgarbage()
      collectgarbage()
      return mt.memory().live
    end
    local start = live()
    local model, image = nn.Sequential { nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64) }, mt.randn(1, 8, 8, 64)
    local bare = live()
    evaluated(model, image)
    assert.is_true(live() >= bare + 9 * 64 * 64 * 4)
    model:train()
    mt.no_grad(function() model(mt.randn(4, 8, 8, 64)) end)
    assert.is_true(live() < bare + 9 * 64 * 64 * 4)
    evaluated(model, image)
    evaluated(model, mt.randn(64, 8, 8, 64)) -- many at once: nothing more is kept
    local one = live()
    model = nil -- luacheck: ignore
    image = nil -- luacheck: ignore
    assert.is_true(live() < one - 9 * 64 * 64 * 4)
    assert.is_true(math.abs(live() - start) < 4096)
  end)
end)

describe("threads that share an image", function()
  local threads = mt.get_num_threads()
  after_each(function() mt.set_num_threads(threads) end)

  -- name -> net, height and width of its images
  local nets = {
    small_cnn = { function() return mt.models.small_cnn { classes = 2 } end, 28 },
    resnet20 = { function() return mt.models.resnet20 { classes = 10 } end, 32 },
    resnet18 = { function() return mt.models.resnet18 { classes = 5 } end, 100 },
    efficientnet_lite0 = { function() return mt.models.efficientnet_lite0 { classes = 5 } end, 70 },
  }
  for name, case in pairs(nets) do
    it("give the bits of one: " .. name, function()
      mt.manual_seed(2)
      local model = case[1]()
      for images = 1, 3 do
        local x = mt.randn(images, case[2], case[2] + 3 * (name == "resnet18" and 1 or 0), 3)
        mt.set_num_threads(1)
        local one = evaluated(model, x)
        local apart = model(x):detach() -- with gradients wanted, layer by layer
        local distance = ((one - apart):abs():max() / (1e-6 + apart:abs():max())):item()
        assert.is_true(distance < 1e-4, distance)
        for _, count in ipairs { 2, 3, 4, 16 } do
          mt.set_num_threads(count)
          assert.equal(one:bytes(), evaluated(model, x):bytes(), count .. " threads")
        end
      end
    end)
  end

  it("do so on every instruction set", function()
    local program = [[
      local mt = require "masktune"
      mt.manual_seed(1)
      local model, x = mt.models.resnet18 { classes = 3 }:eval(), mt.randn(1, 80, 80, 3)
      local function run(threads)
        mt.set_num_threads(threads)
        return mt.no_grad(function() return model(x) end):bytes()
      end
      assert(run(1) == run(4))]]
    for _, isa in ipairs { "plain", "avx2" } do
      local good, output = process.run(("MASKTUNE_ISA=%s %s -e %s"):format(isa, process.lua, process.quoted(program)))
      assert.is_true(good, output)
    end
  end)
end)
