local mt = require "masktune"

--- n images {1,2,1} whose pixels are (n, 2n), labels 1..3 in turn, and an extra tensor of a row each.
local function numbered(n)
  local images, labels, groups = {}, {}, {}
  for i = 1, n do
    images[i] = { { { i }, { 2 * i } } }
    labels[i] = (i - 1) % 3 + 1
    groups[i] = -i
  end
  return {
    images = mt.tensor(images, { dtype = "uint8" }),
    labels = mt.tensor(labels, { dtype = "int32" }),
    groups = mt.tensor(groups, { dtype = "int32" }),
    classes = 3,
    name = "numbered",
  }
end

local function first_pixels(set)
  local pixels = {}
  for i, image in ipairs(set.images:totable()) do
    pixels[i] = image[1][1][1]
  end
  return pixels
end

local function sorted(list)
  local copy = table.move(list, 1, #list, 1, {})
  table.sort(copy)
  return copy
end

local function range(n)
  local list = {}
  for i = 1, n do
    list[i] = i
  end
  return list
end

describe("mt.data.subset", function()
  it("takes the first images", function()
    local set = mt.data.subset(numbered(5), 3)
    assert.same({ 1, 2, 3 }, first_pixels(set))
    assert.same({ 1, 2, 3 }, set.labels:totable())
    assert.same({ -1, -2, -3 }, set.groups:totable())
    assert.equal(3, set.classes)
    assert.equal("numbered", set.name)
  end)

  it("takes listed images in their order, from a table or a tensor", function()
    for _, which in ipairs { { 5, 1, 5 }, mt.tensor({ 5, 1, 5 }, { dtype = "int32" }) } do
      local set = mt.data.subset(numbered(5), which)
      assert.same({ 5, 1, 5 }, first_pixels(set))
      assert.same({ -5, -1, -5 }, set.groups:totable())
    end
  end)

  it("may be empty", function()
    assert.equal(0, mt.data.size(mt.data.subset(numbered(5), 0)))
  end)

  it("refuses positions that are not there, and what is no data set", function()
    local set = numbered(5)
    assert.error_matches(function() mt.data.subset(set, 6) end, "argument 'which': integer in %[0, 5%] expected, got 6")
    assert.error_matches(function() mt.data.subset(set, { 1, 6 }) end,
      "argument 'which'%[2%]: integer in %[1, 5%] expected, got 6")
    assert.error_matches(function() mt.data.subset(set, { 0 }) end, "'which'%[1%]: integer in %[1, 5%] expected, got 0")
    assert.error_matches(function() mt.data.subset(set, "all") end, "argument 'which': table expected, got 'all'")
    assert.error_matches(function() mt.data.subset(3, 1) end, "argument 'dataset': data set expected, got 3")
    assert.error_matches(function() mt.data.subset({}, 1) end, "data set with a tensor images expected, got nil")
    set.labels = mt.tensor({ 1, 2 }, { dtype = "int32" })
    assert.error_matches(function() mt.data.subset(set, 1) end, "5 rows in labels %(one per image%) expected, got 2")
  end)
end)

describe("mt.data.concat", function()
  it("puts data sets one after the other", function()
    local set = mt.data.concat { numbered(2), numbered(3) }
    assert.same({ 1, 2, 1, 2, 3 }, first_pixels(set))
    assert.same({ 1, 2, 1, 2, 3 }, set.labels:totable())
  end)

  it("drops tensors that only some have", function()
    local without = numbered(1)
    without.groups = nil
    assert.is_nil(mt.data.concat({ numbered(2), without }).groups)
    assert.is_nil(mt.data.concat({ without, numbered(2) }).groups)
  end)

  it("refuses differing classes", function()
    local other = numbered(1)
    other.classes = 4
    assert.error_matches(function() mt.data.concat { numbered(1), other } end,
      "argument 'datasets'%[2%] has 4 classes, expected 3")
  end)
end)

describe("mt.data.split", function()
  it("splits off a random part, each image on one side", function()
    local train, val = mt.data.split(numbered(100), { count = 20, seed = 3 })
    assert.equal(80, mt.data.size(train))
    assert.equal(20, mt.data.size(val))
    local all = table.move(first_pixels(val), 1, 20, 81, first_pixels(train))
    assert.same(range(100), sorted(all))
    assert.not_same(range(20), sorted(first_pixels(val)))
    for i, pixel in ipairs(first_pixels(train)) do
      assert.equal(-pixel, train.groups:totable()[i])
    end
  end)

  it("depends on the seed only", function()
    local function drawn(seed)
      local _, val = mt.data.split(numbered(50), { count = 10, seed = seed })
      return first_pixels(val)
    end
    assert.same(drawn(1), drawn(1))
    assert.not_same(drawn(1), drawn(2))
  end)

  it("refuses more images than there are", function()
    assert.error_matches(function() mt.data.split(numbered(5), { count = 6 }) end,
      "mt.data.split: option 'count': integer in %[0, 5%] expected, got 6")
    assert.error_matches(function() mt.data.split(numbered(5)) end,
      "options 'count' and 'share': one of them expected, got none")
  end)
end)

describe("mt.data.loader", function()
  local function positions(loader, epoch)
    local list, sizes = {}, {}
    for batch in loader:epoch(epoch) do
      local images, labels, indices = batch.images, batch.labels, batch.indices
      assert.equal("float32", images:dtype())
      assert.equal("int32", labels:dtype())
      sizes[#sizes + 1] = images:size(1)
      local pixels, label_list = images:totable(), labels:totable()
      for i, position in ipairs(indices:totable()) do
        assert.is_true(math.abs(pixels[i][1][1][1] - position / 255) < 1e-7)
        assert.is_true(math.abs(pixels[i][1][2][1] - 2 * position / 255) < 1e-7)
        assert.equal((position - 1) % 3 + 1, label_list[i])
        list[#list + 1] = position
      end
    end
    return list, sizes
  end

  it("gives every image once per epoch, as floats in [0,1], with its label and position", function()
    local loader = mt.data.loader { dataset = numbered(10), batch = 4, seed = 1 }
    local list, sizes = positions(loader, 1)
    assert.same(range(10), sorted(list))
    assert.same({ 4, 4, 2 }, sizes)
    assert.equal(3, loader:batches())
    assert.equal(10, loader:images())
  end)

  it("drops the last short batch on request", function()
    local loader = mt.data.loader { dataset = numbered(10), batch = 4, drop_last = true }
    local list, sizes = positions(loader, 1)
    assert.equal(8, #list)
    assert.same({ 4, 4 }, sizes)
    assert.equal(2, loader:batches())
    assert.equal(8, loader:images())
  end)

  it("keeps the order without shuffling", function()
    local loader = mt.data.loader { dataset = numbered(7), batch = 3, shuffle = false }
    assert.same(range(7), (positions(loader, 5)))
  end)

  it("orders by seed and epoch alone, whatever happened before", function()
    local set = numbered(60)
    local loader = mt.data.loader { dataset = set, batch = 7, seed = 5 }
    local first, second = positions(loader, 1), positions(loader, 2)
    mt.manual_seed(99)
    local again = mt.data.loader { dataset = set, batch = 7, seed = 5 }
    assert.same(second, (positions(again, 2)))
    assert.same(first, (positions(again, 1)))
    assert.not_same(first, second)
    local other = mt.data.loader { dataset = set, batch = 7, seed = 6 }
    assert.not_same(first, (positions(other, 1)))
    assert.not_same(second, (positions(other, 1)))
  end)

  it("applies a transform to every batch", function()
    local loader = mt.data.loader {
      dataset = numbered(4), batch = 2, shuffle = false,
      transform = function(batch)
        assert.equal(2, #batch.labels)
        assert.equal(2, #batch.indices)
        batch.images = batch.images * 2
        return batch
      end,
    }
    for batch in loader:epoch(1) do
      local images = batch.images
      assert.is_true(math.abs(images:totable()[1][1][2][1] / images:totable()[1][1][1][1] - 2) < 1e-6)
    end
    local images = loader:epoch(1)().images
    assert.is_true(math.abs(images:totable()[1][1][1][1] - 2 / 255) < 1e-7)
  end)

  it("passes float images on as they are", function()
    local set = numbered(4)
    set.images = set.images:to("float32") / 255
    assert.same(range(4), sorted((positions(mt.data.loader { dataset = set, batch = 3 }, 1))))
  end)

  it("gives no batch of an empty set", function()
    local loader = mt.data.loader { dataset = mt.data.subset(numbered(3), 0) }
    assert.equal(0, loader:batches())
    assert.is_nil(loader:epoch(1)())
  end)

  it("refuses wrong options", function()
    assert.error_matches(function() mt.data.loader {} end, "option 'dataset': table expected, got nil")
    assert.error_matches(function() mt.data.loader { dataset = {} } end,
      "option 'dataset': data set with a tensor images")
    assert.error_matches(function() mt.data.loader { dataset = numbered(1), batch = 0 } end,
      "option 'batch': integer >= 1 expected, got 0")
    assert.error_matches(function() mt.data.loader { dataset = numbered(1), size = 0 } end, "unknown option 'size'")
    assert.error_matches(function() mt.data.loader({ dataset = numbered(1) }):epoch("x") end,
      "argument 'epoch': integer >= 0 expected, got 'x'")
  end)
end)
