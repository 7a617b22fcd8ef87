--- Activation functions besides relu.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local nan, inf = 0 / 0, math.huge

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end

local functions = {
  { "sigmoid", nil, sigmoid },
  { "tanh", nil, function(x) return 2 * sigmoid(2 * x) - 1 end },
  { "gelu", nil, function(x) return 0.5 * x * (1 + reference.erf(x / math.sqrt(2))) end },
  { "gelu", { approximate = "tanh" }, function(x)
    return x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x ^ 3))
  end },
  { "silu", nil, function(x) return x * sigmoid(x) end },
  { "softplus", nil, function(x) return math.log(1 + math.exp(x)) end },
  { "softplus", { beta = 3 }, function(x) return math.log(1 + math.exp(3 * x)) / 3 end },
  { "softplus", { beta = 2, threshold = 1 }, function(x)
    return 2 * x > 1 and x or math.log(1 + math.exp(2 * x)) / 2
  end },
  { "leaky_relu", nil, function(x) return x > 0 and x or 0.01 * x end },
  { "leaky_relu", 0.3, function(x) return x > 0 and x or 0.3 * x end },
}

describe("activation", function()
  for i, case in ipairs(functions) do
    local name, options, plain = table.unpack(case)
    for _, shape in ipairs{ { 40 }, { 2, 3, 1, 2, 1, 3 }, {}, { 0, 2 } } do
      it(("%s (%d) over {%s} matches the reference, values and gradients"):format(name, i, table.concat(shape, ",")),
        function()
          gradcheck.check{
            ours = function(x) return x[name](x, options) end,
            reference = function(x) return reference.map(x, plain) end,
            inputs = { { shape = shape, low = -4, high = 4 } },
          }
        end)
    end

    it(("%s (%d) is a function of the module, and spreads NaN"):format(name, i), function()
      local values = mt[name](mt.tensor{ nan, 1 }, options)
      assert.is_true(values[1]:item() ~= values[1]:item())
      assert.near(plain(1), values[2]:item(), 1e-6)
      assert.equal("float32", mt[name](mt.tensor({ 1 }, "uint8"), options):dtype())
    end)
  end

  it("has its limits far out", function()
    local far = mt.tensor{ -1000, -100, 100, 1000, inf }
    local sigmoid = far:sigmoid():totable()
    assert.near(math.exp(-100), sigmoid[2], 2e-45)
    assert.same({ 0.0, sigmoid[2], 1.0, 1.0, 1.0 }, sigmoid)
    assert.same({ -1.0, -1.0, 1.0, 1.0, 1.0 }, far:tanh():totable())
    for _, name in ipairs{ "gelu", "silu", "softplus" } do
      local x = far:clone():requires_grad(true)
      local y = x[name](x)
      assert.same({ 100.0, 1000.0, inf }, { table.unpack(y:totable(), 3) })
      assert.near(0, y[1]:item() + y[2]:item(), 1e-30)
      y:narrow(1, 1, 4):sum():backward()
      for i, slope in ipairs{ 0, 0, 1, 1 } do assert.near(slope, x:grad()[i]:item(), 1e-30) end
    end
    assert.equal(0.0, mt.tensor{ -inf }:softplus():item())
  end)

  it("gelu keeps its digits where little is left", function()
    assert.near(1, mt.tensor{ -5 }:gelu():item() / (-5 * 2.8665157187919391e-07), 1e-5)
  end)

  it("says which option is wrong", function()
    local x = mt.ones(2)
    assert.error_matches(function() x:gelu{ approximate = "erf" } end,
      "option 'approximate': 'none' or 'tanh' expected")
    assert.error_matches(function() x:gelu "tanh" end, "table of options expected, got 'tanh'")
    assert.error_matches(function() x:softplus{ beta = 0 } end, "option 'beta': number in")
    assert.error_matches(function() mt.sigmoid(3) end, "masktune.Tensor expected, got number")
  end)

  it("relu6 stays between 0 and 6, leaky_relu goes on below 0; their gradients there", function()
    gradcheck.check{
      ours = mt.relu6,
      reference = function(x) return reference.map(x, function(v) return math.min(math.max(v, 0), 6) end) end,
      inputs = { { shape = { 40 }, low = -8, high = 14 } },
    }
    local x = mt.tensor{ 0, 6, 3 }:requires_grad(true)
    x:relu6():sum():backward()
    assert.same({ 0, 0, 1 }, x:grad():totable())
    x:zero_grad()
    mt.leaky_relu(x, 0.5):sum():backward()
    assert.same({ 0.5, 1, 1 }, x:grad():totable())
    assert.error_matches(function() mt.leaky_relu(x, "a") end,
      "bad argument #2 to 'leaky_relu' %(number expected, got 'a'%)")
  end)
end)
