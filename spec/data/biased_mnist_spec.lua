local mt = require "masktune"

--- A grey source: image n is filled with n (from 256 on with 1), apart from one black pixel in the middle row's
-- second column.
local function source(digits, height, width)
  local pixels = {}
  for n = 1, #digits do
    for p = 1, height * width do
      pixels[#pixels + 1] = string.char(p == (height // 2) * width + 2 and 0 or n < 256 and n or 1)
    end
  end
  return {
    images = mt.from_bytes(table.concat(pixels), "uint8", #digits, height, width, 1),
    digits = mt.tensor(digits, { dtype = "int32" }),
    labels = mt.tensor(digits, { dtype = "int32" }),
    classes = 10,
    name = "test digits",
  }
end

local function many_digits(count)
  local digits = {}
  for n = 1, count do
    digits[n] = n * n % 10
  end
  return digits
end

--- How many images of each class carry the bias.
local function biased_per_class(set)
  local counts = { 0, 0 }
  local labels = set.labels:totable()
  for n, mark in ipairs(set.biased:totable()) do
    counts[labels[n]] = counts[labels[n]] + mark
  end
  return counts
end

local function class_sizes(set)
  local sizes = { 0, 0 }
  for _, label in ipairs(set.labels:totable()) do
    sizes[label] = sizes[label] + 1
  end
  return sizes
end

describe("mt.data.biased_mnist", function()
  it("makes 0-4 class 1 and 5-9 class 2", function()
    local set = mt.data.biased_mnist { source = source({ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 }, 5, 5) }
    assert.same({ 1, 1, 1, 1, 1, 2, 2, 2, 2, 2 }, set.labels:totable())
    assert.equal("int32", set.labels:dtype())
    assert.equal(2, set.classes)
    assert.same({ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 }, set.digits:totable())
  end)

  it("paints the square's pixels and no other", function()
    local set = mt.data.biased_mnist {
      source = source({ 7, 2 }, 5, 6), split = "biased", size = 2, color = { 10, 20, 30 },
    }
    assert.same({ 2, 5, 6, 3 }, set.images:shape())
    local painted, plain = set.images:totable()[1], set.images:totable()[2]
    for y = 1, 5 do
      for x = 1, 6 do
        local hole = y == 3 and x == 2
        local inside = y <= 2 and x <= 2
        local gray = hole and 0 or 1
        assert.same(inside and { 10, 20, 30 } or { gray, gray, gray }, painted[y][x])
        assert.same(hole and { 0, 0, 0 } or { 2, 2, 2 }, plain[y][x])
      end
    end
  end)

  it("paints a blue 4x4 square unless told otherwise", function()
    local set = mt.data.biased_mnist { source = source({ 9 }, 6, 6), split = "biased" }
    local image, count = set.images:totable()[1], 0
    for y = 1, 6 do
      for x = 1, 6 do
        if image[y][x][3] == 255 then
          count = count + 1
          assert.same({ 0, 0, 255 }, image[y][x])
          assert.is_true(x <= 4 and y <= 4)
        end
      end
    end
    assert.equal(16, count)
  end)

  it("paints a second square in the top-right corner", function()
    local set = mt.data.biased_mnist { source = source({ 9 }, 5, 7), split = "biased", squares = 2, size = 2 }
    local image = set.images:totable()[1]
    for y = 1, 5 do
      for x = 1, 7 do
        assert.equal(y <= 2 and (x <= 2 or x >= 6), image[y][x][3] == 255)
      end
    end
  end)

  it("colours the background or the foreground", function()
    for bias, at_hole in pairs { background = true, foreground = false } do
      local image = mt.data.biased_mnist({
        source = source({ 9 }, 5, 5), split = "biased", bias = bias, color = { 1, 2, 3 },
      }).images:totable()[1]
      for y = 1, 5 do
        for x = 1, 5 do
          local hole = y == 3 and x == 2
          local gray = hole and 0 or 1
          assert.same(hole == at_hole and { 1, 2, 3 } or { gray, gray, gray }, image[y][x])
        end
      end
    end
  end)

  it("marks exactly the rounded share of each class for training", function()
    for _, ratio in ipairs { 0.99, 0.9, 0.5, 1, 0 } do
      local set = mt.data.biased_mnist { source = source(many_digits(777), 4, 4), ratio = ratio }
      local sizes = class_sizes(set)
      local expected = { math.floor(ratio * sizes[1] + 0.5), math.floor((1 - ratio) * sizes[2] + 0.5) }
      assert.same(expected, biased_per_class(set))
    end
  end)

  it("paints exactly the images it marks", function()
    local set = mt.data.biased_mnist { source = source(many_digits(200), 4, 4), ratio = 0.7, size = 1 }
    local images = set.images:totable()
    for n, mark in ipairs(set.biased:totable()) do
      assert.same(mark == 1 and { 0, 0, 255 } or { n, n, n }, images[n][1][1])
    end
  end)

  it("marks every image of class 2 in the biased test and none in the original one", function()
    local from = source(many_digits(100), 4, 4)
    local biased, original = mt.data.biased_mnist { source = from, split = "biased" },
      mt.data.biased_mnist { source = from, split = "original" }
    assert.same({ 0, class_sizes(biased)[2] }, biased_per_class(biased))
    assert.same({ 0, 0 }, biased_per_class(original))
  end)

  it("marks the first images of each class", function()
    local from = mt.data.synthetic_digits{ count = 50, seed = 2 }
    local set = mt.data.biased_mnist{ source = from, ratio = 0.8 }
    local digits, marks = set.digits:totable(), set.biased:totable()
    local members = { 0, 0 }
    for _, digit in ipairs(digits) do
      members[digit < 5 and 1 or 2] = members[digit < 5 and 1 or 2] + 1
    end
    local left = { math.floor(0.8 * members[1] + 0.5), math.floor(0.2 * members[2] + 0.5) }
    for i, digit in ipairs(digits) do
      local class = digit < 5 and 1 or 2
      assert.equal(left[class] > 0 and 1 or 0, marks[i])
      left[class] = left[class] - 1
    end
  end)

  it("chooses at random by the seed", function()
    local from = source(many_digits(500), 4, 4)
    local function marks(seed)
      return mt.data.biased_mnist({ source = from, ratio = 0.6, mark = "random", seed = seed }).biased:bytes()
    end
    assert.equal(marks(1), marks(1))
    assert.not_equal(marks(1), marks(2))
  end)

  it("handles a set without images", function()
    local empty = { images = mt.from_bytes("", "uint8", 0, 28, 28, 1), digits = mt.from_bytes("", "int32", 0),
      labels = mt.from_bytes("", "int32", 0) }
    assert.same({ 0, 28, 28, 3 }, mt.data.biased_mnist({ source = empty }).images:shape())
  end)

  it("refuses wrong options", function()
    local from = source({ 1, 9 }, 5, 6)
    local function refuses(options, message)
      assert.error_matches(function() mt.data.biased_mnist(options) end, message)
    end
    refuses({}, "option 'source': table expected, got nil")
    refuses({ source = { images = 3 } }, "option 'source': data set with a tensor images expected, got 3")
    refuses({ source = from, ratio = 1.5 }, "option 'ratio': number in %[0, 1%] expected, got 1.5")
    refuses({ source = from, squares = 3 }, "option 'squares': integer in %[1, 2%] expected, got 3")
    refuses({ source = from, size = 6 }, "size is 6, expected 1 to 5")
    refuses({ source = from, color = { 1, 2 } }, "option 'color': list of 3 or more, each integer in %[0, 255%]")
    refuses({ source = from, color = { 1, 2, 256 } }, "option 'color'")
    refuses({ source = from, bias = "stripes" }, "option 'bias': 'square' or 'background' or 'foreground' expected")
    refuses({ source = from, noise = 1 }, "unknown option 'noise'")
    from.digits = nil
    refuses({ source = from }, "source.digits': tensor expected, got nil")
  end)
end)

describe("biased MNIST from the published files", function()
  local root = mt.data.find_mnist()

  it("marks 99% of class 1 and 1% of class 2, to the image", function()
    if not root then return pending("MNIST is not on this machine; set MASKTUNE_DATA to its folder") end
    local set = mt.data.biased_mnist { source = mt.data.mnist { root = root }, seed = 1 }
    -- 30,596 training images are 0-4 and 29,404 are 5-9
    assert.same({ 30596, 29404 }, class_sizes(set))
    assert.same({ 30290, 294 }, biased_per_class(set))
    local bytes, marks = set.images:bytes(), set.biased:totable()
    local row = ("\0\0\255"):rep(4)
    for n = 1, 60000 do
      local start = (n - 1) * 28 * 28 * 3 + 1
      local square = true
      for y = 0, 3 do
        square = square and bytes:find(row, start + y * 84, true) == start + y * 84
      end
      assert(square == (marks[n] == 1))
    end
  end)

  it("has a biased test of 4,861 marked images among 10,000", function()
    if not root then return pending("MNIST is not on this machine; set MASKTUNE_DATA to its folder") end
    local set = mt.data.biased_mnist { source = mt.data.mnist { root = root, split = "test" }, split = "biased" }
    assert.same({ 0, 4861 }, biased_per_class(set))
  end)
end)
