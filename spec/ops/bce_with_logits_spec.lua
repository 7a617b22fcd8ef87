local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local function losses(x, t, weight, pos_weight)
  return reference.build(x.shape, function(position)
    local logit, target = reference.broadcast_at(x, position), reference.broadcast_at(t, position)
    local v = weight and reference.broadcast_at(weight, position) or 1
    local q = pos_weight and reference.broadcast_at(pos_weight, position) or 1
    local sigmoid = 1 / (1 + math.exp(-logit))
    return -v * (q * target * math.log(sigmoid) + (1 - target) * math.log(1 - sigmoid))
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

local weights = {
  { text = "no weights" },
  { text = "weights of samples", weight = { 4, 1 } },
  { text = "weights of classes", pos_weight = { 3 } },
  { text = "all weights", weight = { 4, 3 }, pos_weight = { 1, 3 } },
  { text = "a number as weight", weight = {}, pos_weight = {} },
}

local function positive(shape)
  local random = reference.generator(5)
  return shape and reference.new(shape, function() return reference.to_float32(random(0.2, 3)) end)
end

local function tensor_of(array)
  if not array then return nil end
  return mt.tensor{ table.unpack(array) }:reshape(array.shape)
end

describe("bce_with_logits", function()
  for name, reduce in pairs(reductions) do
    for _, case in ipairs(weights) do
      it(("and both gradients agree with doubles: %s, %s"):format(name, case.text), function()
        local weight, pos_weight = positive(case.weight), positive(case.pos_weight)
        gradcheck.check{
          ours = function(x, t)
            return mt.bce_with_logits(x, t, { reduction = name, weight = tensor_of(weight),
              pos_weight = tensor_of(pos_weight) })
          end,
          reference = function(x, t) return reduce(losses(x, t, weight, pos_weight)) end,
          inputs = { { shape = { 4, 3 }, low = -4, high = 4 }, { shape = { 4, 3 }, low = 0, high = 1 } },
        }
      end)
    end
  end

  it("neither overflows nor loses small losses on large logits", function()
    local x = mt.tensor{ 1000, -1000, 1000, -1000, 50 }:requires_grad(true)
    local y = mt.bce_with_logits(x, mt.tensor{ 1, 0, 0, 1, 1 }, { reduction = "none" })
    local got = y:totable()
    assert.same({ 0, 0, 1000, 1000 }, { table.unpack(got, 1, 4) })
    assert.is_true(math.abs(got[5] / math.exp(-50) - 1) < 1e-6)
    y:backward(mt.ones(5))
    assert.same({ 0, 0, 1, -1 }, { table.unpack(x:grad():totable(), 1, 4) })
  end)

  it("gives the same bits at every thread count", function()
    local threads = mt.get_num_threads()
    mt.manual_seed(4)
    local x, t, weight = mt.randn(400, 301), mt.rand(400, 301), mt.rand(301)
    local function run(count)
      mt.set_num_threads(count)
      local leaf = x:clone():requires_grad(true)
      local loss = mt.bce_with_logits(leaf, t, { weight = weight, pos_weight = weight })
      loss:backward()
      return loss:bytes() .. leaf:grad():bytes()
    end
    local one, three = run(1), run(3)
    mt.set_num_threads(threads)
    assert.is_true(one == three)
  end)

  it("is NaN as the mean over nothing, 0 as its sum", function()
    local mean = mt.bce_with_logits(mt.zeros(0, 2), mt.zeros(0, 2)):item()
    assert.is_true(mean ~= mean)
    assert.equal(0, mt.bce_with_logits(mt.zeros(0, 2), mt.zeros(0, 2), { reduction = "sum" }):item())
  end)

  it("refuses what does not fit, naming it", function()
    local function fails(text, ...)
      local ok, message = pcall(mt.bce_with_logits, ...)
      assert.is_false(ok)
      assert.matches(text, message, 1, true)
    end
    local x = mt.zeros(2, 3)
    fails("bce_with_logits: targets has shape {2}, expected {2,3}", x, mt.zeros(2))
    fails("bce_with_logits: targets is int32, expected float32", x, mt.zeros({ 2, 3 }, "int32"))
    fails("bce_with_logits: weight has shape {2}, expected one that broadcasts to {2,3}", x, x, { weight = mt.ones(2) })
    fails("bce_with_logits: pos_weight has shape {1,1,3}, expected one that broadcasts", x, x,
      { pos_weight = mt.ones(1, 1, 3) })
    fails("bce_with_logits: pos_weight requires gradients, expected a constant", x, x,
      { pos_weight = mt.ones(3):requires_grad(true) })
  end)
end)
