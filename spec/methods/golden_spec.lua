local core = require "masktune.core"
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
  cnc = { contrast = 0.6, temperature = 0.5 },
  divdis = { diversity = 2, prior = 3 },
  irm = { penalty = 20, warmup_steps = 4, environments = "attribute" },
  coral = { penalty = 0.7 },
  mmd = { penalty = 0.7 },
  deep_gamblers = { pretrain = 1 },
  sat = { pretrain = 0, entropy = 0.01 },
  one_sided = { multiplier_lr = 0.3 },
  selectivenet = { coverage = 0.8, alpha = 0.4, lambda = 5, hidden = 4, divide = true },
  selectivenet_undivided = { method = "selectivenet", coverage = 0.8, alpha = 0.4, lambda = 5, hidden = 4 },
}

--- The first images of a set, in order, in every step.
local function first_batches(set, size)
  return function()
    return mt.data.loader { dataset = set, batch = size, shuffle = false }:epoch(1)()
  end
end

--- Replaces fields of tables while f runs.
local function with(replaced, f)
  local before = {}
  for i, entry in ipairs(replaced) do
    local holder, name, value = table.unpack(entry)
    before[i], holder[name] = holder[name], value
  end
  local ok, problem = pcall(f)
  for i, entry in ipairs(replaced) do
    entry[1][entry[2]] = before[i]
  end
  assert(ok, problem)
end

--- Runs f with the random draws of the golden file in place of ours.
local function with_draws(f)
  local step, linear = 0, core.nn.Linear
  local generator = { permutation = function() return golden.order end }
  with({
    { mixing, "beta", function()
      step = step + 1
      return golden.shares[step]:item()
    end },
    { mixing, "order", function() return golden.orders[step] end },
    { mixing, "chance", function() return step % 2 == 1 end },
    { mixing, "integer", function(count) return count end },
    { core, "generator", function() return generator end },
    { core, "rand", function()
      step = step + 1
      return golden.uniforms[step]
    end },
    { core.nn, "Linear", function(inputs, outputs)
      local layer, name = linear(inputs, outputs), ("linear/%dx%d/"):format(inputs, outputs)
      layer:load_state_dict { weight = golden[name .. "weight"], bias = golden[name .. "bias"] }
      return layer
    end },
    { mt.data.samplers, "balanced", function() return mt.data.samplers.sequential() end },
  }, f)
end

local function train_options(more)
  return mt.tables.merged({
    train = data(), epochs = 2, batch = BATCH, schedule = mt.schedule.constant { lr = 0.1 }, momentum = 0.9,
    weight_decay = 1e-3, progress = false,
  }, more)
end

