-- What groups do to a step is compared with PyTorch in spec/oracle/training.lua.
local mt = require "masktune"

local function leaf(values) return mt.tensor(values):requires_grad(true) end

local function give_gradient(p, g)
  (p * g):sum():backward()
end

local function fails(pattern, ...)
  local ok, message = pcall(...)
  assert.is_false(ok)
  assert.matches(pattern, message, 1, true)
end

describe("groups of parameters", function()
  it("have options of their own and take the others from all", function()
    local a, b = leaf{ 1 }, leaf{ 1 }
    local optimiser = mt.optim.sgd({ { params = { a }, lr = 0.5 }, { params = { b }, weight_decay = 1 } },
      { lr = 0.25, maximize = true })
    give_gradient(a, mt.tensor{ 1 })
    give_gradient(b, mt.tensor{ 1 })
    optimiser:step()
    assert.same({ 1.5 }, a:totable())
    assert.same({ 1 }, b:totable()) -- 1 - 0.25 * (-1 + 1)
    assert.equal("sgd(lr 0.25, 2 parameters in 2 groups)", tostring(optimiser))
    assert.equal("sgd(lr 0.25, 1 parameters)", tostring(mt.optim.sgd({ a }, { lr = 0.25 })))
  end)

  it("with a rate of their own keep its ratio to the optimiser's first one", function()
    local optimiser = mt.optim.adamw({
      { params = { leaf{ 1 } }, lr = 0.01 }, { params = { leaf{ 1 } } }, { params = { leaf{ 1 } }, lr = 0 },
    }, { lr = 0.1 })
    local function rates() return { optimiser:lr(), optimiser:lr(1), optimiser:lr(2), optimiser:lr(3) } end
    assert.same({ 0.1, 0.01, 0.1, 0 }, rates())
    optimiser:set_lr(0)
    assert.same({ 0, 0, 0, 0 }, rates())
    optimiser:set_lr(0.05)
    assert.same({ 0.05, 0.005, 0.05, 0 }, rates())
    optimiser:set_lr(0.1)
    assert.same({ 0.1, 0.01, 0.1, 0 }, rates())
    fails("integer in [1, 3] expected, got 4", optimiser.lr, optimiser, 4)
  end)

  it("go on bit for bit from a saved state", function()
    local function build(values)
      local params = {}
      for i, value in ipairs(values) do
        params[i] = mt.tensor(value):requires_grad(true)
      end
      return params, mt.optim.sgd({ { params = { params[1] }, momentum = 0 },
        { params = { params[2], params[3] }, lr = 0.5, dampening = 0.5 } }, { lr = 0.1, momentum = 0.9 })
    end
    local function train(params, optimiser, first, last)
      for step = first, last do
        optimiser:zero_grad()
        for i, p in ipairs(params) do
          give_gradient(p, mt.tensor{ step * 0.1, i })
        end
        optimiser:step()
      end
    end
    local straight, optimiser = build{ { 1, 2 }, { 3, 4 }, { 5, 6 } }
    train(straight, optimiser, 1, 3)
    optimiser:set_lr(0.07)
    local state, values = optimiser:state_dict(), {}
    assert.same({ 1, 2 }, state.groups:totable())
    assert.is_nil(state["momentum.1"])
    assert.is_truthy(state["momentum.2"] and state["momentum.3"])
    for i, p in ipairs(straight) do
      values[i] = p:totable()
    end
    local resumed, second = build(values)
    second:load_state_dict(state)
    assert.equal(0.07, second:lr())
    train(straight, optimiser, 4, 6)
    train(resumed, second, 4, 6)
    for i in ipairs(straight) do
      assert.equal(straight[i]:bytes(), resumed[i]:bytes())
    end
  end)

  it("load the state of a plain list of the same parameters", function()
    local a, b = leaf{ 1 }, leaf{ 2 }
    local plain = mt.optim.adam({ a, b }, { lr = 0.1 })
    give_gradient(a, mt.tensor{ 1 })
    give_gradient(b, mt.tensor{ 1 })
    plain:step()
    local state = plain:state_dict()
    assert.is_nil(state.groups)
    local grouped = mt.optim.adam({ { params = { a } }, { params = { b }, lr = 0.01 } }, { lr = 0.1 })
    grouped:load_state_dict(state)
    local copied = grouped:state_dict()
    for name, value in pairs(state) do
      if name ~= "lr" then assert.same(value:totable(), copied[name]:totable()) end
    end
  end)

  it("refuse the state of other groups", function()
    local params = { leaf{ 1 }, leaf{ 2 }, leaf{ 3 } }
    local function grouped(...)
      local groups, at = {}, 0
      for i, size in ipairs{ ... } do
        groups[i] = { params = { table.unpack(params, at + 1, at + size) } }
        at = at + size
      end
      return mt.optim.sgd(groups, { lr = 0.1, momentum = 0.9 })
    end
    local state = grouped(1, 2):state_dict()
    fails("group 1 of the state has 1 parameters, expected 2", function() grouped(2, 1):load_state_dict(state) end)
    fails("groups has shape {2}, expected {3}", function() grouped(1, 1, 1):load_state_dict(state) end)
    fails("groups has shape {2}, expected {1}",
      function() mt.optim.sgd(params, { lr = 0.1, momentum = 0.9 }):load_state_dict(state) end)
    state.groups = 5
    fails("option 'groups': tensor expected, got 5", function() grouped(1, 2):load_state_dict(state) end)
  end)

  it("name what is wrong in which group", function()
    local a, b = leaf{ 1 }, leaf{ 2 }
    local sgd = mt.optim.sgd
    local o = { lr = 0.1 }
    fails("option 'params[2].lr': number in [0.0, 1e+30] expected, got -1", sgd,
      { { params = { a } }, { params = { b }, lr = -1 } }, o)
    fails("option 'params[1].momentum': number in [0.0, 1e+30] expected, got 'much'", sgd,
      { { params = { a }, momentum = "much" } }, o)
    fails("option 'params[1].nesterov': boolean expected, got 1", sgd, { { params = { a }, nesterov = 1 } }, o)
    fails("option 'params[1].betas': two numbers in [0, 1) expected", mt.optim.adam,
      { { params = { a }, betas = { 1, 2 } } }, o)
    fails("params[1]: unknown option 'rate', expected one of: params, lr, momentum", sgd,
      { { params = { a }, rate = 1 } }, o)
    fails("option 'params[1].params': table of tensors expected, got nil", sgd, { { lr = 1 } }, o)
    fails("params[2].params[1]: tensor expected, got number", sgd, { { params = { a } }, { params = { 5 } } }, o)
    fails("params[2].params is empty", sgd, { { params = { a } }, { params = {} } }, o)
    fails("sgd: params[2].params[2] is in group 1 already", sgd, { { params = { a } }, { params = { b, a } } }, o)
    fails("params[2]: table with params expected, got userdata", sgd, { { params = { a } }, b }, o)
    fails("params[2]: tensor expected, got table", sgd, { a, { params = { b } } }, o)
    fails("sgd: nesterov is true and momentum is 0", sgd, { { params = { a }, nesterov = true } }, o)
    fails("sgd: lr is 0, expected more, because group 2 has a rate of its own (0.5)", sgd,
      { { params = { a } }, { params = { b }, lr = 0.5 } }, { lr = 0 })
  end)

  it("do not mind a list that makes its tensors up as it is read", function()
    local made = setmetatable({}, {
      __len = function() return 3 end,
      __index = function() return leaf{ 1, 2, 3 } end,
    })
    local optimiser = mt.optim.adam({ { params = made } }, { lr = 0.1 })
    collectgarbage()
    optimiser:step()
    assert.equal("adam(lr 0.1, 3 parameters)", tostring(optimiser))
  end)
end)
