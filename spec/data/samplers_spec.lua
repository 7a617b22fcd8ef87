local mt = require "masktune"
local samplers = mt.data.samplers

--- 60 images: 40 of class 1, 15 of class 2, 5 of class 3; group 1 or 2; weights.
local function uneven()
  local labels, groups, weights = {}, {}, {}
  for i = 1, 60 do
    labels[i] = i <= 40 and 1 or i <= 55 and 2 or 3
    groups[i] = i % 10 == 0 and 2 or 1
    weights[i] = i <= 30 and 0 or i
  end
  return {
    images = mt.zeros({ 60, 2, 2, 1 }, "uint8"),
    labels = mt.tensor(labels, { dtype = "int32" }),
    group = mt.tensor(groups, { dtype = "int32" }),
    weight = mt.tensor(weights),
    classes = 3,
    name = "uneven",
  }
end

local set = uneven()

local function count(order, values)
  local counts, list = {}, values:totable()
  for _, position in ipairs(order:totable()) do
    counts[list[position]] = (counts[list[position]] or 0) + 1
  end
  return counts
end

local function all()
  return {
    samplers.sequential(), samplers.shuffled(), samplers.weighted { weights = "weight" }, samplers.balanced(),
    samplers.balanced { by = "group", count = 37 }, samplers.subset { indices = { 5, 60, 7 } },
  }
end

