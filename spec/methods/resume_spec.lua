local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

--- Two classes with two attributes each.
local function data(count, seed)
  local set = tiny.data(count, seed)
  set.attribute = set.biased:to("int32") + 1
  set.group = (set.labels - 1) * 2 + set.attribute
  return set
end

local train_set, val_set = data(48, 1), data(24, 2)

--- A run that is killed at its kill-th step of an optimiser; how many there were.
local function run(method, folder, resume, kill, more)
  local steps = 0
  local function optimizer(parameters, lr)
    local inner = mt.optim.sgd(parameters, { lr = lr, momentum = 0.9 })
    return setmetatable({
      step = function()
        steps = steps + 1
        if steps == kill then error("killed", 0) end
        inner:step()
      end,
    }, { __index = function(_, name) return function(_, ...) return inner[name](inner, ...) end end })
  end
  local model = tiny.model(1)
  local ok, result = pcall(method, model, mt.tables.merged({
    train = train_set, val = val_set, epochs = 3, batch = 8, lr = 0.05, seed = 3, progress = false,
    optimizer = optimizer, checkpoint = folder, resume = resume,
  }, more or {}))
  assert.equal(kill == nil, ok, result)
  if not ok then assert.equal("killed", result) end
  return tiny.bytes(model:state_dict()), steps, result
end

--- Options that make the tiny runs exercise what a method can do.
local options = {
  dfr = { c = { 1 }, heads = 1 },
  eiil = { steps = 50 },
  irm = { environments = "attribute", warmup_steps = 5 },
  ensemble = { members = 3, build = function(seed) return tiny.model(seed) end },
  masktune = { k = 1 },
}

describe("a method that is killed and resumed", function()
  local all = {}
  for _, registry in ipairs { mt.methods, mt.selective.methods } do
    for name, method in pairs(registry) do
      all[name] = method
    end
  end

  for name, method in pairs(all) do
    it("ends with the same bits: " .. name, function()
      process.with_folder(function(folder)
        local function scores(result)
          return result.answers and result.answers(val_set).scores
        end
        local whole, steps, result = run(method, folder .. "/whole", false, nil, options[name])
        assert.is_true(steps > 0)
        assert.is_table(result.history)
        assert.is_true(mt.is_module(result.final))
        for _, kill in ipairs { 2, steps // 2, steps - 1 } do
          local stopped = ("%s/stopped-%d"):format(folder, kill)
          run(method, stopped, false, kill, options[name])
          local got, again, resumed = run(method, stopped, true, nil, options[name])
          assert.equal(whole, got)
          assert.is_true(again <= steps)
          assert.same(scores(result), scores(resumed))
        end
        local got, again = run(method, folder .. "/whole", true, nil, options[name])
        assert.equal(whole, got)
        assert.is_true(again == 0, again)
        mt.masktune.clear(folder .. "/whole")
        assert.same({}, mt.list_directory(folder .. "/whole"))
      end)
    end)
  end
end)
