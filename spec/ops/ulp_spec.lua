--- How exact the functions are: errors in units in the last place against double precision, over the whole range of
-- floats, denormals included; NaN, infinities and signed zeros; the same result wherever a value stands.
local mt = require "masktune"
local reference = require "support.reference"

local inf = math.huge

--- Floats by their bits: every `stride`-th of them from 0 to infinity, of either sign.
local function floats(stride)
  local bits = {}
  for magnitude = 0, 0x7f800000, stride do
    bits[#bits + 1] = string.pack("<I4I4", magnitude, magnitude | 0x80000000)
  end
  return mt.from_bytes(table.concat(bits), "float32", { 2 * #bits })
end

--- The distance between neighbouring floats at x.
local function unit(x)
  local magnitude = math.abs(x)
  if magnitude < 2.0 ^ -126 then return 2.0 ^ -149 end
  local exponent = math.floor(math.log(magnitude, 2))
  if 2.0 ^ exponent > magnitude then exponent = exponent - 1 end
  return 2.0 ^ (exponent - 23)
end

local largest = (2 - 2.0 ^ -23) * 2.0 ^ 127

--- The largest error among finite results; fails where an end is missed.
local function worst_error(name, exact, x, f)
  local worst = 0
  local y = (f or x[name])(x):totable()
  for i, value in ipairs(x:totable()) do
    local wanted, got = exact(value), y[i]
    if wanted ~= wanted then
      assert(got ~= got, ("%s(%g) is %g, expected NaN"):format(name, value, got))
    elseif math.abs(wanted) > largest * (1 + 2.0 ^ -25) then
      assert(got == (wanted > 0 and inf or -inf), ("%s(%g) is %g, expected infinity"):format(name, value, got))
    elseif math.abs(got) ~= inf then
      local error_here = math.abs(got - wanted) / unit(wanted)
      assert(error_here == error_here, ("%s(%g) is %g, expected %g"):format(name, value, got, wanted))
      worst = math.max(worst, error_here)
    end
  end
  return worst
end

local function sigmoid(x)
  if x < 0 then return math.exp(x) / (1 + math.exp(x)) end
  return 1 / (1 + math.exp(-x))
end

--- tanh, expm1 and log1p of doubles, to more digits than a float has.
local function expm1(x)
  if math.abs(x) < 1e-3 then return x + x ^ 2 / 2 + x ^ 3 / 6 + x ^ 4 / 24 end
  return math.exp(x) - 1
end

local function log1p(x)
  if math.abs(x) < 1e-3 then return x - x ^ 2 / 2 + x ^ 3 / 3 - x ^ 4 / 4 + x ^ 5 / 5 end
  return math.log(1 + x)
end

local function tanh(x)
  if math.abs(x) > 20 then return x > 0 and 1 or -1 end
  if x ~= x then return x end
  local e = expm1(2 * x)
  return e / (e + 2)
end

local function log(x)
  if x == 0 then return -inf end
  return x < 0 and 0 / 0 or math.log(x)
end

local cases = {
  { name = "exp", exact = math.exp, bound = 1 },
  { name = "expm1", exact = expm1, bound = 1.5 },
  { name = "log", exact = log, bound = 0.8 },
  { name = "log1p", exact = function(x) return x == -1 and -inf or x < -1 and 0 / 0 or log1p(x) end, bound = 1.5 },
  { name = "tanh", exact = tanh, bound = 1.3 },
  { name = "sigmoid", exact = sigmoid, bound = 2.3 },
  { name = "sqrt", exact = function(x) return x < 0 and 0 / 0 or math.sqrt(x) end, bound = 0.5 },
}

describe("functions of one tensor", function()
  local x = floats(50021)

  for _, case in ipairs(cases) do
    it(("%s is within %g units in the last place"):format(case.name, case.bound), function()
      local worst = worst_error(case.name, case.exact, x)
      assert(worst <= case.bound, ("the largest error is %.3f"):format(worst))
    end)
  end

  it("erf is within 1.1 units in the last place", function()
    local near = mt.arange(-4, 4, 1 / 256)
    assert(worst_error("erf", reference.erf, near) <= 1.1)
  end)

  it("gelu is within 5.5 units in the last place until less than a normal number is left", function()
    --- The normal distribution's share below x, far out by the continued fraction of its tail.
    local function below(value)
      if value > -2 then return 0.5 * (1 + reference.erf(value / math.sqrt(2))) end
      local t, tail = -value, 0
      for n = 300, 1, -1 do
        tail = n / (t + tail)
      end
      return math.exp(-t * t / 2) / math.sqrt(2 * math.pi) / (t + tail)
    end
    local function exact(value) return value * below(value) end
    for _, range in ipairs{ { -12.8, -4, 1 / 1999 }, { -4, 4, 1 / 1999 }, { -1e-3, 1e-3, 1e-6 } } do
      local worst = worst_error("gelu", exact, mt.arange(table.unpack(range)))
      assert(worst <= 5.5, ("the largest error from %g to %g is %.3f"):format(range[1], range[2], worst))
    end
    local ends = mt.tensor{ inf, 100, -100, -0.0 }:gelu():totable()
    assert.same({ inf, 100, 0, 0 }, ends)
    assert.equal("-0.0", ("%.1f"):format(ends[4]))
  end)

  it("sin and cos are within 1.5 units in the last place, also of large angles", function()
    for _, name in ipairs{ "sin", "cos" } do
      for _, scale in ipairs{ 1, 1e3, 9.9e5, 3e7 } do
        local angles = mt.arange(-1, 1, 1 / 1024) * scale
        assert(worst_error(name, math[name], angles) <= 1.5, name .. " up to " .. scale)
      end
    end
  end)

  it("powers are within 0.6 units in the last place", function()
    local some = floats(1000003)
    for _, exponent in ipairs{ 2.5, 0.5, -1, 3, -3, 1 / 3, 10.25, -0.001, 127, 1e-30 } do
      local rounded = mt.tensor{ exponent }:item()
      local function exact(value)
        if value == 0 and rounded < 0 and rounded % 2 == 1 then return 1 / value end
        if value == -inf and rounded % 1 ~= 0 then return rounded > 0 and inf or 0 end
        return value ^ rounded
      end
      local function power(t)
        return t ^ exponent
      end
      local worst = worst_error("power", exact, some, power)
      assert(worst <= 0.6, ("the largest error of x^%g is %.3f"):format(exponent, worst))
    end
  end)

  it("powers end as C's pow does", function()
    local ends = { 0 / 0, 0.0, -0.0, 1, -1, inf, -inf, 2, -2, 0.5, -0.5, 3, -3, 2.0 ^ -140, 16777216, 16777217 * 2 }
    for _, base in ipairs(ends) do
      local powers = mt.full({ #ends }, base) ^ mt.tensor(ends)
      for i, exponent in ipairs(ends) do
        local got, wanted = powers[i]:item(), base ^ exponent
        if math.abs(wanted) > largest then wanted = wanted > 0 and inf or -inf end
        if math.abs(wanted) < 2.0 ^ -150 then wanted = wanted * 0 end
        local text = ("%g^%g is %g, expected %g"):format(base, exponent, got, wanted)
        assert(got == wanted and 1 / got == 1 / wanted or got ~= got and wanted ~= wanted or
          math.abs(got / wanted - 1) < 1e-6, text)
      end
    end
  end)

  it("keep NaN and signed zeros", function()
    local ends = mt.tensor{ 0 / 0, 0.0, -0.0 }
    for _, name in ipairs{ "expm1", "log1p", "tanh", "erf", "sin", "sqrt" } do
      local y = ends[name](ends):totable()
      assert(y[1] ~= y[1], name)
      assert.equal("0.0 -0.0", ("%.1f %.1f"):format(y[2], y[3]), name)
    end
    for _, name in ipairs{ "exp", "log", "sigmoid", "cos", "gelu", "silu" } do
      local y = ends[name](ends)[1]:item()
      assert(y ~= y, name)
    end
  end)

  it("give a value the same result wherever it stands", function()
    local names = { "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "sin", "cos", "gelu", "silu" }
    local many = mt.randn(1003, { generator = mt.generator(3) }):abs()
    for _, name in ipairs(names) do
      local whole = many[name](many)
      for _, start in ipairs{ 2, 7, 18 } do
        local part = many[{ { start, start + 36 } }]
        assert.same(whole[{ { start, start + 36 } }]:totable(), part[name](part):totable(), name)
      end
    end
  end)
end)
