local mt = require "masktune"
local reference = require "support.reference"

-- PyTorch's update rules in doubles: each takes and returns plain numbers.
local function sgd_rule(o)
  local velocity
  return function(p, g)
    g = g + (o.weight_decay or 0) * p
    if (o.momentum or 0) ~= 0 then
      velocity = velocity and o.momentum * velocity + g or g
      g = o.nesterov and g + o.momentum * velocity or velocity
    end
    return p - o.lr * g
  end
end

local function adam_rule(o)
  local m, v, t = 0.0, 0.0, 0
  local beta1, beta2 = table.unpack(o.betas or { 0.9, 0.999 })
  return function(p, g)
    g = g + (o.weight_decay or 0) * p
    t = t + 1
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    local denominator = math.sqrt(v) / math.sqrt(1 - beta2 ^ t) + (o.eps or 1e-8)
    return p - o.lr / (1 - beta1 ^ t) * m / denominator
  end
end

local function leaf(values) return mt.tensor(values):requires_grad(true) end

--- Gives p the gradient g by differentiating sum(p * g).
local function give_gradient(p, g)
  (p * g):sum():backward()
end

--- Follows `steps` updates of random parameters under random gradients, ours against the rule.
local function compare(make, rule, options, sizes, steps)
  local random = reference.generator(7)
  local params, expected, rules = {}, {}, {}
  for i, size in ipairs(sizes) do
    local values = {}
    for j = 1, size do
      values[j] = reference.to_float32(random(-1, 1))
    end
    params[i], expected[i], rules[i] = leaf(values), values, {}
    for j = 1, size do
      rules[i][j] = rule(options)
    end
  end
  local optimiser = make(params, options)
  for _ = 1, steps do
    optimiser:zero_grad()
    for i, size in ipairs(sizes) do
      local gradient = {}
      for j = 1, size do
        gradient[j] = reference.to_float32(random(-2, 2))
        expected[i][j] = rules[i][j](expected[i][j], gradient[j])
      end
      give_gradient(params[i], mt.tensor(gradient))
    end
    optimiser:step()
  end
  for i in ipairs(sizes) do
    local distance = reference.relative_error(params[i]:totable(), expected[i])
    assert.is_true(distance < 2e-6, ("parameter %d is off by %g"):format(i, distance))
  end
end

local cases = {
  { "sgd", sgd_rule, { lr = 0.1 } },
  { "sgd", sgd_rule, { lr = 0.1, weight_decay = 0.01 } },
  { "sgd", sgd_rule, { lr = 0.05, momentum = 0.9 } },
  { "sgd", sgd_rule, { lr = 0.05, momentum = 0.9, weight_decay = 1e-4 } },
  { "sgd", sgd_rule, { lr = 0.05, momentum = 0.8, weight_decay = 0.1, nesterov = true } },
  { "adam", adam_rule, { lr = 0.01 } },
  { "adam", adam_rule, { lr = 0.01, weight_decay = 0.1 } },
  { "adam", adam_rule, { lr = 0.02, betas = { 0.5, 0.9 }, eps = 0.1 } },
}

