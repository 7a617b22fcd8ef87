local mt = require "masktune"

local function values(t) return t:reshape(t:numel()):totable() end

describe("dropout", function()
  before_each(function() mt.manual_seed(11) end)

  it("zeroes a share p of the elements and scales the rest by 1 / (1 - p)", function()
    for _, p in ipairs{ 0.1, 0.5, 0.75 } do
      local n, zeros = 40000, 0
      local scale = string.unpack("<f", string.pack("<f", 1 / (1 - p)))
      for _, y in ipairs(values(mt.dropout(mt.ones(n), p))) do
        assert.is_true(y == 0.0 or y == scale)
        if y == 0.0 then zeros = zeros + 1 end
      end
      local deviation = math.sqrt(n * p * (1 - p))
      assert.is_true(math.abs(zeros - n * p) < 4 * deviation, ("%d zeros at p = %g"):format(zeros, p))
    end
  end)

  it("draws the same mask for the same seed, another one for the next call, at every thread count", function()
    local x, threads = mt.ones(30001), mt.get_num_threads()
    local function draw(seed)
      mt.manual_seed(seed)
      return mt.dropout(x, 0.5):bytes(), mt.dropout(x, 0.5):bytes()
    end
    mt.set_num_threads(1)
    local first, second = draw(5)
    mt.set_num_threads(3)
    local again, again_second = draw(5)
    mt.set_num_threads(threads)
    assert.equal(first, again)
    assert.equal(second, again_second)
    assert.are_not.equal(first, second)
    assert.are_not.equal(first, (draw(6)))
  end)

  it("sends gradients through the same mask", function()
    local x = mt.ones(1003):requires_grad(true)
    local y = mt.dropout(x, 0.3)
    y:backward(mt.ones(1003))
    assert.equal(y:bytes(), x:grad():bytes())
  end)

  it("keeps everything at p = 0, nothing at p = 1, and NaN in both", function()
    assert.same({ 1, 2, 3 }, mt.dropout(mt.tensor{ 1, 2, 3 }, 0):totable())
    assert.same({ 0, 0, 0 }, mt.dropout(mt.tensor{ 1, 2, 3 }, 1):totable())
    local nan = mt.dropout(mt.tensor{ 0 / 0 }, 1):totable()[1]
    assert.is_true(nan ~= nan)
  end)

  it("does nothing when it is told that this is no training", function()
    assert.same({ 1, 2, 3 }, mt.dropout(mt.tensor{ 1, 2, 3 }, 0.9, { training = false }):totable())
  end)

  it("draws from the generator it is given, leaving the default one alone", function()
    local x = mt.ones(100)
    mt.manual_seed(1)
    local expected = mt.dropout(x, 0.5):bytes()
    mt.manual_seed(1)
    local own = mt.dropout(x, 0.5, { generator = mt.generator(99) }):bytes()
    assert.are_not.equal(expected, own)
    assert.equal(expected, mt.dropout(x, 0.5):bytes())
    assert.equal(own, mt.dropout(x, 0.5, { generator = mt.generator(99) }):bytes())
  end)

  it("takes empty tensors and refuses a p that is no probability", function()
    assert.same({ 0 }, mt.dropout(mt.zeros(0), 0.5):shape())
    for _, p in ipairs{ -0.1, 1.5, 0 / 0 } do
      local ok, message = pcall(mt.dropout, mt.ones(2), p)
      assert.is_false(ok)
      assert.matches("dropout: p is .*, expected a number in %[0, 1%]", message)
    end
  end)
end)
