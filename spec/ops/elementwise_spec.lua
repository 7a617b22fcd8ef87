--- Arithmetic, comparisons and functions of one tensor, with broadcasting and gradients.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local nan, inf = 0 / 0, math.huge

local function is_nan(x)
  return x ~= x
end

describe("arithmetic of two tensors", function()
  local operations = {
    { name = "+", ours = function(a, b) return a + b end, plain = function(a, b) return a + b end },
    { name = "-", ours = function(a, b) return a - b end, plain = function(a, b) return a - b end },
    { name = "*", ours = function(a, b) return a * b end, plain = function(a, b) return a * b end },
    { name = "/", ours = function(a, b) return a / b end, plain = function(a, b) return a / b end },
    { name = "maximum", ours = mt.maximum, plain = math.max },
    { name = "minimum", ours = mt.minimum, plain = math.min },
  }
  local shapes = {
    { { 3, 4 }, { 3, 4 } },
    { { 3, 4 }, { 4 } },
    { { 4 }, { 3, 4 } },
    { { 3, 1 }, { 1, 4 } },
    { { 2, 3, 4 }, { 3, 1 } },
    { { 2, 1, 3, 1 }, { 5, 1, 4 } },
    { {}, { 2, 3 } },
    { { 2, 3 }, {} },
    { { 1, 2, 1, 2, 1, 2 }, { 2, 1, 2, 1, 2, 1 } },
  }
  for _, operation in ipairs(operations) do
    for _, pair in ipairs(shapes) do
      local a, b = table.concat(pair[1], ","), table.concat(pair[2], ",")
      it(("%s of {%s} and {%s} matches the reference, values and gradients"):format(operation.name, a, b), function()
        gradcheck.check{
          ours = operation.ours,
          reference = function(x, y)
            return reference.zip(x, y, operation.plain)
          end,
          inputs = { { shape = pair[1], low = -2, high = 2 }, { shape = pair[2], low = 0.5, high = 2.5 } },
        }
      end)
    end

    it(operation.name .. " takes numbers on either side", function()
      for _, swapped in ipairs{ false, true } do
        gradcheck.check{
          ours = function(x)
            if swapped then return operation.ours(1.5, x) end
            return operation.ours(x, 1.5)
          end,
          reference = function(x)
            return swapped and reference.zip(1.5, x, operation.plain) or reference.zip(x, 1.5, operation.plain)
          end,
          inputs = { { shape = { 3, 5 }, low = 0.5, high = 3 } },
        }
      end
    end)
  end

  it("adds up the gradient of a tensor used on both sides", function()
    gradcheck.check{
      ours = function(x) return x * x + x end,
      reference = function(x) return reference.map(x, function(v) return v * v + v end) end,
      inputs = { { shape = { 7 } } },
    }
  end)

  it("agrees between large tensors on several threads and single elements", function()
    local threads = mt.get_num_threads()
    mt.set_num_threads(3)
    local a, b = mt.randn(301, 700), mt.randn(700)
    local sum = a + b
    mt.set_num_threads(threads)
    for _, place in ipairs{ { 1, 1 }, { 150, 333 }, { 301, 700 } } do
      local i, j = table.unpack(place)
      assert.near(a[i][j]:item() + b[j]:item(), sum[i][j]:item(), 1e-6)
    end
    assert.near((a:sum():item() + 301 * b:sum():item()), sum:sum():item(), 1.0)
  end)

  it("shares the gradient of maximum evenly where both are equal", function()
    local a = mt.tensor({ 1, 2, 0 }, { requires_grad = true })
    local b = mt.tensor({ 1, 3, -1 }, { requires_grad = true })
    mt.maximum(a, b):sum():backward()
    assert.same({ 0.5, 0.0, 1.0 }, a:grad():totable())
    assert.same({ 0.5, 1.0, 0.0 }, b:grad():totable())
  end)

  it("spreads NaN from either side of maximum and minimum", function()
    for _, f in ipairs{ mt.maximum, mt.minimum } do
      local values = f(mt.tensor{ nan, 1, 2 }, mt.tensor{ 1, nan, 2 }):totable()
      assert.is_true(is_nan(values[1]) and is_nan(values[2]))
      assert.equal(2.0, values[3])
    end
  end)

  it("says which shapes do not fit together", function()
    assert.error_matches(function() return mt.zeros(3, 4) + mt.zeros(5) end, "add: shapes {3,4} and {5} do not fit")
  end)

  it("refuses operands that are neither tensors nor numbers", function()
    assert.error_matches(function() return mt.zeros(2) * "3" end, "tensor or number expected, got string")
    assert.error_matches(function() return {} - mt.zeros(2) end, "tensor or number expected, got table")
  end)

  it("gives an empty tensor for empty operands", function()
    local sum = mt.zeros(0, 3) + mt.ones(3)
    assert.same({ 0, 3 }, sum:shape())
    assert.same({}, sum:totable())
  end)
end)

