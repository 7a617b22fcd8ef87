local mt = require "masktune"
local process = require "support.process"
local nn = mt.nn

local function block(inputs, outputs)
  return nn.Conv2d(inputs, outputs, 3, { padding = 1 }), nn.BatchNorm2d(outputs), nn.ReLU()
end

--- Three stages that run as one chain, one of them pooled, then a head.
local function net()
  local items = { block(3, 8) }
  for _, more in ipairs{ { block(8, 8) }, { nn.MaxPool2d(2) }, { block(8, 12) } } do
    table.move(more, 1, #more, #items + 1, items)
  end
  return nn.Sequential{
    { "body", nn.Sequential(items) }, { "pool", nn.GlobalAvgPool2d() }, { "drop", nn.Dropout(0.5) },
    { "head", nn.Linear(12, 4) },
  }
end

local labels = mt.tensor{ 1, 2, 3, 4, 1, 2 }:to("int32")
local images = mt.rand(6, 9, 9, 3, { generator = mt.generator(4) })

--- The gradients of one step, by name.
local function gradients(model)
  mt.manual_seed(8)
  mt.cross_entropy(model(images), labels):backward()
  local found = model:grad_dict()
  model:zero_grad()
  return found
end

local function named(model, wanted)
  local names = {}
  for name, parameter in model:named_parameters() do
    if parameter:requires_grad() == wanted then names[#names + 1] = name end
  end
  return names
end

local function running_statistics(model)
  local bytes = {}
  for _, buffer in ipairs(model:buffers()) do
    bytes[#bytes + 1] = buffer:bytes()
  end
  return table.concat(bytes)
end

describe("module:requires_grad", function()
  before_each(function() mt.manual_seed(3) end)

  it("sets all parameters of the tree below, and tells whether any is wanted", function()
    local model = net()
    assert.is_true(model:requires_grad())
    assert.equal(model.body, model.body:requires_grad(false))
    assert.same({ "head.weight", "head.bias" }, named(model, true))
    assert.is_false(model.body:requires_grad())
    assert.is_true(model:requires_grad())
    model:requires_grad(true)
    assert.same({}, named(model, false))
    assert.is_false(nn.ReLU():requires_grad())
    assert.has_error(function() model:requires_grad(1) end)
  end)

  it("drops the gradients that are there", function()
    local model = net()
    mt.cross_entropy(model(images), labels):backward()
    model.body:requires_grad(false)
    local left = {}
    for name in pairs(model:grad_dict()) do
      left[#left + 1] = name
    end
    table.sort(left)
    assert.same({ "head.bias", "head.weight" }, left)
  end)

  it("leaves the other gradients as they are, to the bit, wherever the front ends", function()
    local all = gradients(net())
    for frozen = 1, 10 do
      mt.manual_seed(3)
      local model = net()
      for i = 1, frozen do
        model.body[i]:requires_grad(false)
      end
      local found = gradients(model)
      for _, name in ipairs(named(model, true)) do
        assert.is_true(all[name]:bytes() == found[name]:bytes(), ("%s with %d frozen"):format(name, frozen))
        found[name] = nil
      end
      assert.is_nil(next(found))
    end
  end)

  it("keeps the gradients in front of a frozen part right", function()
    local all = gradients(net())
    mt.manual_seed(3)
    local model = net()
    for i = 4, 10 do
      model.body[i]:requires_grad(false)
    end
    local found = gradients(model)
    for _, name in ipairs(named(model, true)) do
      assert.is_true(all[name]:bytes() == found[name]:bytes(), name)
    end
    assert.is_nil(found["body.3.weight"])
  end)

  it("leaves a residual block's gradients right, whichever of its parts is frozen", function()
    local function residual()
      mt.manual_seed(5)
      local conv1, norm1, relu = block(8, 8)
      return nn.Sequential{
        nn.Conv2d(3, 8, 1), nn.Residual{
          { "conv1", conv1 }, { "bn1", norm1 }, { "relu", relu }, { "conv2", nn.Conv2d(8, 8, 3, { padding = 1 }) },
          { "bn2", nn.BatchNorm2d(8) }, downsample = nn.Conv2d(8, 8, 1),
        }, nn.GlobalAvgPool2d(),
      }
    end
    local all = gradients(residual())
    for _, parts in ipairs{ { 1 }, { 1, 2 }, { 1, 2, 4, 5 }, { 4, 5 }, { 6 }, { 1, 2, 4, 5, 6 } } do
      for _, front in ipairs{ true, false } do
        local model = residual()
        model[1]:requires_grad(front)
        for _, part in ipairs(parts) do
          model[2][part]:requires_grad(false)
        end
        local found = model:requires_grad() and gradients(model) or {}
        for _, name in ipairs(named(model, true)) do
          local distance = (all[name] - found[name]):abs():max():item()
          assert.is_true(distance <= 1e-6, ("%s is off by %g"):format(name, distance))
        end
        for _, name in ipairs(named(model, false)) do
          assert.is_nil(found[name])
        end
      end
    end
  end)

  it("still moves the running statistics in training", function()
    local model = net()
    model.body:requires_grad(false)
    local before = running_statistics(model)
    model(images)
    assert.are_not.equal(before, running_statistics(model))
  end)

  it("makes a net without any gradients one that records nothing", function()
    local model = net():requires_grad(false)
    assert.is_false(model(images):requires_grad())
    assert.has_error(function() model(images):sum():backward() end)
  end)

  it("keeps less of a row of stages, the more of its front is frozen", function()
    local model, inputs = net().body, mt.rand(16, 32, 32, 3)
    local function held()
      collectgarbage() -- what other specs left would go in between
      collectgarbage()
      local before = mt.memory().live
      local output = model(inputs)
      return mt.memory().live - before, output
    end
    local whole = held()
    for i = 1, 7 do
      model[i]:requires_grad(false)
    end
    local last_two = held() -- the last stage makes its input from the output before it
    model:requires_grad(false)
    local output_only = held()
    assert.is_true(last_two < 0.75 * whole and output_only < 0.5 * last_two,
      ("%d, %d, %d bytes"):format(whole, last_two, output_only))
  end)

  it("runs a frozen row of stages with no more than two of their outputs in memory", function()
    local ran, output = process.run(process.lua .. " -e " .. process.quoted[[
      local mt = require "masktune"
      local items = {}
      for i = 1, 6 do
        items[#items + 1] = mt.nn.Conv2d(8, 8, 3, { padding = 1 })
        items[#items + 1] = mt.nn.BatchNorm2d(8)
        items[#items + 1] = mt.nn.ReLU()
      end
      local model, inputs = mt.nn.Sequential(items):requires_grad(false), mt.rand(32, 64, 64, 8)
      local before = mt.memory().live
      model(inputs)
      print((mt.memory().peak - before) / (4 * inputs:numel()))]])
    assert.is_true(ran, output)
    local outputs = tonumber(output) -- in units of one stage's output; the rest is scratch
    assert.is_true(outputs < 3, outputs)
  end)

  it("keeps no activations of a frozen front, in training mode neither", function()
    local model = mt.models.resnet20{ classes = 4 }
    local inputs = mt.rand(8, 32, 32, 3)
    local function held()
      collectgarbage() -- what other specs left would go in between
      collectgarbage()
      local before = mt.memory().live
      local output = model(inputs)
      return mt.memory().live - before, output
    end
    local whole = held()
    model:requires_grad(false)
    model.linear:requires_grad(true)
    local head = held()
    assert.is_true(whole > 2 ^ 20, whole)
    assert.is_true(head < 2 ^ 14, head)
  end)
end)

describe("a frozen module", function()
  before_each(function() mt.manual_seed(3) end)

  it("stays in evaluation when the net around it is trained", function()
    local model = net()
    assert.equal(model.body, model.body:freeze())
    model:train()
    assert.is_true(model:is_training())
    assert.is_false(model.body:is_training())
    assert.is_false(model.body[2]:is_training())
    assert.is_true(model.body[2]:is_frozen())
    assert.is_false(model:is_frozen())
    local before = running_statistics(model)
    local found = gradients(model)
    assert.equal(before, running_statistics(model))
    assert.is_truthy(found["head.weight"])
    assert.is_nil(found["body.0.weight"])
    model.drop:freeze()
    local output = model(images):bytes()
    assert.equal(output, model(images):bytes())
    model:eval()
    assert.equal(output, model(images):bytes())
  end)

  it("trains again once it is unfrozen, in the mode that was set last", function()
    local model = net():freeze()
    assert.is_false(model:is_training())
    model:unfreeze()
    assert.is_true(model:is_training())
    assert.is_true(model.body[2]:is_training())
    assert.same({}, named(model, false))
    model:freeze():eval()
    model:unfreeze()
    assert.is_false(model:is_training())
    model:train():freeze()
    model.head:unfreeze()
    assert.same({ "head.weight", "head.bias" }, named(model, true))
    assert.is_true(model.head:is_training())
  end)

  it("passes gradients on to what stands before it, as evaluation does", function()
    local model = net()
    model.drop:freeze()
    for i = 4, 10 do
      model.body[i]:freeze()
    end
    local found = gradients(model)
    local same = net()
    same:load_state_dict(model:state_dict())
    same.drop:eval()
    for i = 4, 10 do
      same.body[i]:eval()
    end
    local expected = gradients(same)
    for _, name in ipairs(named(model, true)) do
      local distance = (expected[name] - found[name]):abs():max():item()
      assert.is_true(distance <= 1e-6, ("%s is off by %g"):format(name, distance))
    end
    assert.is_nil(found["body.3.weight"])
  end)

  it("is explained like any other, and stays frozen after it", function()
    local model = mt.models.small_cnn{ classes = 4 }
    local pictures = mt.rand(3, 28, 28, 3)
    local heat = mt.cam.xgradcam(model:eval(), pictures, { layer = model.cam_layer }):bytes()
    model:train():freeze()
    assert.equal(heat, mt.cam.xgradcam(model, pictures, { layer = model.cam_layer }):bytes())
    model:train()
    assert.is_false(model:is_training())
    model:unfreeze()
    assert.is_true(model:is_training())
  end)

  it("is frozen in a clone too, and shows it in print", function()
    local model = net()
    model.body:freeze()
    model.head:requires_grad(false)
    local copy = model:clone():train()
    assert.is_false(copy.body[2]:is_training())
    assert.is_true(copy:is_training())
    assert.same(named(model, true), named(copy, true))
    local text = tostring(copy)
    assert.matches("BatchNorm2d%(8, eps 1e%-05, momentum 0.1%) +16  frozen\n", text)
    assert.matches("Linear%(12, 4%) +52  no gradients\n", text)
    assert.matches("\n1,792 parameters, 1,792 of them without gradients$", text)
    model.body:requires_grad(true)
    assert.matches("momentum 0.1%) +16  evaluation only\n", tostring(model))
    assert.equal("Linear(1, 1)           2  frozen\n2 parameters, 2 of them without gradients",
      tostring(nn.Linear(1, 1):freeze()))
  end)

  it("may be frozen in part of a row of blocks", function()
    local function build()
      mt.manual_seed(6)
      local model = mt.models.resnet20{ classes = 4 }
      local inputs = mt.rand(4, 32, 32, 3)
      model(inputs) -- running statistics of its own
      return model, inputs
    end
    for _, frozen in ipairs{ { "conv1", "bn1" }, { "conv1", "bn1", "layer1" }, { "layer2" }, { "layer1", "layer3" } } do
      local model, inputs = build()
      local twin = build()
      for _, path in ipairs(frozen) do
        model:get(path):freeze()
        twin:get(path):eval()
      end
      local close = (model(inputs) - twin(inputs)):abs():max():item() <= 1e-4
      assert.is_true(close, table.concat(frozen, " "))
    end
  end)
end)
