-- Values against PyTorch's are in spec/oracle/training.lua.
local mt = require "masktune"

local clip_grad_norm, clip_grad_value = mt.optim.clip_grad_norm, mt.optim.clip_grad_value

local function with_gradient(gradient)
  local p = mt.zeros(#gradient):requires_grad(true)
  local g = mt.tensor(gradient);
  (p * g):sum():backward()
  return p
end

local function near(expected, got) return math.abs(got - expected) <= 1e-6 * math.abs(expected) end

local function fails(pattern, ...)
  local ok, message = pcall(...)
  assert.is_false(ok)
  assert.matches(pattern, message, 1, true)
end

describe("clip_grad_norm", function()
  it("gives the norm of all gradients together and scales them down to the wanted one", function()
    local a, b = with_gradient{ 3 }, with_gradient{ 0, 4 }
    assert.equal(5, clip_grad_norm({ a, b }, 10))
    assert.same({ 3 }, a:grad():totable())
    assert.equal(5, clip_grad_norm({ a, b }, 2.5))
    assert.is_true(near(1.5, a:grad():item()))
    assert.is_true(near(2, b:grad():totable()[2]))
  end)

  it("knows norms of other orders", function()
    local p = with_gradient{ 1, -2, 2 }
    assert.equal(5, clip_grad_norm({ p }, 100, { norm_type = 1 }))
    assert.equal(2, clip_grad_norm({ p }, 100, { norm_type = math.huge }))
    assert.is_true(near(17 ^ (1 / 3), clip_grad_norm({ p }, 100, { norm_type = 3 })))
    local q = with_gradient{ 3e38, 3e38 }
    assert.is_true(near(3e38 * 2 ^ (1 / 20), clip_grad_norm({ q }, math.huge, { norm_type = 20 })))
    assert.equal(0, clip_grad_norm({ with_gradient{ 0, 0 } }, 1, { norm_type = 3 }))
  end)

  it("leaves out what has no gradient or is frozen", function()
    local a, frozen, without = with_gradient{ 3 }, with_gradient{ 100 }, mt.zeros(2):requires_grad(true)
    frozen:requires_grad(false)
    assert.equal(3, clip_grad_norm({ a, frozen, without }, 1))
    assert.same({ 100 }, frozen:grad():totable())
    assert.equal(0, clip_grad_norm({ without }, 1))
    assert.equal(0, clip_grad_norm({}, 1))
  end)

  it("gives the same bits at every thread count", function()
    local threads = mt.get_num_threads()
    local function run(count, norm_type)
      mt.set_num_threads(count)
      mt.manual_seed(2)
      local p = mt.zeros(500003):requires_grad(true)
      p:backward(mt.randn(500003))
      return clip_grad_norm({ p }, 1, { norm_type = norm_type }), p:grad():bytes()
    end
    for _, norm_type in ipairs{ 1, 2, 2.5, math.huge } do
      local norm, bytes = run(1, norm_type)
      local other_norm, other_bytes = run(3, norm_type)
      assert.equal(norm, other_norm)
      assert.is_true(bytes == other_bytes)
    end
    mt.set_num_threads(threads)
  end)

  it("refuses a gradient that is not finite, naming it, and changes none", function()
    local a = with_gradient{ 30 }
    for _, value in ipairs{ 0 / 0, math.huge } do
      local b = with_gradient{ 1, value }
      for _, norm_type in ipairs{ 1, 2, 3, math.huge } do
        fails("the gradient of parameters[2] is not finite (no gradient was changed)", clip_grad_norm, { a, b }, 1,
          { norm_type = norm_type })
      end
      assert.same({ 30 }, a:grad():totable())
    end
    fails("clip_grad_norm: the norm is inf (no gradient was changed)", clip_grad_norm,
      { with_gradient{ 1e38, 1e38 } }, 1, { norm_type = 1e-3 })
  end)

  it("multiplies by such a norm where that is asked for, as PyTorch does", function()
    local a, b = with_gradient{ 30 }, with_gradient{ 0 / 0 }
    local norm = clip_grad_norm({ a, b }, 1, { error_if_nonfinite = false })
    assert.is_true(norm ~= norm)
    assert.is_true(a:grad():item() ~= a:grad():item())
    local c, d = with_gradient{ 30 }, with_gradient{ math.huge }
    assert.equal(math.huge, clip_grad_norm({ c, d }, 1, { error_if_nonfinite = false }))
    assert.equal(0, c:grad():item())
    assert.is_true(d:grad():item() ~= d:grad():item())
  end)

  it("refuses arguments that make no sense", function()
    local p = with_gradient{ 1 }
    fails("max_norm >= 0 expected, got -1.0", clip_grad_norm, { p }, -1)
    fails("max_norm >= 0 expected", clip_grad_norm, { p }, 0 / 0)
    fails("number expected", clip_grad_norm, { p })
    fails("parameters[2]: tensor expected, got number", clip_grad_norm, { p, 3 }, 1)
    fails("clip_grad_norm: parameters[1] and parameters[2] are the same tensor", clip_grad_norm, { p, p }, 1)
    fails("option 'norm_type': number > 0 or math.huge expected, got 0", clip_grad_norm, { p }, 1, { norm_type = 0 })
    fails("table expected", clip_grad_norm, p, 1)
  end)
end)

describe("clip_grad_value", function()
  it("brings every value into the range; NaN stays", function()
    local p = with_gradient{ -3, -0.5, 2, math.huge, 0 / 0 }
    clip_grad_value({ p, mt.zeros(2):requires_grad(true) }, 1.5)
    local got = p:grad():totable()
    assert.same({ -1.5, -0.5, 1.5, 1.5 }, { table.unpack(got, 1, 4) })
    assert.is_true(got[5] ~= got[5])
    fails("limit >= 0 expected, got -1.0", clip_grad_value, { p }, -1)
  end)
end)
