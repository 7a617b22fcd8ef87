--- The counter-based generator: published values, distributions, state.
local mt = require "masktune"

--- The uniform floats that four 32-bit words of a block become.
local function uniforms(words)
  local values = {}
  for i, word in ipairs(words) do
    values[i] = (word >> 8) * 2.0 ^ -24
  end
  return values
end

describe("Philox4x32-10", function()
  it("gives the published words for counter 0 and key 0", function()
    local generator = mt.generator(0)
    assert.same(uniforms{ 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
      mt.rand(4, { generator = generator }):totable())
  end)

  -- The published vectors with other counters set all 128 bits, of which a stream has 64. The round function is
  -- written down here independently to check those 64, and is itself checked against all three vectors.
  local function philox(counter, key)
    local c, k = { table.unpack(counter) }, { table.unpack(key) }
    for _ = 1, 10 do
      local p0, p1 = 0xD2511F53 * c[1], 0xCD9E8D57 * c[3]
      c = {
        (p1 >> 32) ~ c[2] ~ k[1], p1 & 0xffffffff, (p0 >> 32) ~ c[4] ~ k[2], p0 & 0xffffffff,
      }
      k = { (k[1] + 0x9E3779B9) & 0xffffffff, (k[2] + 0xBB67AE85) & 0xffffffff }
    end
    return c
  end

  it("is written down here as published", function()
    local ones = 0xffffffff
    assert.same({ 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 }, philox({ 0, 0, 0, 0 }, { 0, 0 }))
    assert.same({ 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd }, philox({ ones, ones, ones, ones }, { ones, ones }))
    assert.same({ 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 },
      philox({ 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 }))
  end)

  it("agrees for other seeds and counters, also over the 32-bit border", function()
    for _, case in ipairs{
      { -1, -1 }, { 7, 0 }, { 7, 1 }, { 0x299f31d0a4093822, 0x85a308d3243f6a88 }, { 1 << 32, 0xffffffff },
      { 5, 1 << 32 },
    } do
      local seed, counter = table.unpack(case)
      local generator = mt.generator(0):set_state(seed, counter)
      local words = philox({ counter & 0xffffffff, counter >> 32, 0, 0 }, { seed & 0xffffffff, seed >> 32 })
      assert.same(uniforms(words), mt.rand(4, { generator = generator }):totable())
    end
  end)
end)

describe("uniform and normal numbers", function()
  it("have the moments they should", function()
    local generator, n = mt.generator(11), 400000
    local u, z = mt.rand(n, { generator = generator }), mt.randn(n, { generator = generator })
    assert.near(0.5, u:mean():item(), 5 * math.sqrt(1 / 12 / n))
    assert.near(math.sqrt(1 / 12), u:std():item(), 0.001)
    assert.is_true(u:min():item() >= 0 and u:max():item() < 1)
    assert.near(0, z:mean():item(), 5 / math.sqrt(n))
    assert.near(1, z:std():item(), 0.01)
    assert.near(0, (z ^ 3):mean():item(), 0.05)
    assert.near(3, (z ^ 4):mean():item(), 0.15)
    assert.near(0.6827, z:abs():lt(1):mean():item(), 0.005)
    local neighbours = z:slice(1, 1, n - 1) * z:slice(1, 2, n)
    assert.near(0, neighbours:mean():item(), 5 / math.sqrt(n))
  end)

  it("take ends, mean and standard deviation", function()
    local u = mt.rand(10000, { low = -3, high = -1 })
    assert.is_true(u:min():item() >= -3 and u:max():item() <= -1)
    local z = mt.randn(100000, { mean = 5, std = 0.1 })
    assert.near(5, z:mean():item(), 0.01)
    assert.near(0.1, z:std():item(), 0.01)
  end)

  it("are the same bits for the same seed at every thread count", function()
    local threads = mt.get_num_threads()
    local results = {}
    for n = 1, 4 do
      mt.set_num_threads(n)
      mt.manual_seed(42)
      results[n] = mt.rand(100003):bytes() .. mt.randn(50001):bytes() .. mt.randperm(100):bytes()
    end
    mt.set_num_threads(threads)
    for n = 2, 4 do
      assert.is_true(results[1] == results[n])
    end
    mt.manual_seed(43)
    assert.is_false(mt.rand(100003):bytes() == results[1]:sub(1, 400012))
  end)

  it("refuse wrong options", function()
    assert.error_matches(function() mt.rand(2, { low = "a" }) end, "option 'low': number")
    assert.error_matches(function() mt.rand(2, { seed = 1 }) end, "unknown option 'seed', expected one of: low, high")
    assert.error_matches(function() mt.randn(2, { std = -1 }) end, "option 'std'")
    assert.error_matches(function() mt.randn(2, { generator = 5 }) end,
      "option 'generator': masktune.Generator expected")
  end)
end)

describe("a generator's state", function()
  it("brings back the same numbers", function()
    mt.manual_seed(5)
    mt.rand(7)
    local seed, counter = mt.rng_state()
    local first = mt.randn(9):bytes()
    mt.set_rng_state(seed, counter)
    assert.equal(first, mt.randn(9):bytes())
    assert.equal(5, seed)
    assert.equal(2, counter)
  end)

  it("is of its own in each generator", function()
    mt.manual_seed(1)
    local before = { mt.rng_state() }
    local generator = mt.generator(9)
    local a = { generator:uniform(), generator:normal(), generator:integer(1, 6) }
    local state = { generator:state() }
    local b = generator:permutation(5):totable()
    assert.same(before, { mt.rng_state() })
    assert.same(b, mt.generator(0):set_state(table.unpack(state)):permutation(5):totable())
    local again = mt.generator(9)
    assert.same(a, { again:uniform(), again:normal(), again:integer(1, 6) })
    assert.equal("generator(seed = 9, counter = 0)", tostring(mt.generator(9)))
  end)
end)

describe("integers and permutations", function()
  it("cover their range evenly, ends included", function()
    local generator, counts = mt.generator(3), {}
    for _ = 1, 60000 do
      local k = generator:integer(-2, 3)
      counts[k] = (counts[k] or 0) + 1
    end
    for k = -2, 3 do
      assert.near(10000, counts[k], 500)
    end
    assert.is_nil(counts[-3])
    assert.is_nil(counts[4])
    assert.equal(8, generator:integer(8, 8))
    local low = generator:integer(math.mininteger, -1)
    assert.is_true(low < 0)
  end)

  it("refuse an empty range", function()
    assert.error_matches(function() mt.generator(1):integer(3, 2) end, "integer >= 3 expected, got 2")
    assert.error_matches(function() mt.generator(1):integer(math.mininteger, math.maxinteger) end, "fewer than 2%^64")
    assert.error_matches(function() mt.generator(1.5) end, "integer expected, got 1.5")
  end)

  it("hold every number from 1 once, in an order that depends on the seed", function()
    local order = mt.generator(1):permutation(1000)
    assert.equal("int32", order:dtype())
    local values = order:totable()
    assert.is_false(values[1] == 1 and values[2] == 2 and values[3] == 3)
    table.sort(values)
    for i = 1, 1000 do
      assert.equal(i, values[i])
    end
    assert.is_false(mt.generator(2):permutation(1000):bytes() == order:bytes())
    assert.same({}, mt.randperm(0):totable())
    assert.same({ 1 }, mt.randperm(1):totable())
  end)
end)