describe("an optimiser follows PyTorch's rule in doubles over seven steps:", function()
  for _, case in ipairs(cases) do
    local name, rule, options = table.unpack(case)
    local words = {}
    for key, value in pairs(options) do
      words[#words + 1] = ("%s %s"):format(key, type(value) == "table" and table.concat(value, "/") or value)
    end
    table.sort(words)
    it(("%s, %s"):format(name, table.concat(words, ", ")), function()
      compare(mt.optim[name], rule, options, { 3, 1, 40 }, 7)
    end)
  end
end)

local with_state = {
  sgd = { lr = 0.1, momentum = 0.9, dampening = 0.25 }, adam = { lr = 0.1 }, adamw = { lr = 0.1, amsgrad = true },
}
for name, options in pairs(with_state) do
  local make = mt.optim[name]

  describe(name, function()
    it("gives the same bits at every thread count", function()
      local threads = mt.get_num_threads()
      local function run(count)
        mt.set_num_threads(count)
        mt.manual_seed(3)
        local p = mt.randn(100003):requires_grad(true)
        local g = mt.randn(100003)
        local optimiser = make({ p }, options)
        for _ = 1, 3 do
          optimiser:zero_grad()
          give_gradient(p, g)
          optimiser:step()
        end
        return p:bytes()
      end
      local one, three = run(1), run(3)
      mt.set_num_threads(threads)
      assert.is_true(one == three)
    end)

    it("leaves a parameter without a gradient, and its step count, alone", function()
      local a, b, alone = leaf{ 1, 2 }, leaf{ 3, 4 }, leaf{ 3, 4 }
      local both, single = make({ a, b }, options), make({ alone }, options)
      give_gradient(a, mt.tensor{ 1, 1 })
      both:step()
      assert.same({ 3, 4 }, b:totable())
      for _ = 1, 2 do
        both:zero_grad()
        single:zero_grad()
        give_gradient(b, mt.tensor{ 0.5, -1 })
        give_gradient(alone, mt.tensor{ 0.5, -1 })
        both:step()
        single:step()
      end
      assert.equal(alone:bytes(), b:bytes())
    end)

    it("leaves a frozen parameter alone wholly: no decay, no state, whatever gradient it has", function()
      local frozen, trained = leaf{ 1, 2 }, leaf{ 3, 4 }
      local with_decay = { weight_decay = 0.5 }
      for key, value in pairs(options) do
        with_decay[key] = value
      end
      local optimiser = make({ frozen, trained }, with_decay)
      give_gradient(frozen, mt.tensor{ 1, 1 })
      give_gradient(trained, mt.tensor{ 1, 1 })
      frozen:requires_grad(false)
      optimiser:step()
      assert.same({ 1, 2 }, frozen:totable())
      assert.are_not.same({ 3, 4 }, trained:totable())
      for key in pairs(optimiser:state_dict()) do
        assert.is_nil(key:match("%.1$"))
      end
      frozen:requires_grad(true)
      optimiser:step()
      assert.are_not.same({ 1, 2 }, frozen:totable())
    end)

    it("is made over parameters that are frozen already, and trains them once they are not", function()
      local model = mt.nn.Sequential{ mt.nn.Linear(2, 3), mt.nn.Linear(3, 1) }
      model[1]:requires_grad(false)
      local optimiser = make(model:parameters(), options)
      local function step()
        optimiser:zero_grad()
        model(mt.rand(4, 2)):sum():backward()
        optimiser:step()
      end
      local first, second = model[1].weight:bytes(), model[2].weight:bytes()
      step()
      assert.equal(first, model[1].weight:bytes())
      assert.are_not.equal(second, model[2].weight:bytes())
      model[1]:requires_grad(true)
      step()
      assert.are_not.equal(first, model[1].weight:bytes())
    end)

    it("shows a NaN gradient as NaN in that element only", function()
      local p = leaf{ 1, 2 }
      give_gradient(p, mt.tensor{ 0 / 0, 1 })
      make({ p }, options):step()
      local values = p:totable()
      assert.is_true(values[1] ~= values[1])
      assert.is_true(values[2] == values[2])
    end)

    it("goes on bit for bit from a saved state", function()
      local function gradients(p, step) give_gradient(p, mt.tensor{ step, -1.5, 0.25 * step }) end
      local straight = leaf{ 1, 2, 3 }
      local optimiser = make({ straight }, options)
      local state, values
      for step = 1, 6 do
        optimiser:zero_grad()
        gradients(straight, step)
        optimiser:step()
        if step == 3 then
          optimiser:set_lr(0.037)
          state, values = optimiser:state_dict(), straight:detach():clone()
        end
      end
      local resumed = values:requires_grad(true)
      local second = make({ resumed }, options)
      second:load_state_dict(state)
      assert.equal(0.037, second:lr())
      for step = 4, 6 do
        second:zero_grad()
        gradients(resumed, step)
        second:step()
      end
      assert.equal(straight:bytes(), resumed:bytes())
    end)

    it("refuses a state that is not its own, and keeps the one it has", function()
      local p = leaf{ 1, 2 }
      local optimiser = make({ p }, options)
      give_gradient(p, mt.tensor{ 1, 1 })
      optimiser:step()
      local own = optimiser:state_dict()
      local tensor_name = name == "sgd" and "momentum.1" or "exp_avg.1"
      local function fails(pattern, change)
        local state = optimiser:state_dict()
        change(state)
        local ok, message = pcall(optimiser.load_state_dict, optimiser, state)
        assert.is_false(ok)
        assert.matches(pattern, message, 1, true)
        assert.equal(own[tensor_name]:bytes(), optimiser:state_dict()[tensor_name]:bytes())
      end
      fails(tensor_name .. " has shape {3}, expected {2}", function(state) state[tensor_name] = mt.ones(3) end)
      fails("is uint8, expected float32", function(state) state[tensor_name] = mt.ones(2):to("uint8") end)
      fails("tensor expected, got 5", function(state) state[tensor_name] = 5 end)
      local stranger = ("'banana' is no state of this %s over 1 parameters"):format(name)
      fails(stranger, function(state) state.banana = mt.ones(1) end)
      fails("is no state", function(state) state[tensor_name:gsub("1$", "2")] = mt.ones(2) end)
      fails("option 'lr'", function(state) state.lr = -1 end)
      if name ~= "sgd" then
        fails("'step.1' is missing", function(state) state["step.1"] = nil end)
        fails("'step.1' is 0, expected at least 1", function(state) state["step.1"] = mt.full({}, 0):to("int32") end)
      end
    end)

    it("refuses parameters that it cannot train", function()
      local function fails(pattern, ...)
        local ok, message = pcall(make, ...)
        assert.is_false(ok)
        assert.matches(pattern, message, 1, true)
      end
      local p = leaf{ 1, 2 }
      fails(name .. ": params is empty, expected at least one tensor", {}, options)
      fails("params[2]: tensor expected, got number", { p, 5 }, options)
      fails("params[1] does not require gradients", { mt.ones(2) }, options)
      fails("params[1] is the result of an operation, expected a leaf", { p + p }, options)
      fails("params[1] and params[2] are the same tensor", { p, p }, options)
      fails("table expected", p, options)
      fails("option 'lr' is missing", { p }, {})
      fails("option 'lr'", { p }, { lr = -0.1 })
      fails("option 'lr'", { p }, { lr = 0 / 0 })
      fails("option 'weight_decay'", { p }, { lr = 1, weight_decay = -1 })
      fails("unknown option 'learning_rate'", { p }, { lr = 1, learning_rate = 2 })
      assert.has_error(function() make({ p }, options):set_lr(-1) end)
    end)
  end)
end

describe("options of their own:", function()
  it("Nesterov needs momentum", function()
    assert.has_error(function() mt.optim.sgd({ leaf{ 1 } }, { lr = 1, nesterov = true }) end,
      "sgd: nesterov is true and momentum is 0, expected momentum > 0")
    local contradicting = { lr = 1, nesterov = true, momentum = 0.9, dampening = 0.5 }
    assert.has_error(function() mt.optim.sgd({ leaf{ 1 } }, contradicting) end,
      "sgd: nesterov is true and dampening is 0.5, expected dampening = 0")
  end)

  it("dampening spares the first step", function()
    local p = leaf{ 0 }
    local optimiser = mt.optim.sgd({ p }, { lr = 1, momentum = 0.5, dampening = 0.75 })
    give_gradient(p, mt.tensor{ 8 })
    optimiser:step()
    assert.same({ -8 }, p:totable())
    optimiser:step()
    assert.same({ -8 - (4 + 2) }, p:totable())
  end)

  it("flags are booleans", function()
    for name, option in pairs{ sgd = "nesterov", adam = "amsgrad", adamw = "maximize" } do
      local ok, message = pcall(mt.optim[name], { leaf{ 1 } }, { lr = 1, [option] = 1 })
      assert.is_false(ok)
      assert.matches(("option '%s': boolean expected, got 1"):format(option), message, 1, true)
    end
  end)

  it("betas are two numbers below 1", function()
    for _, betas in ipairs{ 5, {}, { 0.9 }, { 0.9, 1 }, { -0.1, 0.9 }, { 0.9, "x" }, { 0.1, 0.2, 0.3 } } do
      local ok, message = pcall(mt.optim.adam, { leaf{ 1 } }, { lr = 1, betas = betas })
      assert.is_false(ok)
      assert.matches("option 'betas': two numbers in [0, 1) expected", message, 1, true)
    end
  end)
end)
