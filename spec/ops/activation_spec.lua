local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

--- A function of one number, on tensors of several shapes, away from its kinks at 0 and 6.
local function check(ours, plain)
  for _, shape in ipairs{ { 5 }, { 2, 3, 1, 7 }, {}, { 0, 2 } } do
    gradcheck.check{
      ours = ours,
      reference = function(x) return reference.map(x, plain) end,
      inputs = { { shape = shape, low = -8, high = 8 } },
    }
  end
end

describe("activations as functions", function()
  it("leaky_relu is x where it is positive, else slope * x", function()
    check(mt.leaky_relu, function(x) return x > 0 and x or 0.01 * x end)
    check(function(x) return mt.leaky_relu(x, 0.3) end, function(x) return x > 0 and x or 0.3 * x end)
    local x = mt.tensor{ 0, 0 / 0 }:requires_grad(true)
    local y = mt.leaky_relu(x, 0.5)
    assert.are_not.equal(y[2]:item(), y[2]:item())
    y:backward(mt.ones(2))
    assert.equal(0.5, x:grad()[1]:item())
    assert.has_error(function() mt.leaky_relu(x, "a") end, "bad argument #2 to 'leaky_relu' (number expected, got 'a')")
  end)

  it("relu6 stays between 0 and 6, where its gradient is 0", function()
    check(mt.relu6, function(x) return math.min(math.max(x, 0), 6) end)
    local x = mt.tensor{ 0, 6, 3 }:requires_grad(true)
    mt.relu6(x):sum():backward()
    assert.same({ 0, 0, 1 }, x:grad():totable())
  end)
end)
