local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

local function sgd(model, lr) return mt.optim.sgd(model:parameters(), { lr = lr or 0.05, momentum = 0.9 }) end

local function options(model, more)
  local o = {
    train = tiny.data(40, 1),
    val = tiny.data(20, 2),
    epochs = 3,
    batch = 8,
    optimizer = sgd(model),
    schedule = mt.schedule.step { lr = 0.05, every = 1, factor = 0.5 },
    seed = 5,
    progress = false,
  }
  for name, value in pairs(more or {}) do
    o[name] = value
  end
  return o
end

describe("mt.train", function()
  it("does what the same steps written out do", function()
    local model = tiny.model(1)
    local result = mt.train(model, options(model, { epochs = 2 }))

    local copy = tiny.model(1)
    local optimizer = sgd(copy)
    local loader = mt.data.loader { dataset = tiny.data(40, 1), batch = 8, seed = 5 }
    mt.manual_seed(5)
    local losses = {}
    for epoch, lr in ipairs { 0.05, 0.025 } do
      optimizer:set_lr(lr)
      copy:train()
      losses[epoch] = 0
      for batch in loader:epoch(epoch) do
        optimizer:zero_grad()
        local loss = mt.cross_entropy(copy(batch.images), batch.labels)
        losses[epoch] = losses[epoch] + loss:item() / 5
        loss:backward()
        optimizer:step()
      end
    end
    assert.equal(tiny.bytes(copy:state_dict()), tiny.bytes(model:state_dict()))
    assert.near(losses[1], result.history[1].train_loss, 1e-12)
    assert.near(losses[2], result.history[2].train_loss, 1e-12)
  end)

  it("learns, and reports every epoch", function()
    local model, seen = tiny.model(1), {}
    local result = mt.train(model, options(model, {
      epochs = 6,
      on_epoch = function(row, history)
        seen[#seen + 1] = row.epoch
        assert.equal(row, history[#history])
      end,
    }))
    assert.same({ 1, 2, 3, 4, 5, 6 }, seen)
    local first, last = result.history[1], result.history[6]
    assert.is_true(last.train_loss < first.train_loss)
    assert.is_true(last.val_accuracy >= 0.9, last.val_accuracy)
    assert.equal(0.05, first.lr)
    assert.equal(0.05 / 32, last.lr)
    local measured = mt.evaluate(model, tiny.data(20, 2))
    assert.equal(measured.accuracy, last.val_accuracy)
    assert.equal(measured.loss, last.val_loss)
  end)

  it("keeps the weights of the best and of the last epoch", function()
    local model, states, accuracies = tiny.model(2), {}, {}
    local result = mt.train(model, options(model, {
      epochs = 5,
      on_epoch = function(row)
        states[row.epoch], accuracies[row.epoch] = tiny.bytes(model:state_dict()), row.val_accuracy
      end,
    }))
    local best = 1
    for epoch, accuracy in ipairs(accuracies) do
      if accuracy > accuracies[best] then best = epoch end
    end
    assert.equal(best, result.best.epoch)
    assert.equal(accuracies[best], result.best.accuracy)
    assert.equal(states[best], tiny.bytes(result.best.model))
    assert.equal(states[5], tiny.bytes(result.last.model))
    assert.equal(states[5], tiny.bytes(model:state_dict()))
  end)

  it("takes the last epoch for the best without a validation set", function()
    local model = tiny.model(1)
    local o = options(model)
    o.val = nil
    local result = mt.train(model, o)
    assert.equal(3, result.best.epoch)
    assert.is_nil(result.history[1].val_accuracy)
    assert.equal(tiny.bytes(result.last.model), tiny.bytes(result.best.model))
  end)

  it("stops at a loss that is not finite, with epoch, step and rate, before it spoils the weights", function()
    local model = tiny.model(1)
    local spoilt = tiny.data(40, 1)
    spoilt.images = spoilt.images:to("float32") / 255
    local bytes = spoilt.images:bytes()
    local row = #bytes // 40
    local nan = ("\0\0\xc0\x7f"):rep(row // 4)
    spoilt.images = mt.from_bytes(bytes:sub(1, 39 * row) .. nan, "float32", { 40, 16, 16, 3 })
    spoilt.files = { "a.png", "b.png" }
    local file = {}
    for i = 1, 40 do
      file[i] = i == 40 and 2 or 1
    end
    spoilt.file = mt.tensor(file, { dtype = "int32" })
    local before = model:state_dict()
    local ok, message = pcall(mt.train, model, options(model, { train = spoilt, batch = 40 }))
    assert.is_false(ok)
    assert.truthy(message:find("tiny: image 40 ('b.png') holds NaN or an infinity", 1, true), message)
    assert.equal(tiny.bytes(before), tiny.bytes(model:state_dict())) -- running statistics too
    for _, look in ipairs { mt.evaluate, mt.masktune.explain, mt.selective.predict } do
      ok, message = pcall(look, model, spoilt, { progress = false })
      assert.is_false(ok)
      assert.truthy(message:find("image 40 ('b.png')", 1, true), message)
    end
    ok, message = pcall(mt.train, model, options(model, { schedule = mt.schedule.constant { lr = 1e30 } }))
    assert.is_false(ok)
    assert.truthy(message:find("epoch 1, step 2 %(learning rate 1e%+30%)"), message)
  end)

  it("leaves out a last batch of a single image", function()
    local model = tiny.model(1)
    local o = options(model, { train = tiny.data(41, 1), batch = 8, epochs = 1 })
    assert.has_no.errors(function() mt.train(model, o) end)
  end)

  it("refuses wrong options by name", function()
    local model = tiny.model(1)
    local function message(more)
      local ok, text = pcall(mt.train, model, options(model, more))
      assert.is_false(ok)
      return text
    end
    assert.truthy(message({ epochs = 0 }):find("mt.train: option 'epochs': integer >= 1 expected, got 0", 1, true))
    assert.truthy(message({ train = {} }):find("mt.train: option 'train'", 1, true))
    assert.truthy(message({ rate = 1 }):find("unknown option 'rate'", 1, true))
    local empty = mt.data.subset(tiny.data(2, 1), 0)
    assert.truthy(message({ train = empty }):find("option 'train': 1 image or more", 1, true))
  end)
end)

describe("a training run that is resumed", function()
  --- Trains with a checkpoint; raises in the loss of batch `killed_at` (counted from the start of this call).
  local function run(path, more, killed_at)
    local model = tiny.model(1)
    local o = options(model, { checkpoint = path, epochs = 4 })
    for name, value in pairs(more) do
      o[name] = value
    end
    local step, original = 0, o.optimizer
    if killed_at then
      o.optimizer = setmetatable({
        step = function()
          step = step + 1
          if step == killed_at then error("killed", 0) end
          original:step()
        end,
      }, { __index = function(_, name) return function(_, ...) return original[name](original, ...) end end })
    end
    local ok, result = pcall(mt.train, model, o)
    if killed_at then
      assert.is_false(ok)
      assert.equal("killed", result)
      return nil
    end
    assert(ok, result)
    return tiny.bytes(model:state_dict()) .. tiny.bytes(result.best.model), result
  end

  it("ends with the same bits as one that was never stopped, wherever it was stopped", function()
    process.with_folder(function(folder)
      local expected, whole = run(folder .. "/whole", {})
      for _, stops in ipairs { { 1 }, { 5 }, { 6 }, { 13, 4 }, { 20 }, { 7, 1, 9 } } do
        local path = folder .. "/stopped"
        for i, stop in ipairs(stops) do
          run(path, { resume = i > 1 }, stop)
        end
        local got, result = run(path, { resume = true })
        assert.equal(expected, got)
        assert.equal(whole.best.epoch, result.best.epoch)
        for epoch, row in ipairs(whole.history) do
          assert.equal(row.train_loss, result.history[epoch].train_loss)
          assert.equal(row.val_accuracy, result.history[epoch].val_accuracy)
        end
      end
    end)
  end)

  it("trains nothing when it was complete, and starts anew unless it is told to resume", function()
    process.with_folder(function(folder)
      local path = folder .. "/c"
      local expected = run(path, {})
      local epochs = 0
      local function count() epochs = epochs + 1 end
      assert.equal(expected, (run(path, { resume = true, on_epoch = count })))
      assert.equal(0, epochs)
      assert.equal(expected, (run(path, { resume = false, on_epoch = count })))
      assert.equal(4, epochs)
    end)
  end)

  it("refuses a checkpoint of other settings or other data", function()
    process.with_folder(function(folder)
      local path = folder .. "/c"
      run(path, { settings = { momentum = 0.9 } })
      local model = tiny.model(1)
      local function message(more)
        more.checkpoint, more.resume, more.epochs = path, true, more.epochs or 4
        more.settings = more.settings or { momentum = 0.9 }
        local ok, text = pcall(mt.train, model, options(model, more))
        assert.is_false(ok)
        return text
      end
      assert.truthy(message({ epochs = 5 }):find("epochs is 4 there, 5 in this run", 1, true))
      assert.truthy(message({ seed = 6 }):find("seed is 5 there, 6 in this run", 1, true))
      assert.truthy(message({ train = tiny.data(40, 3) }):find("training_set is", 1, true))
      assert.truthy(message({ settings = { momentum = 0.5 } }):find("momentum is 0.9 there, 0.5 in", 1, true))
      local schedule = mt.schedule.constant { lr = 0.05 }
      assert.truthy(message({ schedule = schedule }):find("0.05 x4 in this run", 1, true))
    end)
  end)
end)
