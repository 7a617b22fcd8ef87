local mt = require "masktune"
local tiny = require "support.tiny"

--- A model that predicts class 2 where the first pixel is brighter than one half, with logits of +-1.
local function first_pixel_model()
  local nn = mt.nn
  local model = nn.Sequential { nn.Flatten(), nn.Linear(4, 2) }
  model:load_state_dict {
    ["1.weight"] = mt.tensor { { -2, 0, 0, 0 }, { 2, 0, 0, 0 } },
    ["1.bias"] = mt.tensor { 1, -1 },
  }
  return model
end

local function pixels(values, labels)
  local bytes = {}
  for i, value in ipairs(values) do
    bytes[i] = string.char(value, 9, 9, 9)
  end
  return {
    images = mt.from_bytes(table.concat(bytes), "uint8", { #values, 2, 2, 1 }),
    labels = mt.tensor(labels, { dtype = "int32" }),
    classes = 3,
  }
end

describe("mt.evaluate", function()
  it("gives accuracy, mean loss, accuracy per class and predictions", function()
    local set = pixels({ 0, 255, 0, 255, 255 }, { 1, 2, 2, 2, 1 })
    local result = mt.evaluate(first_pixel_model(), set, { batch = 2, predictions = true })
    assert.equal(0.6, result.accuracy)
    assert.equal(5, result.count)
    assert.same({ 1, 2, 1, 2, 2 }, result.predictions)
    assert.equal(0.5, result.per_class[1])
    assert.near(2 / 3, result.per_class[2], 1e-15)
    assert.is_nil(result.per_class[3])
    local right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert.near((3 * right + 2 * wrong) / 5, result.loss, 1e-6)
  end)

  it("does not depend on the size of the batches", function()
    local model, set = tiny.model(3), tiny.data(10, 5)
    local all = mt.evaluate(model, set, { batch = 10, predictions = true })
    local one = mt.evaluate(model, set, { batch = 1, predictions = true })
    assert.same(all.predictions, one.predictions)
    assert.near(all.loss, one.loss, 1e-6)
  end)

  it("runs in eval mode, changes nothing, and puts the mode back", function()
    local model, set = tiny.model(3), tiny.data(10, 5)
    local before = tiny.bytes(model:state_dict())
    model:train()
    local first = mt.evaluate(model, set)
    assert.is_true(model:is_training())
    assert.equal(before, tiny.bytes(model:state_dict()))
    model:eval()
    assert.equal(first.loss, mt.evaluate(model, set).loss)
    assert.is_false(model:is_training())
  end)

  it("puts back the modes of a model whose parts differ", function()
    local model, set = tiny.model(3), tiny.data(10, 5)
    model:train()
    model[1]:eval()
    model[2]:freeze()
    mt.evaluate(model, set)
    assert.is_true(model:is_training())
    assert.is_false(model[1]:is_training())
    assert.is_false(model[2]:is_training())
    assert.is_true(model[3]:is_training())
    model:eval()
    model[1]:train()
    mt.evaluate(model, set)
    assert.is_false(model:is_training())
    assert.is_true(model[1]:is_training())
    model[2]:unfreeze()
    assert.is_false(model[2]:is_training())
  end)

  it("puts the mode back after an error, too", function()
    local model, set = tiny.model(3), tiny.data(4, 5)
    set.labels = mt.tensor({ 1, 2, 3, 1 }, { dtype = "int32" })
    model:train()
    assert.error_matches(function() mt.evaluate(model, set) end, "3")
    assert.is_true(model:is_training())
    assert.is_true(mt.is_grad_enabled())
  end)

  it("refuses what is no model, no data set, or empty", function()
    local model = tiny.model(1)
    assert.error_matches(function() mt.evaluate(3, tiny.data(2, 1)) end, "'model': module")
    assert.error_matches(function() mt.evaluate(model, {}) end, "argument 'dataset'")
    assert.error_matches(function() mt.evaluate(model, mt.data.subset(tiny.data(2, 1), 0)) end, "1 image or more")
    assert.error_matches(function() mt.evaluate(model, tiny.data(2, 1), { size = 2 }) end, "unknown option 'size'")
  end)
end)
