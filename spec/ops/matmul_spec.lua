--- Matrix products, single and batched.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

--- By definition, with batches that broadcast; a vector is a row on the left and a column on the right.
local function product(a, b)
  local left = #a.shape == 1 and { 1, a.shape[1] } or a.shape
  local right = #b.shape == 1 and { b.shape[1], 1 } or b.shape
  local m, k, n = left[#left - 1], left[#left], right[#right]
  local batch = reference.broadcast_shape({ table.unpack(left, 1, #left - 2) }, { table.unpack(right, 1, #right - 2) })
  local shape = { table.unpack(batch) }
  if #a.shape > 1 then shape[#shape + 1] = m end
  if #b.shape > 1 then shape[#shape + 1] = n end

  --- The element (i, j) of the matrix that belongs to a place in the batch.
  local function element(values, own, place, i, j)
    local position = { i, j }
    for axis = 1, #own - 2 do
      table.insert(position, axis, own[axis] == 1 and 1 or place[#batch - (#own - 2) + axis])
    end
    return values[reference.flat(own, position)]
  end

  return reference.build(shape, function(p)
    local sum = 0.0
    local i = #a.shape > 1 and p[#batch + 1] or 1
    local j = #b.shape > 1 and p[#shape] or 1
    for l = 1, k do
      sum = sum + element(a, left, p, i, l) * element(b, right, p, l, j)
    end
    return sum
  end)
end

describe("matmul", function()
  for _, pair in ipairs{
    { { 1, 1 }, { 1, 1 } }, { { 3, 4 }, { 4, 2 } }, { { 1, 7 }, { 7, 5 } }, { { 17, 3 }, { 3, 1 } },
    { { 2, 3, 4 }, { 2, 4, 5 } }, { { 2, 3, 4 }, { 4, 5 } }, { { 3, 4 }, { 2, 4, 5 } }, { { 1, 3, 4 }, { 1, 4, 1 } },
    { { 4 }, { 4 } }, { { 3, 4 }, { 4 } }, { { 4 }, { 4, 3 } }, { { 2, 3, 4 }, { 4 } }, { { 4 }, { 2, 4, 3 } },
    { { 1, 3, 4 }, { 2, 4, 5 } }, { { 2, 3, 4 }, { 1, 4, 5 } }, { { 2, 1, 3, 4 }, { 5, 4, 2 } },
    { { 2, 3, 2, 2 }, { 2, 3, 2, 4 } }, { { 3, 1, 2, 2 }, { 1, 4, 2, 3 } },
    { { 2, 1, 2, 1, 2, 3 }, { 1, 2, 1, 2, 3, 2 } },
    { { 2, 2, 3, 4 }, { 1, 1, 4, 2 } }, { { 5, 4 }, { 2, 3, 4, 1 } },
    { { 9, 83 }, { 83 } }, { { 83 }, { 83, 9 } }, { { 7 }, { 7, 21 } }, { { 5, 1 }, { 1, 37 } }, { { 67 }, { 67 } },
    { { 2, 3, 1 }, { 1, 1, 1, 18 } },
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

  it("with a vector has the same bits at every number of threads", function()
    local threads, a = mt.get_num_threads(), mt.randn(601, 1403)
    local x, y, results = mt.randn(1403), mt.randn(601), {}
    for n = 1, 4 do
      mt.set_num_threads(n)
      local left, right = a:clone():requires_grad(true), x:clone():requires_grad(true)
      local result = left:matmul(right)
      result:backward(y)
      results[n] = { result:detach(), y:matmul(a), left:grad(), right:grad() }
    end
    mt.set_num_threads(threads)
    for n = 2, 4 do
      for i, other in ipairs(results[n]) do assert.equal(0.0, (other - results[1][i]):abs():max():item()) end
    end
    local as_matrix = a:matmul(mt.stack({ x, -x }, 2))
    assert.is_true((results[1][1] - as_matrix:sum(2) - as_matrix:slice(2, 1, 1):squeeze()):abs():max():item() < 1e-3)
  end)

  it("of empty matrices is empty or zero", function()
    assert.same({ 0, 3 }, mt.zeros(0, 2):matmul(mt.zeros(2, 3)):shape())
    assert.same({ { 0.0, 0.0 } }, mt.zeros(1, 0):matmul(mt.zeros(0, 2)):totable())
    local a = mt.zeros(1, 0, { requires_grad = true })
    a:matmul(mt.zeros(0, 2)):sum():backward()
    assert.same({ 1, 0 }, a:grad():shape())
    assert.equal(0.0, mt.zeros(0):matmul(mt.zeros(0)):item())
    assert.same({ 0, 2, 2 }, mt.zeros(0, 2, 3):matmul(mt.zeros(1, 3, 2)):shape())
    local b = mt.ones(1, 3, 2, { requires_grad = true })
    mt.zeros(0, 2, 3):matmul(b):sum():backward()
    assert.equal(0.0, b:grad():abs():sum():item())
  end)

  it("is a function, too", function()
    assert.same({ { 11.0 } }, mt.matmul(mt.tensor{ { 1, 2 } }, mt.tensor{ { 3 }, { 4 } }):totable())
  end)

  it("spreads NaN to the elements it is in, and no others", function()
    local values = mt.tensor{ { 1, 0 / 0 }, { 1, 1 } }:matmul(mt.ones(2, 1)):totable()
    assert.is_true(values[1][1] ~= values[1][1])
    assert.equal(2.0, values[2][1])
  end)

  it("names the shapes and types it cannot use", function()
    local function fails(a, b, message) assert.error_matches(function() a:matmul(b) end, message) end
    fails(mt.zeros(2, 3), mt.zeros(2, 3), "matmul: shapes {2,3} and {2,3}, expected {...,M,K} and {...,K,N}")
    fails(mt.zeros(3), mt.zeros(2, 3), "matmul: shapes {3} and {2,3}")
    fails(mt.zeros(3), mt.zeros{}, "matmul: shapes {3} and {}")
    fails(mt.zeros(2, 3, 4), mt.zeros(3, 4, 5), "matmul: shapes {2,3,4} and {3,4,5}")
    fails(mt.zeros(2, 3), mt.zeros(3, 2):to "int32", "matmul: right side is int32, expected float32")
    fails(mt.zeros(2, 3), 3, "masktune.Tensor expected, got number")
  end)
end)
