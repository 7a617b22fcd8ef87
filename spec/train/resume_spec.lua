local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

local train_set, val_set = tiny.data(40, 1), tiny.data(16, 2)

local cases = {
  ["ResNet-20, Adam, a multi-step schedule and augmented images"] = {
    model = function() return mt.models.resnet20 { classes = 2 } end,
    optimizer = function(parameters) return mt.optim.adam(parameters, { lr = 0.01, weight_decay = 1e-4 }) end,
    schedule = mt.schedule.multi_step { lr = 0.01, milestones = { 1, 3 } },
    schedule_text = "0.01 x1, 0.001 x2, 0.0001 x1",
    augment = mt.data.augment { { "horizontal_flip" }, { "affine", degrees = 15, shift = 0.1 } },
  },
  ["a net with dropout, Nesterov momentum and a cosine schedule"] = {
    model = function() return tiny.model(1) end,
    optimizer = function(parameters)
      return mt.optim.sgd(parameters, { lr = 0.01, momentum = 0.9, nesterov = true })
    end,
    schedule = mt.schedule.cosine { lr = 0.01, epochs = 4 },
    schedule_text = "0.01 x1, 0.00853553390593 x1, 0.005 x1, 0.00146446609407 x1",
  },
}

--- Trains four epochs; stops after `stop` of them where that is given.
local function train(case, path, resume, stop)
  mt.manual_seed(9)
  local model = case.model()
  local ok, result = pcall(mt.train, model, {
    train = train_set, val = val_set, epochs = 4, batch = 10, seed = 5, progress = false,
    optimizer = case.optimizer(model:parameters()), schedule = case.schedule, augment = case.augment, checkpoint = path,
    resume = resume,
    on_epoch = function(row) if row.epoch == stop then error("killed", 0) end end,
  })
  if not (stop and result == "killed" or not stop and ok) then error(result, 0) end
  return result
end

local function bits(state)
  local parts = {}
  for name, value in pairs(state) do
    local kind = type(value)
    parts[#parts + 1] = ("%s=%s"):format(name, kind == "userdata" and value:bytes() or kind == "table" and bits(value)
      or tostring(value))
  end
  table.sort(parts)
  return table.concat(parts, "\n")
end

describe("a training that was stopped and goes on from its checkpoint", function()
  local threads = mt.get_num_threads()
  setup(function() mt.set_num_threads(1) end) -- for nets this small more threads cost more than they bring
  teardown(function() mt.set_num_threads(threads) end)

  for name, case in pairs(cases) do
    it("ends with the same bits: " .. name, function()
      process.with_folder(function(folder)
        local whole = train(case, folder .. "/whole.safetensors")
        train(case, folder .. "/stopped.safetensors", false, 1)
        train(case, folder .. "/stopped.safetensors", true, 3)
        local resumed = train(case, folder .. "/stopped.safetensors", true)
        for _, part in ipairs { "last", "best" } do
          assert.is_true(bits(whole[part].model) == bits(resumed[part].model), part)
          assert.is_true(bits(whole[part].optimizer) == bits(resumed[part].optimizer), part)
        end
        assert.equal(whole.best.epoch, resumed.best.epoch)
        assert.equal(4, #resumed.history)
      end)
    end)
  end

  it("finds everything in one file: last and best weights, optimiser, schedule, random state, epoch, best metric",
    function()
      process.with_folder(function(folder)
        local case = cases["ResNet-20, Adam, a multi-step schedule and augmented images"]
        local result = train(case, folder .. "/a.safetensors")
        local state, settings = mt.checkpoint.load(folder .. "/a.safetensors")
        assert.is_true(bits(result.last.model) == bits(state.model))
        assert.is_true(bits(result.last.optimizer) == bits(state.optimizer))
        assert.is_true(bits(result.best.model) == bits(state.best.model))
        assert.equal(4, state.epoch)
        assert.equal(result.best.accuracy, state.best.accuracy)
        assert.equal(result.best.epoch, state.best.epoch)
        assert.is_number(state.random.seed)
        assert.is_number(state.random.counter)
        assert.equal(case.schedule_text, settings.schedule)
        assert.equal(tostring(case.augment), settings.augment)
      end)
    end)
end)
