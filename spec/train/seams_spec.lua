local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

local function options(more)
  return mt.tables.merged({
    train = tiny.data(40, 1), val = tiny.data(20, 2), epochs = 2, batch = 8, lr = 0.05, seed = 5, progress = false,
  }, more)
end

local function trained(more)
  local model = tiny.model(1)
  return tiny.bytes(model:state_dict()), mt.train(model, options(more)), tiny.bytes(model:state_dict()), model
end

local function weights_of(more) return (select(3, trained(more))) end

--- A net without dropout and normalisation, whose result for a batch is the sum of those of its parts.
local function plain_model()
  mt.manual_seed(3)
  local nn = mt.nn
  return nn.Sequential { nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 7 * 7, 2) }
end

describe("mt.train", function()
  it("works with a training set and a number of epochs alone", function()
    local model = tiny.model(1)
    local result = mt.train(model, { train = tiny.data(40, 1), epochs = 4, progress = false })
    assert.equal(0.01, result.history[1].lr)
    assert.equal(0.00125, result.lr)
  end)

  it("minimises what it is told to, cross-entropy by default", function()
    local function by_hand(model, batch)
      local logits = model(batch.images)
      return mt.cross_entropy(logits, batch.labels), logits
    end
    local plain = weights_of {}
    assert.equal(plain, weights_of { objective = by_hand })
    assert.equal(plain, weights_of { objective = "cross_entropy" })
    assert.equal(plain, weights_of { objective = mt.losses.cross_entropy() })
    assert.not_equal(plain, weights_of { objective = "focal" })
    assert.equal(weights_of { objective = "focal" }, weights_of { objective = mt.losses.focal { gamma = 1 } })
    local _, result = trained { objective = function(model, batch) return (by_hand(model, batch)) end }
    assert.is_nil(result.history[1].train_accuracy) -- no logits were given
    assert.is_number(result.history[1].val_accuracy)
  end)

  it("passes class_weights, label_smoothing and ignore_index to the cross-entropy", function()
    local asked = { class_weights = { 1, 3 }, label_smoothing = 0.1, ignore_index = 2 }
    for option, value in pairs(asked) do
      local weights = mt.tables.merged({}, { [option] = value })
      local function by_hand(model, batch)
        local logits = model(batch.images)
        return mt.cross_entropy(logits, batch.labels, {
          weight = weights.class_weights and mt.tensor(weights.class_weights),
          label_smoothing = weights.label_smoothing, ignore_index = weights.ignore_index,
        }), logits
      end
      local found = weights_of(weights)
      assert.equal(weights_of { objective = by_hand }, found, option)
      assert.not_equal(weights_of {}, found, option)
    end
    assert.equal(weights_of { class_weights = { 1, 3 } }, weights_of { class_weights = mt.tensor { 1, 3 } })
    local function too_many() weights_of { class_weights = { 1, 2, 3 } } end
    assert.error_matches(too_many, "weight has shape {3}, expected {2}")
  end)

  it("gives the objective records and a state that lasts", function()
    local seen, fields = {}, nil
    local _, result = trained {
      train = mt.tables.merged(tiny.data(40, 1), { group = tiny.data(40, 1).labels }),
      objective = function(model, batch, run)
        fields = batch.group and batch.indices and batch.biased and true
        run.state.steps = (run.state.steps or 0) + 1
        run.state.sum = (run.state.sum or mt.zeros(2)) + 1
        seen[#seen + 1] = ("%d.%d.%d"):format(run.epoch, run.step, run.total_steps)
        return mt.cross_entropy(model(batch.images), batch.labels)
      end,
    }
    assert.is_true(fields)
    assert.equal("1.1.1 1.5.5 2.1.6 2.5.10", table.concat({ seen[1], seen[5], seen[6], seen[10] }, " "))
    assert.equal(10, result.state.steps)
    assert.same({ 10, 10 }, result.state.sum:totable())
  end)

  it("calls hooks around the step, and clips gradients", function()
    local order = {}
    local plain = weights_of {}
    assert.equal(plain, weights_of {
      before_step = function(_, batch, run) order[#order + 1] = ("before %d of %d"):format(run.step, #batch.labels) end,
      after_step = function() order[#order + 1] = "after" end,
    })
    assert.same({ "before 1 of 8", "after", "before 2 of 8" }, { order[1], order[2], order[3] })
    assert.equal(20, #order)
    assert.equal(plain, weights_of { clip_grad_norm = 1e6 })
    assert.not_equal(plain, weights_of { clip_grad_norm = 1e-3 })
  end)

  it("adds up micro-batches to the gradient of the batch", function()
    local function run(micro_batch)
      local model, sizes = plain_model(), {}
      local result = mt.train(model, options {
        train = tiny.data(43, 1), batch = 20, micro_batch = micro_batch, optimizer = "sgd",
        objective = function(net, batch)
          sizes[#sizes + 1] = #batch.labels
          local logits = net(batch.images)
          return mt.cross_entropy(logits, batch.labels), logits
        end,
      })
      return model:state_dict(), result, table.concat(sizes, " ", 1, math.min(#sizes, 9))
    end
    local whole, result = run(nil)
    local parts, other, sizes = run(6)
    assert.equal("5 5 5 5 5 5 5 5 3", sizes) -- as even as can be
    for name, tensor in pairs(whole) do
      assert.is_true((tensor - parts[name]):abs():max():item() < 1e-5, name)
    end
    assert.near(result.history[2].train_loss, other.history[2].train_loss, 1e-5)
    assert.near(result.history[2].train_accuracy, other.history[2].train_accuracy, 0.05)
  end)

  it("chooses the best epoch by what it is told", function()
    local set = tiny.data(20, 2)
    set.group = set.biased:to("int32") + 1
    local by_hand = {}
    local function scored(name)
      local best
      for _, row in ipairs(by_hand) do
        if not best or row[name] > best[name] then best = row end
      end
      return best.epoch
    end
    local function run(select)
      local _, result = trained { epochs = 5, lr = 0.2, val = set, select = select }
      by_hand = result.history
      for _, row in ipairs(by_hand) do
        row.minus_loss = -row.val_loss
      end
      return result.best
    end
    assert.equal((run "accuracy").epoch, scored "val_accuracy")
    assert.equal((run "worst_class").epoch, scored "val_worst_class")
    assert.equal((run "worst_group").epoch, scored "val_worst_group")
    assert.equal((run "loss").epoch, scored "minus_loss")
    assert.equal(5, (run "last").epoch)
    local second = run(function(row, measured)
      assert.equal(measured.accuracy, row.val_accuracy)
      return row.epoch == 2 and 1 or 0
    end)
    assert.equal(2, second.epoch)
    assert.equal(1, second.score)
    assert.error_matches(function() run(function() return "x" end) end, "option 'select': the function gives 'x'")
    set.group = nil
    assert.error_matches(function() run "worst_group" end, "'worst_group' gives nil in epoch 1")
  end)

  it("takes samplers, and rates that change within an epoch", function()
    local count = 0
    local _, result = trained {
      sampler = mt.data.samplers.balanced { count = 24 },
      after_step = function() count = count + 1 end,
      schedule = {
        lr = function() return 0.1 end,
        step_lr = function(_, step, steps) return 0.1 * (1 - step / (steps + 1)) end,
      },
    }
    assert.equal(6, count)
    assert.near(0.1 / 7, result.history[2].lr, 1e-12)
  end)

  it("ends with the same bits when it was killed, method's state and attached objects included", function()
    process.with_folder(function(folder)
      local function run(path, resume, killed_at)
        local model, other = tiny.model(1), tiny.model(2)
        local other_optimizer = mt.optim.sgd(other:parameters(), { lr = 0.01, momentum = 0.9 })
        local ok, result = pcall(mt.train, model, options {
          epochs = 3, checkpoint = path, resume = resume,
          attached = { other = other, other_optimizer = other_optimizer },
          objective = function(net, batch, now)
            if now.total_steps == killed_at then error("killed", 0) end
            now.state.scale = (now.state.scale or mt.ones(1)) * 1.01
            now.state.count = { steps = now.total_steps }
            other_optimizer:zero_grad()
            mt.cross_entropy(other(batch.images), batch.labels):backward()
            other_optimizer:step()
            local logits = net(batch.images)
            return mt.cross_entropy(logits, batch.labels) * now.state.scale:item(), logits
          end,
        })
        assert.equal(killed_at == nil, ok, result)
        if not ok then assert.equal("killed", result) end
        return tiny.bytes(model:state_dict()) .. tiny.bytes(other:state_dict()), result
      end
      local whole, expected = run(folder .. "/whole", false)
      run(folder .. "/killed", false, 8)
      run(folder .. "/killed", true, 13)
      local got, result = run(folder .. "/killed", true)
      assert.equal(whole, got)
      assert.equal(expected.state.scale:item(), result.state.scale:item())
      assert.equal(15, result.state.count.steps)
    end)
  end)

  it("names a wrong objective, loss and combination", function()
    local function message(more)
      local ok, text = pcall(mt.train, tiny.model(1), options(more))
      assert.is_false(ok)
      return text
    end
    local text = message { objective = "hinge" }
    assert.truthy(text:find("option 'objective': loss expected (one of balanced_softmax, cross_entropy", 1, true))
    assert.truthy(message({ objective = function() return 3 end }):find("the loss is 3 in epoch 1, step 1", 1, true))
    text = message { objective = function(model, batch) return model(batch.images) end }
    assert.truthy(text:find("the loss has shape {8,2}", 1, true))
    assert.truthy(message({ objective = "focal", label_smoothing = 0.1 }):find("only with the objective", 1, true))
    assert.truthy(message({ sampler = {} }):find("option 'sampler'", 1, true))
  end)

  it("stops where weights explode, and says where", function()
    local function message(more)
      local ok, text = pcall(mt.train, tiny.model(1), options(more))
      assert.is_false(ok)
      return text
    end
    local text = message { lr = 1e30, epochs = 1, batch = 40, val = false or nil }
    assert.truthy(text:find("after epoch 1 (learning rate 1e+30)", 1, true), text)
  end)
end)

describe("what mt.train and mt.evaluate say of their data", function()
  local lines, before
  before_each(function()
    lines = {}
    before = mt.notice.to(function(line) lines[#lines + 1] = line end)
  end)
  after_each(function() mt.notice.to(before) end)

  it("is nothing where nothing is odd", function()
    trained {}
    assert.same({}, lines)
  end)

  it("is that float images look like 0..255, once", function()
    local set = tiny.data(40, 1)
    set.images = set.images:to("float32")
    trained { train = set, val = set }
    assert.equal(1, #lines)
    assert.truthy(lines[1]:find("look like 0..255", 1, true), lines[1])
  end)

  it("is that all images are of one class, and that one image is left out of each epoch", function()
    local set = mt.data.subset(tiny.data(82, 1), (function()
      local list = {}
      for i = 1, 41 do
        list[i] = 2 * i
      end
      return list
    end)())
    trained { train = set }
    assert.equal(2, #lines)
    assert.truthy(lines[1]:find("all 41 training images are of class 1", 1, true), lines[1])
    assert.truthy(lines[2]:find("1 of 41 images is left out of each epoch", 1, true), lines[2])
  end)
end)

describe("mt.evaluate", function()
  it("measures groups by field, list or tensor", function()
    local model, set = tiny.model(1), tiny.data(30, 3)
    set.group = set.biased:to("int32") + 1
    local measured = mt.evaluate(model, set, { groups = "group", predictions = true })
    local right, count = mt.metrics.group_accuracy(measured.predictions, set.labels, set.group)
    assert.same(right, measured.per_group)
    assert.same(count, measured.group_count)
    assert.equal(math.min(right[1], right[2]), measured.worst_group)
    local low = math.huge
    for _, accuracy in pairs(measured.per_class) do
      low = math.min(low, accuracy)
    end
    assert.equal(low, measured.worst_class)
    assert.equal(measured.worst_group, mt.evaluate(model, set, { groups = set.group:totable() }).worst_group)
    assert.equal(measured.accuracy,
      mt.metrics.accuracy(mt.tensor(measured.predictions, { dtype = "int32" }), set.labels))
    assert.error_matches(function() mt.evaluate(model, set, { groups = "place" }) end, "no per%-image field 'place'")
    assert.error_matches(function() mt.metrics.accuracy(mt.zeros(2, 2), set.labels) end, "tensor {2,2}")
  end)
end)
