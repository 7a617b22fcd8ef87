local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

--- The losses of each row, in doubles.
local function losses(logits, labels)
  local n, k = logits.shape[1], logits.shape[2]
  return reference.new({ n }, function(row)
    local largest, sum = -math.huge, 0.0
    for j = 1, k do
      largest = math.max(largest, logits[(row - 1) * k + j])
    end
    for j = 1, k do
      sum = sum + math.exp(logits[(row - 1) * k + j] - largest)
    end
    return largest + math.log(sum) - logits[(row - 1) * k + labels[row]]
  end)
end

local function total(array)
  local sum = 0.0
  for i = 1, #array do
    sum = sum + array[i]
  end
  return sum
end

local reductions = {
  none = function(array) return array end,
  sum = total,
  mean = function(array) return total(array) / #array end,
}

local function int32(list) return mt.tensor(list):to("int32") end

describe("cross_entropy", function()
  for name, reduce in pairs(reductions) do
    for _, shape in ipairs{ { 6, 3 }, { 1, 2 }, { 40, 10 }, { 3, 1 } } do
      it(("and its gradient agree with doubles: %s over {%d,%d}"):format(name, shape[1], shape[2]), function()
        gradcheck.check{
          ours = function(logits, labels) return mt.cross_entropy(logits, labels, { reduction = name }) end,
          reference = function(logits, labels) return reduce(losses(logits, labels)) end,
          inputs = {
            { shape = shape, low = -3, high = 3 },
            { shape = { shape[1] }, dtype = "int32", low = 1, high = shape[2] },
          },
        }
      end)
    end
  end

  it("averages when nothing else is asked for", function()
    local loss = mt.cross_entropy(mt.zeros(5, 4), int32{ 1, 2, 3, 4, 1 })
    assert.same({}, loss:shape())
    assert.is_true(math.abs(loss:item() - math.log(4)) < 1e-6)
  end)

  it("neither overflows nor loses digits on large logits", function()
    local x = mt.tensor{ { 10000, 9999 }, { -10000, -10001 }, { 3e38, -3e38 } }:requires_grad(true)
    local y = mt.cross_entropy(x, int32{ 1, 2, 1 }, { reduction = "none" })
    local small = math.log(1 + math.exp(-1))
    local got = y:totable()
    assert.is_true(math.abs(got[1] - small) < 1e-6)
    assert.is_true(math.abs(got[2] - (1 + small)) < 1e-6)
    assert.equal(0.0, got[3])
    y:backward(mt.ones(3))
    local q = 1 / (1 + math.exp(1))
    local gradient = x:grad():totable()
    assert.is_true(math.abs(gradient[1][1] + q) < 1e-6 and math.abs(gradient[1][2] - q) < 1e-6)
    assert.same({ 0, 0 }, gradient[3])
  end)

  it("shows NaN and infinite logits as NaN, as PyTorch does", function()
    local logits = mt.tensor{ { 0 / 0, 1 }, { math.huge, 1 }, { 1, 2 } }
    local got = mt.cross_entropy(logits, int32{ 1, 1, 1 }, { reduction = "none" }):totable()
    assert.is_true(got[1] ~= got[1] and got[2] ~= got[2])
    assert.is_true(got[3] == got[3])
  end)

  it("is NaN as the mean over no samples, 0 as their sum", function()
    local mean = mt.cross_entropy(mt.zeros(0, 3), int32{}):item()
    assert.is_true(mean ~= mean)
    assert.equal(0.0, mt.cross_entropy(mt.zeros(0, 3), int32{}, { reduction = "sum" }):item())
  end)

  it("names position, value and range of a label that is no class", function()
    local logits = mt.zeros(3, 4)
    for _, label in ipairs{ 0, 5, -1, 2147483647 } do
      assert.has_error(function() mt.cross_entropy(logits, int32{ 1, label, 2 }) end,
        ("cross_entropy: labels[2] is %d, expected 1 to 4"):format(label))
    end
  end)

  it("refuses wrong types and shapes", function()
    local function fails(text, ...)
      local ok, message = pcall(mt.cross_entropy, ...)
      assert.is_false(ok)
      assert.matches(text, message, 1, true)
    end
    fails("cross_entropy: labels is float32, expected int32", mt.zeros(2, 3), mt.ones(2))
    fails("cross_entropy: labels has shape {3}, expected {2}", mt.zeros(2, 3), int32{ 1, 1, 1 })
    fails("cross_entropy: logits has shape {2}, expected {N,k}", mt.zeros(2), int32{ 1, 1 })
    fails("expected at least one class", mt.zeros(2, 0), int32{ 1, 1 })
    fails("option 'reduction': 'mean' or 'sum' or 'none' expected, got 'avg'", mt.zeros(1, 2), int32{ 1 },
      { reduction = "avg" })
  end)
end)
