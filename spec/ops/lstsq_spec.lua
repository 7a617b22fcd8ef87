--- Least squares of minimum norm against the normal equations, solved in double precision here.
local mt = require "masktune"

local function transposed(a)
  local t = {}
  for j = 1, #a[1] do
    t[j] = {}
    for i = 1, #a do t[j][i] = a[i][j] end
  end
  return t
end

local function product(a, b)
  local c = {}
  for i = 1, #a do
    c[i] = {}
    for j = 1, #b[1] do
      local sum = 0.0
      for k = 1, #b do sum = sum + a[i][k] * b[k][j] end
      c[i][j] = sum
    end
  end
  return c
end

--- a^-1 b, by elimination with pivots.
local function inverse_times(a, b)
  local n, rows = #a, {}
  for i = 1, n do rows[i] = table.move(b[i], 1, #b[i], n + 1, { table.unpack(a[i]) }) end
  for i = 1, n do
    local pivot = i
    for k = i + 1, n do
      if math.abs(rows[k][i]) > math.abs(rows[pivot][i]) then pivot = k end
    end
    rows[i], rows[pivot] = rows[pivot], rows[i]
    local diagonal = rows[i][i]
    for j = 1, #rows[i] do rows[i][j] = rows[i][j] / diagonal end
    for k = 1, n do
      local factor = k ~= i and rows[k][i] or 0
      for j = 1, #rows[k] do rows[k][j] = rows[k][j] - factor * rows[i][j] end
    end
  end
  for i = 1, n do rows[i] = table.move(rows[i], n + 1, #rows[i], 1, {}) end
  return rows
end

local function assert_close(expected, tensor)
  local size, distance = 0, 0
  for i, row in ipairs(tensor:totable()) do
    for j, value in ipairs(row) do
      size = math.max(size, math.abs(expected[i][j]))
      distance = math.max(distance, math.abs(expected[i][j] - value))
    end
  end
  assert.is_true(distance <= 2e-6 * size, ("%g of %g"):format(distance, size))
end

describe("lstsq", function()
  for number, shape in ipairs{ { 3, 8, 2 }, { 8, 3, 2 }, { 5, 5, 1 }, { 1, 6, 4 }, { 6, 1, 1 }, { 40, 90, 3 } } do
    it(("is the normal equations' solution, %d x %d"):format(shape[1], shape[2]), function()
      local generator = mt.generator(number)
      local a = mt.randn({ shape[1], shape[2] }, { generator = generator })
      local b = mt.randn({ shape[1], shape[3] }, { generator = generator })
      local A, B = a:totable(), b:totable()
      local expected
      if shape[1] < shape[2] then
        expected = product(transposed(A), inverse_times(product(A, transposed(A)), B))
      else
        expected = inverse_times(product(transposed(A), A), product(transposed(A), B))
      end
      local x = mt.lstsq(a, b)
      assert.same({ shape[2], shape[3] }, x:shape())
      assert_close(expected, x)
    end)
  end

  it("is the shortest of all where the rank is not full", function()
    local a = mt.tensor{ { 1, 1, 0 }, { 2, 2, 0 } }
    local x = mt.lstsq(a, mt.tensor{ 3, 6 })
    assert.same({ 3 }, x:shape())
    assert.is_true((x - mt.tensor{ 1.5, 1.5, 0 }):abs():max():item() < 1e-6)
    assert.same({ 0.0, 0.0 }, mt.lstsq(mt.zeros(3, 2), mt.ones(3)):totable())
    assert.same({ 0.0, 0.0 }, mt.lstsq(mt.zeros(0, 2), mt.ones(0)):totable())
    assert.same({ 0 }, mt.lstsq(mt.zeros(3, 0), mt.ones(3)):shape())
    local cut = mt.lstsq(mt.tensor{ { 1, 0 }, { 0, 0.01 } }, mt.tensor{ 1, 1 }, { rcond = 0.1 })
    assert.is_true((cut - mt.tensor{ 1, 0 }):abs():max():item() < 1e-6)
  end)

  it("refuses what does not fit, and what is not finite", function()
    for message, arguments in pairs{
      ["lstsq: shapes {2,3} and {3}, expected"] = { mt.zeros(2, 3), mt.zeros(3) },
      ["lstsq: shapes {2} and {2}, expected"] = { mt.zeros(2), mt.zeros(2) },
      ["lstsq: b is int32, expected float32"] = { mt.zeros(2, 3), mt.zeros({ 2 }, "int32") },
      ["lstsq: a or b holds NaN"] = { mt.full({ 2, 2 }, 0 / 0), mt.zeros(2) },
      ["lstsq: a or b holds NaN or an infinity"] = { mt.zeros(2, 2), mt.full({ 2 }, math.huge) },
      ["lstsq: a requires gradients"] = { mt.zeros({ 2, 2 }, { requires_grad = true }), mt.zeros(2) },
      ["rcond"] = { mt.zeros(2, 2), mt.zeros(2), { rcond = -1 } },
    } do
      local ok, problem = pcall(mt.lstsq, table.unpack(arguments))
      assert.is_false(ok)
      assert.truthy(tostring(problem):find(message, 1, true), problem)
    end
  end)
end)
