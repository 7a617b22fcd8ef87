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

--- Any kind of target, in doubles. targets: labels, or probabilities {N,k}; o: weight (array), label_smoothing,
-- ignore_index, reduction.
local function general(logits, targets, o)
  local n, k = logits.shape[1], logits.shape[2]
  local soft, spread, divisor = #targets.shape == 2, (o.label_smoothing or 0) / k, 0.0
  local rows = reference.new({ n }, function(row)
    local label = not soft and targets[row]
    if label and label == o.ignore_index then return 0.0 end
    divisor = divisor + (soft and 1 or o.weight and o.weight[label] or 1)
    local sum, loss = 0.0, 0.0
    for j = 1, k do
      sum = sum + math.exp(logits[(row - 1) * k + j])
    end
    for j = 1, k do
      local wanted = soft and targets[(row - 1) * k + j] or label == j and 1 or 0
      local target = (o.weight and o.weight[j] or 1) * ((1 - (o.label_smoothing or 0)) * wanted + spread)
      loss = loss + target * (math.log(sum) - logits[(row - 1) * k + j])
    end
    return loss
  end)
  if o.reduction == "none" then return rows end
  return o.reduction == "sum" and total(rows) or total(rows) / divisor
end

local function with_weight(o)
  local options = { weight = o.weight and mt.tensor(o.weight) }
  for _, name in ipairs{ "label_smoothing", "ignore_index", "reduction" } do
    options[name] = o[name]
  end
  return options
end

local variants = {
  { weight = { 0.5, 2, 1.25 } },
  { label_smoothing = 0.1 },
  { label_smoothing = 1 },
  { ignore_index = 2 },
  { weight = { 0.5, 0, 1.25 }, label_smoothing = 0.3, ignore_index = 3 },
}

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

  for name in pairs(reductions) do
    for i, variant in ipairs(variants) do
      local o = { reduction = name, weight = variant.weight, label_smoothing = variant.label_smoothing,
        ignore_index = variant.ignore_index }
      it(("with options %d and its gradient agree with doubles: %s"):format(i, name), function()
        gradcheck.check{
          ours = function(logits, labels) return mt.cross_entropy(logits, labels, with_weight(o)) end,
          reference = function(logits, labels) return general(logits, labels, o) end,
          inputs = {
            { shape = { 9, 3 }, low = -3, high = 3 }, { shape = { 9 }, dtype = "int32", low = 1, high = 3 },
          },
        }
      end)

      it(("of probabilities with options %d and both gradients agree with doubles: %s"):format(i, name), function()
        o.ignore_index = nil
        gradcheck.check{
          ours = function(logits, targets) return mt.cross_entropy(logits, targets, with_weight(o)) end,
          reference = function(logits, targets) return general(logits, targets, o) end,
          inputs = { { shape = { 5, 3 }, low = -3, high = 3 }, { shape = { 5, 3 }, low = 0, high = 1 } },
        }
      end)
    end
  end

  it("gives ignored samples no loss and no gradient, whatever their logits are", function()
    local x = mt.tensor{ { 1, 2 }, { 0 / 0, math.huge }, { 2, 1 } }:requires_grad(true)
    local labels = int32{ 1, -100, 1 }
    local each = mt.cross_entropy(x, labels, { reduction = "none", ignore_index = -100 })
    assert.equal(0, each:totable()[2])
    each:backward(mt.ones(3))
    assert.same({ 0, 0 }, x:grad():totable()[2])
    local mean = mt.cross_entropy(x, labels, { ignore_index = -100 }):item()
    local expected = (math.log(1 + math.exp(1)) + math.log(1 + math.exp(-1))) / 2
    assert.is_true(math.abs(mean - expected) < 1e-6)
  end)

  it("is NaN as the mean where all samples are ignored, 0 as their sum", function()
    local x, labels = mt.rand(2, 3):requires_grad(true), int32{ 7, 7 }
    local mean = mt.cross_entropy(x, labels, { ignore_index = 7 }):item()
    assert.is_true(mean ~= mean)
    local sum = mt.cross_entropy(x, labels, { ignore_index = 7, reduction = "sum" })
    assert.equal(0, sum:item())
    sum:backward()
    assert.same({ { 0, 0, 0 }, { 0, 0, 0 } }, x:grad():totable())
  end)

  it("does not mind other classes whose logits are minus infinity", function()
    local x = mt.tensor{ { 1, -math.huge } }:requires_grad(true)
    local loss = mt.cross_entropy(x, int32{ 1 }, { weight = mt.tensor{ 2, 3 } })
    loss:backward()
    assert.equal(0, loss:item())
    assert.same({ { 0, 0 } }, x:grad():totable())
  end)

  it("gives the same bits at every thread count", function()
    local threads = mt.get_num_threads()
    mt.manual_seed(4)
    local x, targets = mt.randn(3000, 11), mt.rand(3000, 11)
    local function run(count)
      mt.set_num_threads(count)
      local leaf = x:clone():requires_grad(true)
      local loss = mt.cross_entropy(leaf, targets, { label_smoothing = 0.1 })
      loss:backward()
      return loss:bytes() .. leaf:grad():bytes()
    end
    local one, three = run(1), run(3)
    mt.set_num_threads(threads)
    assert.is_true(one == three)
  end)

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
    local hint = '; labels count from 1 here: (labels + 1):to("int32") makes them of 0, 1, ...'
    for _, label in ipairs{ 0, 5, -1, 2147483647 } do
      assert.has_error(function() mt.cross_entropy(logits, int32{ 1, label, 2 }) end,
        ("cross_entropy: labels[2] is %d, expected 1 to 4%s"):format(label, label == 0 and hint or ""))
    end
  end)

  it("names a label that is neither a class nor ignored", function()
    assert.has_error(function() mt.cross_entropy(mt.zeros(3, 4), int32{ -100, 0, 2 }, { ignore_index = -100 }) end,
      "cross_entropy: labels[2] is 0, expected 1 to 4 or ignore_index -100")
  end)

  it("refuses options that do not fit", function()
    local function fails(text, targets, options)
      local ok, message = pcall(mt.cross_entropy, mt.zeros(2, 3), targets, options)
      assert.is_false(ok)
      assert.matches(text, message, 1, true)
    end
    local labels, soft = int32{ 1, 2 }, mt.rand(2, 3)
    fails("cross_entropy: weight has shape {2}, expected {3}", labels, { weight = mt.ones(2) })
    fails("cross_entropy: weight has shape {2}, expected {3}", soft, { weight = mt.ones(2) })
    fails("cross_entropy: weight is int32, expected float32", labels, { weight = int32{ 1, 1, 1 } })
    fails("cross_entropy: weight requires gradients, expected a constant", labels,
      { weight = mt.ones(3):requires_grad(true) })
    fails("option 'label_smoothing': number in [0.0, 1.0] expected, got 1.5", labels, { label_smoothing = 1.5 })
    fails("option 'ignore_index': integer", labels, { ignore_index = "none" })
    fails("cross_entropy: ignore_index is 0, expected none with float32 targets", soft, { ignore_index = 0 })
    fails("cross_entropy: targets has shape {2,4}, expected {2,3}", mt.rand(2, 4))
    fails("cross_entropy: labels is float32, expected int32", mt.rand(2, 3, 1))
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
