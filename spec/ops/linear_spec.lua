local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

--- x {...,I}, w {O,I}, b {O} in doubles.
local function linear(x, w, b)
  local outputs, inputs = w.shape[1], w.shape[2]
  local shape = { table.unpack(x.shape) }
  shape[#shape] = outputs
  return reference.new(shape, function(i)
    local row, o = (i - 1) // outputs, (i - 1) % outputs
    local sum = b and b[o + 1] or 0.0
    for k = 1, inputs do
      sum = sum + x[row * inputs + k] * w[o * inputs + k]
    end
    return sum
  end)
end

describe("linear", function()
  local cases = {
    { "a batch", { 7, 5 }, { 3, 5 }, true },
    { "one sample", { 1, 5 }, { 4, 5 }, true },
    { "no bias", { 6, 3 }, { 2, 3 }, false },
    { "a vector", { 5 }, { 3, 5 }, true },
    { "more leading axes", { 2, 3, 4 }, { 5, 4 }, true },
    { "one input and one output", { 9, 1 }, { 1, 1 }, true },
  }
  for _, case in ipairs(cases) do
    local name, x, w, bias = table.unpack(case)
    it("and its gradients agree with doubles: " .. name, function()
      local inputs = { { shape = x }, { shape = w } }
      if bias then inputs[3] = { shape = { w[1] } } end
      gradcheck.check{ ours = mt.linear, reference = linear, inputs = inputs }
    end)
  end

  it("is large enough for several threads to share and still agrees with one thread", function()
    local x, w, b = mt.randn(130, 70), mt.randn(90, 70):requires_grad(true), mt.randn(90):requires_grad(true)
    local threads = mt.get_num_threads()
    local function run(count)
      mt.set_num_threads(count)
      w:zero_grad()
      b:zero_grad()
      local y = mt.linear(x, w, b)
      y:backward(y:detach())
      return { reference.from_tensor(y), reference.from_tensor(w:grad()), reference.from_tensor(b:grad()) }
    end
    local one, three = run(1), run(3)
    mt.set_num_threads(threads)
    for i = 1, 3 do
      assert.is_true(reference.relative_error(three[i], one[i]) < 1e-6)
    end
  end)

  it("gives an empty batch its shape, and a zero gradient to the weight", function()
    local w = mt.ones(3, 4):requires_grad(true)
    local y = mt.linear(mt.zeros(0, 4), w)
    assert.same({ 0, 3 }, y:shape())
    y:backward(mt.zeros(0, 3))
    assert.same({ { 0, 0, 0, 0 }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 } }, w:grad():totable())
  end)

  it("lets NaN through to the outputs of its row only", function()
    local y = mt.linear(mt.tensor{ { 0 / 0, 1 }, { 2, 3 } }, mt.ones(1, 2)):totable()
    assert.is_true(y[1][1] ~= y[1][1])
    assert.equal(5.0, y[2][1])
  end)

  it("refuses shapes and types that do not fit, naming them", function()
    local function fails(pattern, ...)
      local ok, message = pcall(mt.linear, ...)
      assert.is_false(ok)
      assert.matches(pattern, message, 1, true)
    end
    fails("linear: input has shape {2,3}, expected its last axis to be 4", mt.ones(2, 3), mt.ones(5, 4))
    fails("linear: weight has shape {4}, expected {outputs,inputs}", mt.ones(2, 4), mt.ones(4))
    fails("linear: bias has shape {4}, expected {5}", mt.ones(2, 4), mt.ones(5, 4), mt.ones(4))
    fails("linear: input is uint8, expected float32", mt.ones(2, 4):to("uint8"), mt.ones(5, 4))
    fails("bad argument #2", mt.ones(2, 4), 3)
  end)
end)