describe("mt.data.samplers", function()
  it("are functions of seed and epoch, and nothing else", function()
    for _, sampler in ipairs(all()) do
      local order = sampler:order(set, 3, 2)
      mt.rand(5)
      assert.equal(order:bytes(), sampler:order(set, 3, 2):bytes())
      assert.equal(sampler:size(set), #order)
      assert.equal("int32", order:dtype())
    end
    for _, sampler in ipairs { samplers.shuffled(), samplers.balanced(), samplers.weighted { weights = "weight" } } do
      local order = sampler:order(set, 3, 2):bytes()
      assert.not_equal(order, sampler:order(set, 3, 3):bytes())
      assert.not_equal(order, sampler:order(set, 4, 2):bytes())
    end
  end)

  it("show every image once in order, shuffled, and in a subset", function()
    for _, sampler in ipairs { samplers.sequential(), samplers.shuffled() } do
      local positions = sampler:order(set, 1, 1):totable()
      local sorted = table.move(positions, 1, #positions, 1, {})
      table.sort(sorted)
      for i, position in ipairs(sorted) do
        assert.equal(i, position)
      end
    end
    local some = samplers.subset({ indices = mt.tensor({ 5, 60, 7 }, { dtype = "int32" }) }):order(set, 1, 1):totable()
    table.sort(some)
    assert.same({ 5, 7, 60 }, some)
    assert.same({ 5, 60, 7 }, samplers.subset({ indices = { 5, 60, 7 }, shuffle = false }):order(set, 1, 1):totable())
  end)

  it("draw in proportion to weights, with replacement", function()
    local order = samplers.weighted({ weights = "weight", count = 46500 }):order(set, 1, 1)
    local counts, total = count(order, mt.arange(1, 61, "int32")), (31 + 60) * 30 / 2
    for position = 1, 60 do
      local expected = position <= 30 and 0 or 46500 * position / total
      assert.is_true(math.abs((counts[position] or 0) - expected) <= 5 * math.sqrt(expected), position)
    end
  end)

  it("draw classes and groups alike often, by field, list or tensor", function()
    local classes = count(samplers.balanced({ count = 30000 }):order(set, 1, 1), set.labels)
    for class = 1, 3 do
      assert.is_true(math.abs(classes[class] - 10000) < 500, classes[class])
    end
    for _, by in ipairs { "group", set.group, set.group:totable() } do
      local groups = count(samplers.balanced({ by = by, count = 20000 }):order(set, 1, 1), set.group)
      assert.is_true(math.abs(groups[1] - 10000) < 500)
    end
  end)

  it("are cut into shares that are the whole together, batch by batch", function()
    for _, sampler in ipairs(all()) do
      local whole = sampler:order(set, 5, 1):totable()
      for _, world in ipairs { 1, 2, 3, 7 } do
        local seen = {}
        for rank = 1, world do
          local share = sampler:share(rank, world)
          local places = share:order(set, 5, 1):totable()
          assert.equal(#places, share:size(set))
          for i, position in ipairs(places) do
            seen[(i - 1) * world + rank] = position
          end
        end
        assert.same(whole, seen)
      end
    end
    local loaders = {}
    for rank = 1, 2 do
      local share = samplers.shuffled():share(rank, 2)
      loaders[rank] = mt.data.loader({ dataset = set, batch = 4, seed = 2, sampler = share }):epoch(1)
    end
    for batch in mt.data.loader({ dataset = set, batch = 8, seed = 2 }):epoch(1) do
      local together = {}
      for _, next_batch in ipairs(loaders) do
        for _, position in ipairs(next_batch().indices:totable()) do
          together[#together + 1] = position
        end
      end
      local expected = batch.indices:totable()
      table.sort(together)
      table.sort(expected)
      assert.same(expected, together)
    end
  end)

  it("tell themselves apart as text", function()
    local seen = {}
    for _, sampler in ipairs(all()) do
      local text = tostring(sampler)
      assert.is_nil(seen[text], text)
      seen[text] = true
    end
    assert.equal("balanced{by = group, count = 37}", tostring(samplers.balanced { by = "group", count = 37 }))
    assert.equal("shuffled{}, share 2 of 3", tostring(samplers.shuffled():share(2, 3)))
    assert.not_equal(tostring(samplers.subset { indices = { 1 } }), tostring(samplers.subset { indices = { 2 } }))
  end)

  it("name what they cannot use", function()
    local function message(f)
      local ok, text = pcall(f)
      assert.is_false(ok)
      return text
    end
    local function order(sampler) return function() return sampler:order(set, 1, 1) end end
    assert.truthy(message(function() samplers.weighted {} end):find("option 'weights'", 1, true))
    assert.truthy(message(order(samplers.weighted { weights = "size" })):find("no per-image field 'size'", 1, true))
    assert.truthy(message(order(samplers.weighted { weights = { 1, 2 } })):find("2 values, expected 60", 1, true))
    local weights = {}
    for i = 1, 60 do
      weights[i] = i == 7 and -1 or 0
    end
    assert.truthy(message(order(samplers.weighted { weights = weights })):find("image 7 is -1, expected", 1, true))
    weights[7] = 0
    assert.truthy(message(order(samplers.weighted { weights = weights })):find("all weights are 0", 1, true))
    assert.truthy(message(order(samplers.subset { indices = { 3, 61 } })):find("'indices'[2]: integer in [1, 60]", 1,
      true))
    assert.truthy(message(function() samplers.shuffled():share(3, 2) end):find("argument 'rank'", 1, true))
    assert.truthy(message(function() samplers.shuffled():share(1, 2):share(1, 2) end):find("cannot be shared", 1, true))
    local text = message(function() mt.data.loader { dataset = set, sampler = {} } end)
    assert.truthy(text:find("option 'sampler'", 1, true))
    assert.truthy(message(function()
      mt.data.loader { dataset = set, sampler = samplers.shuffled(), shuffle = true }
    end):find("not together with 'sampler'", 1, true))
  end)
end)

describe("a batch", function()
  it("is a record of all per-image tensors", function()
    for batch in mt.data.loader({ dataset = set, batch = 7, seed = 1 }):epoch(1) do
      assert.same({ "group", "images", "indices", "input", "labels", "weight" }, (function()
        local names = {}
        for name in pairs(batch) do
          names[#names + 1] = name
        end
        table.sort(names)
        return names
      end)())
      for i, position in ipairs(batch.indices:totable()) do
        for _, name in ipairs { "labels", "group", "weight" } do
          assert.equal(set[name][position]:item(), batch[name][i]:item())
        end
      end
    end
  end)

  it("calls a set's inputs by their own name", function()
    local words = { tokens = mt.tensor({ { 1, 2 }, { 3, 4 } }, { dtype = "int32" }), input = "tokens",
      labels = mt.tensor({ 1, 2 }, { dtype = "int32" }), classes = 2 }
    local batch = mt.data.loader({ dataset = words, shuffle = false }):epoch(1)()
    assert.equal("tokens", batch.input)
    assert.same({ { 1, 2 }, { 3, 4 } }, batch.tokens:totable())
    assert.is_nil(batch.images)
    assert.equal(2, mt.data.size(words))
    assert.equal(1, mt.data.size(mt.data.subset(words, { 2 })))
  end)
end)
