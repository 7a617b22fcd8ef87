--- The tape: what is recorded, when it is freed, and what backward refuses.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

describe("backward", function()
  it("differentiates a loss written in Lua", function()
    gradcheck.check{
      ours = function(x, w)
        local z = x:matmul(w):clamp(-2, 2)
        local p = z:softmax(2)
        return ((p - 0.5) ^ 2):mean() + z:abs():max() * 0.1 - (p + 1):log():std()
      end,
      reference = function(x, w)
        local z, p = {}, {}
        for i = 1, 3 do
          local total = 0.0
          for j = 1, 4 do
            local sum = 0.0
            for k = 1, 2 do sum = sum + x[(i - 1) * 2 + k] * w[(k - 1) * 4 + j] end
            z[#z + 1] = math.min(math.max(sum, -2), 2)
            total = total + math.exp(z[#z])
          end
          for j = 1, 4 do p[#p + 1] = math.exp(z[(i - 1) * 4 + j]) / total end
        end
        local square, largest, logs, mean = 0.0, 0.0, {}, 0.0
        for i = 1, 12 do
          square = square + (p[i] - 0.5) ^ 2 / 12
          largest = math.max(largest, math.abs(z[i]))
          logs[i] = math.log(p[i] + 1)
          mean = mean + logs[i] / 12
        end
        local variance = 0.0
        for i = 1, 12 do variance = variance + (logs[i] - mean) ^ 2 / 11 end
        return square + 0.1 * largest - math.sqrt(variance)
      end,
      inputs = { { shape = { 3, 2 } }, { shape = { 2, 4 } } },
    }
  end)

  it("adds to the gradients that are there", function()
    local x = mt.ones(2, { requires_grad = true })
    for i = 1, 3 do
      (x * i):sum():backward()
    end
    assert.same({ 6.0, 6.0 }, x:grad():totable())
    x:zero_grad()
    assert.is_nil(x:grad())
  end)

  it("adds up the paths of a diamond", function()
    local x = mt.tensor({ 3 }, { requires_grad = true })
    local a = x * 2
    local b, c = a * a, a + 1
    (b * c):sum():backward() -- d/dx (4x^2 (2x+1)) = 24x^2 + 8x
    assert.equal(24.0 * 9 + 24, x:grad():item())
  end)

  it("starts from any shape when a gradient is given", function()
    local x = mt.ones(2, 2, { requires_grad = true })
    local y = x * 3
    y:backward(mt.tensor{ { 1, 2 }, { 3, 4 } })
    assert.same({ { 3.0, 6.0 }, { 9.0, 12.0 } }, x:grad():totable())
  end)

  it("does not share a gradient between leaves", function()
    local a, b = mt.ones(2, { requires_grad = true }), mt.ones(2, { requires_grad = true })
    local seed = mt.ones(2);
    (a + b):backward(seed)
    a:grad():fill(7)
    assert.same({ 1.0, 1.0 }, b:grad():totable())
    assert.same({ 1.0, 1.0 }, seed:totable())
  end)

  it("leaves the gradient that it is given alone", function()
    local x, seed = mt.ones(2, { requires_grad = true }), mt.ones(2)
    x:backward(seed)
    x:backward(seed)
    assert.same({ 2.0, 2.0 }, x:grad():totable())
    local y = x * 1;
    (y + y):backward(seed)
    x:reshape(2, 1):reshape(2):backward(seed)
    x:clone():backward(seed)
    assert.same({ 6.0, 6.0 }, x:grad():totable())
    assert.same({ 1.0, 1.0 }, seed:totable())
    x:zero_grad():reshape(2):backward(seed)
    seed:fill(7)
    assert.same({ 1.0, 1.0 }, x:grad():totable())
  end)

  it("leaves tensors alone that ask for no gradient", function()
    local x, y = mt.ones(2, { requires_grad = true }), mt.ones(2);
    (x * y):sum():backward()
    assert.is_nil(y:grad())
    assert.is_false((y * 2):requires_grad())
    assert.is_true((x * 2):requires_grad())
  end)

  it("walks and frees a chain of 200,000 operations", function()
    local x = mt.ones(1, { requires_grad = true })
    local y = x
    for _ = 1, 200000 do y = y + 1 end
    y:backward()
    assert.equal(1.0, x:grad():item())
    y = x
    for _ = 1, 200000 do y = y + 1 end
    y = nil -- luacheck: ignore 311
    collectgarbage()
    assert.equal(1.0, x:grad():item())
  end)

  it("frees the graph's values, and says so when it is walked again", function()
    local before = mt.memory().live
    local x = mt.ones(300, 1000, { requires_grad = true })
    local y = x
    for _ = 1, 20 do y = (y * y):exp():log() end
    local loss = y:sum()
    y = nil -- luacheck: ignore 311
    collectgarbage()
    local recorded = mt.memory().live - before
    loss:backward()
    local kept = mt.memory().live - before
    assert.is_true(recorded > 20 * 1200000)
    assert.is_true(kept < 4 * 1200000)
    assert.error_matches(function() loss:backward() end,
      "the graph through sum was already walked and its values freed")
  end)

  it("says when a value it needs was changed in place", function()
    local x, w = mt.ones(2), mt.ones(2, { requires_grad = true })
    local loss = (x * w):sum()
    x[1] = 5
    assert.error_matches(function() loss:backward() end, "a tensor that mul needs was changed in place")
    assert.is_nil(w:grad())
    loss = (x:reshape(2, 1) * w):sum()
    x:narrow(1, 2, 1):fill(3)
    assert.error_matches(function() loss:backward() end, "a tensor that mul needs was changed in place")
    loss = (x + w):sum()
    x[1] = 6
    loss:backward() -- a sum does not look at its operands
    assert.same({ 1.0, 1.0 }, w:grad():totable())
  end)

  it("says what is wrong with where it starts", function()
    local x = mt.ones(2, { requires_grad = true })
    local function fails(f, message) assert.error_matches(f, message) end
    fails(function() mt.ones(1):backward() end, "the tensor does not require gradients")
    fails(function() (x * 2):backward() end, "a tensor of shape {2} is not a scalar")
    fails(function() (x * 2):backward(mt.ones(3)) end, "gradient has shape {3}, expected {2}")
    fails(function() (x * 2):backward(mt.ones(2):to "uint8") end, "gradient is uint8, expected float32")
    fails(function() (x * 2):backward(3) end, "masktune.Tensor expected, got number")
  end)
end)

describe("requires_grad", function()
  it("is set on float32 leaves and read anywhere", function()
    local x = mt.ones(2)
    assert.is_false(x:requires_grad())
    assert.is_true(x:requires_grad(true) == x)
    assert.is_true(x:requires_grad())
    assert.is_false(x:requires_grad(false):requires_grad())
  end)

  it("is refused for integers and results", function()
    assert.error_matches(function() mt.ones(2):to("int32"):requires_grad(true) end, "int32, expected float32")
    assert.error_matches(function() mt.zeros(2, { dtype = "uint8", requires_grad = true }) end, "gradients need dtype")
    local x = mt.ones(2, { requires_grad = true })
    assert.error_matches(function() (x * 2):requires_grad(false) end, "the result of mul; use detach")
    assert.error_matches(function() x:requires_grad(1) end, "boolean expected, got 1")
  end)

  it("does not survive detach, which shares the values", function()
    local x = mt.ones(2, { requires_grad = true })
    local y = (x * 2):detach()
    assert.is_false(y:requires_grad())
    x:detach()[1] = 9
    assert.equal(9.0, x[1]:item())
  end)
end)

describe("no_grad", function()
  local x = mt.ones(2, { requires_grad = true })

  it("records nothing and passes arguments, results and errors on", function()
    local y, n = mt.no_grad(function(t, m) return t * 2, m end, x, 5)
    assert.is_false(y:requires_grad())
    assert.equal(5, n)
    local problem = {}
    local ok, caught = pcall(mt.no_grad, function() error(problem) end)
    assert.is_false(ok)
    assert.is_true(caught == problem)
    assert.is_true(mt.is_grad_enabled())
    assert.is_true((x * 2):requires_grad())
  end)

  it("nests", function()
    mt.no_grad(function()
      mt.no_grad(function() end)
      assert.is_false(mt.is_grad_enabled())
    end)
    assert.is_true(mt.is_grad_enabled())
  end)

  it("allows writing into leaves", function()
    local w = mt.ones(2, { requires_grad = true })
    assert.error_matches(function() w:fill(0) end, "the tensor requires gradients; write inside no_grad")
    mt.no_grad(function() w[1] = 4 end)
    assert.same({ 4.0, 1.0 }, w:totable())
    assert.is_true(w:requires_grad())
  end)

  it("refuses what cannot be called", function()
    assert.error_matches(function() mt.no_grad() end, "value expected")
    assert.is_false((pcall(mt.no_grad, 3)))
    assert.is_true(mt.is_grad_enabled())
  end)
end)

describe("the gradient check itself", function()
  it("notices wrong values, wrong gradients and wrong shapes", function()
    local function square(x) return reference.map(x, function(v) return v * v end) end
    local inputs = { { shape = { 3 }, low = 1, high = 2 } }
    local function fails(ours, message)
      assert.error_matches(function() gradcheck.check{ ours = ours, reference = square, inputs = inputs } end, message)
    end
    fails(function(x) return x * x * 1.001 end, "output: relative error")
    fails(function(x) return x * x:detach() end, "gradient of input 1: relative error")
    fails(function(x) return (x * x):unsqueeze(1) end, "output has shape {1,3}, the reference {3}")
  end)
end)
