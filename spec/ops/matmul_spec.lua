--- Matrix products, single and batched.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local function product(a, b)
  local m, k, n = a.shape[#a.shape - 1], a.shape[#a.shape], b.shape[#b.shape]
  local batch = #a.shape == 3 and a.shape[1] or #b.shape == 3 and b.shape[1]
  return reference.build(batch and { batch, m, n } or { m, n }, function(p)
    local i, j, sum = p[#p - 1], p[#p], 0.0
    for l = 1, k do
      local left = #a.shape == 3 and { p[1], i, l } or { i, l }
      local right = #b.shape == 3 and { p[1], l, j } or { l, j }
      sum = sum + a[reference.flat(a.shape, left)] * b[reference.flat(b.shape, right)]
    end
    return sum
  end)
end

describe("matmul", function()
  for _, pair in ipairs{
    { { 1, 1 }, { 1, 1 } }, { { 3, 4 }, { 4, 2 } }, { { 1, 7 }, { 7, 5 } }, { { 17, 3 }, { 3, 1 } },
    { { 2, 3, 4 }, { 2, 4, 5 } }, { { 2, 3, 4 }, { 4, 5 } }, { { 3, 4 }, { 2, 4, 5 } }, { { 1, 3, 4 }, { 1, 4, 1 } },
  } do
    it(("of {%s} and {%s} matches the reference, values and gradients"):format(table.concat(pair[1], ","),
      table.concat(pair[2], ",")), function()
      gradcheck.check{
        ours = function(a, b) return a:matmul(b) end,
        reference = product,
        inputs = { { shape = pair[1] }, { shape = pair[2] } },
      }
    end)
  end

  it("of large matrices agrees between thread counts and with single sums", function()
    local threads = mt.get_num_threads()
    local a, b, results = mt.randn(150, 90), mt.randn(90, 131), {}
    for n = 1, 4 do
      mt.set_num_threads(n)
      results[n] = a:matmul(b)
    end
    mt.set_num_threads(threads)
    for n = 2, 4 do
      local distance = ((results[n] - results[1]) ^ 2):sum():sqrt() / (results[1] ^ 2):sum():sqrt()
      assert.is_true(distance:item() < 1e-6)
    end
    local expected = (a[150] * b:transpose()[131]):sum():item()
    assert.near(expected, results[2][150][131]:item(), 1e-4)
  end)

  it("of empty matrices is empty or zero", function()
    assert.same({ 0, 3 }, mt.zeros(0, 2):matmul(mt.zeros(2, 3)):shape())
    assert.same({ { 0.0, 0.0 } }, mt.zeros(1, 0):matmul(mt.zeros(0, 2)):totable())
    local a = mt.zeros(1, 0, { requires_grad = true })
    a:matmul(mt.zeros(0, 2)):sum():backward()
    assert.same({ 1, 0 }, a:grad():shape())
  end)

  it("names the shapes and types it cannot use", function()
    local function fails(a, b, message) assert.error_matches(function() a:matmul(b) end, message) end
    fails(mt.zeros(2, 3), mt.zeros(2, 3), "matmul: shapes {2,3} and {2,3}, expected {M,K} and {K,N}")
    fails(mt.zeros(3), mt.zeros(3, 2), "matmul: shapes {3} and {3,2}")
    fails(mt.zeros(2, 3, 4), mt.zeros(3, 4, 5), "matmul: shapes {2,3,4} and {3,4,5}")
    fails(mt.zeros(2, 3), mt.zeros(3, 2):to "int32", "matmul: right side is int32, expected float32")
    fails(mt.zeros(2, 3), 3, "masktune.Tensor expected, got number")
  end)
end)