describe("element types", function()
  local function of(dtype) return mt.tensor({ 1, 2, 3 }, dtype) end

  it("keep integers among themselves as int32 and turn everything beside float32 into float32", function()
    for _, case in ipairs{
      { "uint8", "uint8", "int32" }, { "uint8", "int32", "int32" }, { "int32", "int32", "int32" },
      { "uint8", "float32", "float32" }, { "int32", "float32", "float32" }, { "float32", "float32", "float32" },
    } do
      assert.equal(case[3], (of(case[1]) + of(case[2])):dtype())
      assert.equal(case[3], (of(case[2]) * of(case[1])):dtype())
      assert.equal("float32", (of(case[1]) / of(case[2])):dtype())
    end
  end)

  it("do not wrap around for uint8", function()
    assert.same({ -1, 399 }, (mt.tensor({ 0, 200 }, "uint8") + mt.tensor({ -1, 199 }, "int32")):totable())
    assert.same({ 400 }, (mt.tensor({ 200 }, "uint8") * 2):totable())
  end)

  it("follow the kind of Lua number beside integers", function()
    assert.equal("int32", (of "uint8" + 1):dtype())
    assert.equal("float32", (of "uint8" + 1.0):dtype())
    assert.equal("float32", (of "int32" * 0.5):dtype())
    assert.equal("uint8", mt.maximum(of "uint8", 2):dtype())
    assert.same({ 2, 2, 3 }, mt.maximum(of "uint8", 2):totable())
    assert.error_matches(function() return of "int32" + (1 << 40) end, "int32 expected, got 1099511627776")
  end)

  it("wrap int32 around at its ends", function()
    assert.same({ -2147483648 }, (mt.tensor({ 2147483647 }, "int32") + 1):totable())
    assert.same({ -2147483648 }, (-mt.tensor({ -2147483648 }, "int32")):totable())
  end)

  it("stay integers under neg, abs, relu and clamp", function()
    local t = mt.tensor({ -3, 0, 5 }, "int32")
    assert.same({ 3, 0, -5 }, (-t):totable())
    assert.same({ 3, 0, 5 }, t:abs():totable())
    assert.same({ 0, 0, 5 }, t:relu():totable())
    assert.same({ -1, 0, 2 }, t:clamp(-1.5, 2.7):totable())
    assert.same({ 0, 0, 0 }, t:clamp(1, 0):totable())
    assert.equal("uint8", mt.tensor({ 3, 200 }, "uint8"):clamp(-5, 1000):dtype())
    assert.same({ 3, 200 }, mt.tensor({ 3, 200 }, "uint8"):clamp(-5, 1000):totable())
    assert.same({ -3 }, (-mt.tensor({ 3 }, "uint8")):totable())
  end)
end)