describe("what PyTorch computed (spec/golden/methods.py)", function()
  local other_batches = package.loaded["masktune.recipe.other_batches"]
  setup(function()
    package.loaded["masktune.recipe.other_batches"] = first_batches
    for _, name in ipairs { "divdis", "ssa" } do
      package.loaded["masktune.methods." .. name] = nil
    end
  end)
  teardown(function()
    package.loaded["masktune.recipe.other_batches"] = other_batches
    for _, name in ipairs { "divdis", "ssa" } do
      package.loaded["masktune.methods." .. name] = nil
    end
  end)

  --- A method whose second batches are the golden file's, whatever was loaded before.
  local function method(name)
    if name == "divdis" or name == "ssa" then mt.methods[name] = require("masktune.methods." .. name) end
    return mt.selective.methods[name] or mt.methods[name]
  end

  for name, options in pairs(cases) do
    it("agrees with the method: " .. name, function()
      local model, start, gradient = net(), net():state_dict(), nil
      local run = method(options.method or name)
      with_draws(function()
        local result = run(model, mt.tables.merged(train_options {
          before_step = function(now) gradient = gradient or flat(now:grad_dict()) end,
          sampler = name ~= "cnc" and mt.data.samplers.sequential() or nil,
          target = name == "divdis" and data() or nil,
          initial = name == "cnc" and start or nil,
        }, mt.tables.without(options, { "method" })))
        near(golden[name .. "/gradient"], gradient, "gradient of the first step")
        for epoch, row in ipairs(result.history) do
          assert.near(golden[name .. "/losses"][epoch]:item(), row.train_loss, 1e-5)
        end
        near(golden[name .. "/weights"], flat(model:state_dict()),
          "weights after ten steps")
      end)
    end)
  end

  it("agrees with the groups of EIIL", function()
    local found, facts = mt.groups.eiil(net(), data(), { start = golden.assignments, steps = 60, lr = 0.05 })
    near(golden["eiil/logits"], facts.logits, "logits of the assignments")
    local parts = (golden["eiil/logits"]:gt(0):to("int32") + 1):totable()
    assert.same(parts, found.part:totable())
    for i, label in ipairs(golden.labels:totable()) do
      assert.equal((label - 1) * 2 + parts[i], found.group[i]:item())
    end
  end)

  it("agrees with the groups of XRM", function()
    local model = net()
    with_draws(function()
      local o = train_options { sampler = mt.data.samplers.sequential() }
      o.train = nil
      local found, facts = mt.groups.xrm(model, data(), o)
      assert.same(golden["xrm/part"]:totable(), found.part:totable())
      assert.near(golden["xrm/labels"]:ne(golden.labels):sum():item() / 40, facts.flips, 1e-12)
      assert.is_true(facts.flips > 0)
    end)
  end)

  it("agrees with the net that spreads groups (SSA)", function()
    local model, ssa, spread = net(), method("ssa"), nil
    with_draws(function()
      ssa(model, train_options {
        val = data(), confidence = 0.4, splits = 2, sampler = mt.data.samplers.sequential(), balanced = false,
        after_step = function(now, _, run)
          if run.total_steps == 6 then spread = spread or flat(now:state_dict()) end
        end,
      })
    end)
    near(golden["ssa/weights"], spread, "weights after six steps")
  end)

  it("agrees with AFR's last layer", function()
    local model = net()
    mt.methods.afr(model, train_options {
      initial = net():state_dict(), val = data(), fit_on = "val", gamma = 3, l2 = 0.1, head_steps = 40, head_lr = 0.2,
    })
    near(golden["afr/weights"], flat(model:state_dict()), "weights after forty steps")
  end)

  for name, balance in pairs { crt = "sampler", crt_weights = "weights" } do
    it("agrees with the last layer that is trained anew: " .. name, function()
      local model, start = net(), net():state_dict()
      with_draws(function()
        mt.methods.crt(model, train_options {
          initial = start, balance = balance, head_epochs = 2, head_batch = BATCH, head_lr = 0.1,
        })
      end)
      local state = model:state_dict()
      near(golden[name .. "/head"], flat { bias = state["head.bias"], weight = state["head.weight"] }, "the last layer")
      near(flat(net():get("1"):state_dict()), flat(model:get("1"):state_dict()), "the rest")
    end)
  end

  it("agrees with training just twice (JTT)", function()
    local model, subset = net(), mt.data.samplers.subset
    with_draws(function()
      with({ { mt.data.samplers, "subset", function(o)
        return subset { indices = o.indices, shuffle = false }
      end } }, function()
        local result = mt.methods.jtt(model, train_options { first_epochs = 1, upweight = 3 })
        assert.equal(golden["jtt/wrong"]:sum():item(), result.errors)
        assert.is_true(result.errors > 3 and result.errors < 37)
      end)
    end)
    near(golden["jtt/weights"], flat(model:state_dict()), "weights after both trainings")
  end)

  it("agrees with DFR's last layer", function()
    local model = net()
    mt.methods.dfr(model, train_options {
      initial = net():state_dict(), val = mt.data.subset(data(), golden.rows), c = { 2 }, heads = 2,
    })
    model:eval()
    local p = mt.no_grad(model, golden.images):softmax(2)
    assert.is_true((p - golden["dfr/probabilities"]):abs():max():item() < 2e-4)
  end)
end)
