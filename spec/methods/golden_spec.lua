local mixing = require "masktune.mixing"
local mt = require "masktune"

local golden = mt.load("spec/golden/methods.safetensors")
local BATCH = 8

--- The net of spec/golden/methods.py, with the weights it starts from.
local function net()
  local nn = mt.nn
  local model = nn.Sequential {
    { "0", nn.Flatten() }, { "1", nn.Linear(12, 8) }, { "2", nn.Tanh() }, { "head", nn.Linear(8, 3) },
  }
  local start = {}
  for name, tensor in pairs(golden) do
    local weight = name:match("^start/(.*)$")
    if weight then start[weight] = tensor end
  end
  model:load_state_dict(start)
  return model
end

local function data()
  return {
    images = golden.images, labels = golden.labels, attribute = golden.attribute, group = golden.group, classes = 3,
    preprocess = false,
  }
end

--- All tensors one after the other, by name.
local function flat(named)
  local names, parts = {}, {}
  for name in pairs(named) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = named[name]:reshape(-1)
  end
  return mt.cat(parts, 1)
end

local function near(expected, got, what)
  local scale = math.max(1e-3, expected:abs():max():item())
  local off = (expected - got):abs():max():item()
  assert.is_true(off <= 2e-5 * scale, ("%s: off by %g, the largest is %g"):format(what, off, scale))
end

--- Case -> the method's name (where it is another) and options.
local cases = {
  erm = {},
  groupdro = { step_size = 0.3, balanced = false },
  groupdro_adjusted = { method = "groupdro", step_size = 0.3, adjustment = 1.5, balanced = false },
  cvar = { alpha = 0.3 },
  spectral_decoupling = { coefficient = 0.2 },
  spectral_targets = { method = "spectral_decoupling", coefficient = 0.2, targets = { 2.5, 0.44, 1 } },
  focal = { gamma = 2 },
  ldam = { scale = 3 },
  balanced_softmax = {},
  class_balanced = { beta = 0.9 },
  reweight = {},
  reweight_sqrt = { method = "reweight", power = 0.5 },
  mixup = {},
  lisa = { balanced = false },
  lff = {},
  irm = { penalty = 20, warmup_steps = 4, environments = "attribute" },
  coral = { penalty = 0.7 },
  mmd = { penalty = 0.7 },
}

--- Runs f with the random draws of the golden file in place of ours.
local function with_draws(f)
  local kept = mt.tables.merged(mixing)
  local step = 0
  mixing.beta = function()
    step = step + 1
    return golden.shares[step]:item()
  end
  mixing.order = function() return golden.orders[step] end
  mixing.chance = function() return step % 2 == 1 end
  mixing.integer = function(count) return count end
  local ok, problem = pcall(f)
  for name, value in pairs(kept) do
    mixing[name] = value
  end
  assert(ok, problem)
end

describe("what PyTorch computed (spec/golden/methods.py)", function()
  for name, options in pairs(cases) do
    it("agrees with the method: " .. name, function()
      with_draws(function()
        local model, gradient = net(), nil
        local result = mt.masktune(model, mt.tables.merged({
          method = name, train = data(), epochs = 2, batch = BATCH, schedule = mt.schedule.constant { lr = 0.1 },
          momentum = 0.9, weight_decay = 1e-3, sampler = mt.data.samplers.sequential(), progress = false,
          before_step = function(now) gradient = gradient or flat(now:grad_dict()) end,
        }, options))
        near(golden[name .. "/gradient"], gradient, "gradient of the first step")
        for epoch, row in ipairs(result.history) do
          assert.near(golden[name .. "/losses"][epoch]:item(), row.train_loss, 1e-5)
        end
        near(golden[name .. "/weights"], flat(model:state_dict()), "weights after ten steps")
      end)
    end)
  end
end)