describe("functions of one tensor", function()
  local functions = {
    { name = "neg", plain = function(x) return -x end },
    { name = "exp", plain = math.exp },
    { name = "log", plain = math.log, low = 0.2, high = 3 },
    { name = "sqrt", plain = math.sqrt, low = 0.2, high = 3 },
    { name = "abs", plain = math.abs },
    { name = "relu", plain = function(x) return math.max(x, 0) end },
    { name = "sin", plain = math.sin, low = -7, high = 7 },
    { name = "cos", plain = math.cos, low = -7, high = 7 },
    { name = "erf", plain = reference.erf },
    { name = "expm1", plain = function(x) return math.exp(x) - 1 end },
    { name = "log1p", plain = function(x) return math.log(1 + x) end, low = -0.8, high = 3 },
  }
  for _, case in ipairs(functions) do
    for _, shape in ipairs{ { 5 }, { 2, 3, 1, 2, 1, 3 }, {}, { 4, 67 } } do
      it(("%s over {%s} matches the reference, values and gradients"):format(case.name, table.concat(shape, ",")),
        function()
          gradcheck.check{
            ours = function(x) return x[case.name](x) end,
            reference = function(x) return reference.map(x, case.plain) end,
            inputs = { { shape = shape, low = case.low or -2, high = case.high or 2 } },
          }
        end)
    end
  end

  for _, exponent in ipairs{ 2, 3, -1, 0.5, 1, 1.7 } do
    it(("t ^ %s matches the reference, values and gradients"):format(exponent), function()
      gradcheck.check{
        ours = function(x) return x ^ exponent end,
        reference = function(x) return reference.map(x, function(v) return v ^ exponent end) end,
        inputs = { { shape = { 6 }, low = 0.3, high = 2 } },
      }
    end)
  end

  it("t ^ 0 has gradient 0 even at 0", function()
    local x = mt.tensor({ 0, 2 }, { requires_grad = true })
    local y = x ^ 0
    assert.same({ 1.0, 1.0 }, y:totable())
    y:sum():backward()
    assert.same({ 0.0, 0.0 }, x:grad():totable())
  end)

  for _, pair in ipairs{ { { 3, 4 }, { 3, 4 } }, { { 3, 1 }, { 4 } }, { {}, { 5 } }, { { 2, 3 }, {} } } do
    it(("{%s} ^ {%s} matches the reference, values and gradients"):format(table.concat(pair[1], ","),
      table.concat(pair[2], ",")), function()
      gradcheck.check{
        ours = function(x, y) return x ^ y end,
        reference = function(x, y) return reference.zip(x, y, function(a, b) return a ^ b end) end,
        inputs = { { shape = pair[1], low = 0.3, high = 2 }, { shape = pair[2], low = -2, high = 3 } },
      }
    end)
  end

  it("raises a number to tensors, and integers as float32", function()
    gradcheck.check{
      ours = function(x) return 2 ^ x end,
      reference = function(x) return reference.map(x, function(v) return 2 ^ v end) end,
      inputs = { { shape = { 6 } } },
    }
    local powers = mt.tensor({ 2, 3 }, "int32") ^ mt.tensor({ 3, -1 }, "int32")
    assert.equal("float32", powers:dtype())
    assert.near(1 / 3, powers[2]:item(), 1e-7)
    assert.same({ 4.0, 9.0 }, mt.tensor{ 2, 3 }:pow(2):totable())
    assert.same({ 4.0, 27.0 }, mt.tensor{ 2, 3 }:pow(mt.tensor{ 2, 3 }):totable())
  end)

  it("has PyTorch's gradients where a base or an exponent is 0", function()
    local x = mt.tensor({ 0, -2, 2, 0, 0 }, { requires_grad = true })
    local y = mt.tensor({ 0, 2, -1, -1, 2 }, { requires_grad = true })
    local z = x ^ y
    assert.same({ 1.0, 4.0, 0.5, inf, 0.0 }, z:totable())
    z:sum():backward()
    assert.same({ 0.0, -4.0, -0.25, -inf, 0.0 }, x:grad():totable())
    local slopes = y:grad():totable()
    assert.is_true(is_nan(slopes[2])) -- (-2)^2 log(-2)
    assert.same({ 0.0, -inf, 0.0 }, { slopes[1], slopes[4], slopes[5] })
  end)

  it("refuses an exponent that is neither number nor tensor", function()
    assert.error_matches(function() return mt.ones(2) ^ "2" end, "tensor or number expected, got string")
    assert.error_matches(function() return mt.ones(2):pow() end, "tensor or number expected, got no value")
    assert.error_matches(function() return mt.ones(2) ^ mt.ones(3) end, "pow: shapes {2} and {3} do not fit")
  end)

  it("keeps the digits of log1p and expm1 near 0, and turns integers into float32", function()
    assert.near(1e-10, mt.tensor{ 1e-10 }:log1p():item(), 1e-16)
    assert.near(1e-10, mt.tensor{ 1e-10 }:expm1():item(), 1e-16)
    assert.equal("float32", mt.tensor({ 1 }, "uint8"):sin():dtype())
  end)

  for _, ends in ipairs{ { -0.5, 0.5 }, { nil, 0.3 }, { -0.2, nil } } do
    it(("clamp(%s, %s) matches the reference, values and gradients"):format(ends[1], ends[2]), function()
      gradcheck.check{
        ours = function(x) return x:clamp(ends[1], ends[2]) end,
        reference = function(x)
          return reference.map(x, function(v) return math.min(math.max(v, ends[1] or -inf), ends[2] or inf) end)
        end,
        inputs = { { shape = { 20 } } },
      }
    end)
  end

  it("stops the gradient of clamp on its ends, and keeps NaN", function()
    local x = mt.tensor({ 0, 1, 0.5, -1, 2, nan }, { requires_grad = true })
    local y = x:clamp(0, 1)
    assert.same({ 0.0, 1.0, 0.5, 0.0, 1.0 }, { table.unpack(y:totable(), 1, 5) })
    assert.is_true(is_nan(y[6]:item()))
    y:sum():backward()
    assert.same({ 0.0, 0.0, 1.0, 0.0, 0.0, 0.0 }, x:grad():totable())
    assert.same({ 0.0, 0.0 }, mt.tensor{ 1, 2 }:clamp(3, 0):totable())
    assert.error_matches(function() x:clamp(nan) end, "other than NaN")
  end)

  it("keeps NaN in relu, whose gradient at 0 is 0", function()
    local x = mt.tensor({ 0, 1, -1, nan, -0.0 }, { requires_grad = true })
    local y = x:relu()
    assert.is_true(is_nan(y[4]:item()))
    y:sum():backward()
    assert.same({ 0.0, 1.0, 0.0, 1.0, 0.0 }, x:grad():totable())
  end)

  it("has gradient 0 for abs at 0", function()
    local x = mt.tensor({ 0, -2, 2 }, { requires_grad = true })
    x:abs():sum():backward()
    assert.same({ 0.0, -1.0, 1.0 }, x:grad():totable())
  end)

  it("does not look at values that the gradient does not need", function()
    local x = mt.ones(2)
    local w = mt.ones(2, { requires_grad = true })
    local loss = (-(x + w)):floor():sum()
    x:fill(3)
    loss:backward()
    assert.same({ 0.0, 0.0 }, w:grad():totable())
  end)

  it("goes outside its domain as in C", function()
    assert.equal(-inf, mt.zeros(1):log():item())
    assert.is_true(is_nan(mt.tensor{ -1 }:sqrt():item()))
    assert.equal(inf, mt.tensor{ 1000 }:exp():item())
  end)

  it("gives the same on every instruction set", function()
    local isa = mt.isa()
    local x = mt.randn(1003)
    local results = {}
    for _, name in ipairs{ "plain", "avx2", "avx512" } do
      if pcall(mt.isa, name) then
        results[#results + 1] = (x:relu() * 3 + x / 7 - x):bytes()
      end
    end
    mt.isa(isa)
    for i = 2, #results do
      assert.equal(results[1], results[i])
    end
  end)
end)

describe("comparison and choice", function()
  local a, b = { 1, 2, 3, nan }, { 2, 2, 2, nan }
  local expected = {
    eq = { 0, 1, 0, 0 }, ne = { 1, 0, 1, 1 }, lt = { 1, 0, 0, 0 },
    le = { 1, 1, 0, 0 }, gt = { 0, 0, 1, 0 }, ge = { 0, 1, 1, 0 },
  }
  for name, values in pairs(expected) do
    it(name .. " gives uint8 and treats NaN as C does", function()
      local result = mt.tensor(a)[name](mt.tensor(a), mt.tensor(b))
      assert.equal("uint8", result:dtype())
      assert.same(values, result:totable())
    end)

    it(name .. " compares integers and numbers, with broadcasting", function()
      local column = mt.tensor({ { 1 }, { 2 }, { 3 } }, "int32")
      local result = column[name](column, mt.tensor({ 2, 2 }, "uint8")):totable()
      for i = 1, 3 do
        assert.same({ values[i], values[i] }, result[i])
      end
      assert.same({ values[1], values[2], values[3] }, column:squeeze()[name](column:squeeze(), 2):totable())
    end)
  end

  it("leaves Lua's == as identity", function()
    local t = mt.ones(2)
    assert.is_true(t == t)
    assert.is_false(t == mt.ones(2))
  end)

  it("chooses by a mask of any type, with broadcasting", function()
    local mask = mt.tensor{ 0.5, 0, nan }
    assert.same({ 1.0, 9.0, 3.0 }, mt.where(mask, mt.tensor{ 1, 2, 3 }, 9):totable())
    assert.same({ { 1, 0 }, { 0, 1 } }, mt.where(mt.tensor({ { 1, 0 }, { 0, 1 } }, "uint8"),
      mt.tensor({ 1 }, "uint8"), mt.tensor({ 0 }, "uint8")):totable())
  end)

  it("differentiates the chosen sides only", function()
    gradcheck.check{
      ours = mt.where,
      reference = function(mask, x, y)
        return reference.build({ 2, 3 }, function(p)
          local side = reference.broadcast_at(mask, p) ~= 0 and x or y
          return reference.broadcast_at(side, p)
        end)
      end,
      inputs = {
        { shape = { 3 }, values = { 1, 0, 1 }, dtype = "uint8" }, { shape = { 2, 3 } }, { shape = { 2, 1 } },
      },
    }
  end)
end)
