local mt = require "masktune"

describe("mt.data.synthetic_digits", function()
  it("looks like MNIST to a program, and says that it is not", function()
    local set = mt.data.synthetic_digits { count = 50, seed = 1 }
    assert.same({ 50, 28, 28, 1 }, set.images:shape())
    assert.equal("uint8", set.images:dtype())
    assert.equal(10, set.classes)
    assert.equal("synthetic digits (not MNIST)", set.name)
    local digits = set.digits:totable()
    for i, label in ipairs(set.labels:totable()) do
      assert.equal(digits[i] + 1, label)
    end
    assert.matches("synthetic digits %(not MNIST%)", mt.data.biased_mnist({ source = set }).name)
  end)

  it("draws all ten digits about equally often", function()
    local counts = {}
    for _, digit in ipairs(mt.data.synthetic_digits({ count = 2000, seed = 2 }).digits:totable()) do
      counts[digit] = (counts[digit] or 0) + 1
    end
    for digit = 0, 9 do
      assert.is_true(math.abs(counts[digit] - 200) < 70)
    end
  end)

  it("puts ink in the middle and leaves the border to the background", function()
    local bytes = mt.data.synthetic_digits({ count = 300, seed = 3 }).images:bytes()
    local ink, on_border = 0, 0
    for i = 1, #bytes do
      local pixel = (i - 1) % 784
      local y, x = pixel // 28, pixel % 28
      if bytes:byte(i) > 127 then
        ink = ink + 1
        if y == 0 or x == 0 or y == 27 or x == 27 then on_border = on_border + 1 end
      end
    end
    local share = ink / #bytes -- 13% of MNIST's pixels are brighter than half
    assert.is_true(share > 0.06 and share < 0.25)
    assert.is_true(on_border / ink < 0.005)
  end)

  it("draws digits about as hard to tell apart as MNIST's", function()
    local count, most = 1000, 2000
    local set = mt.data.synthetic_digits { count = count + most, seed = 4 }
    local pixels = set.images:to("float32"):reshape(count + most, 784) / 255
    local digits = set.digits:totable()
    local asked = pixels:narrow(1, most + 1, count)

    --- The share of the last `count` images whose nearest reference is of their digit.
    local function nearest(references, answers)
      local products = asked:matmul(references:permute(2, 1))
      local lengths = (references * references):sum(2):reshape(1, #references)
      local right = 0
      for i, at in ipairs((products * 2 - lengths):argmax(2):totable()) do
        if answers[at] == digits[most + i] then right = right + 1 end
      end
      return right / count
    end

    local means, answers = {}, {}
    for digit = 0, 9 do
      local own = {}
      for i = 1, most do
        if digits[i] == digit then own[#own + 1] = i end
      end
      means[digit + 1], answers[digit + 1] = pixels:index(own):mean(1), digit
    end
    -- MNIST's first 2,000 training images tell the next 10,000 apart so well
    local function about(expected, share) assert.is_true(math.abs(share - expected) < 0.06, share) end
    about(0.79, nearest(mt.stack(means, 1), answers))
    about(0.76, nearest(pixels:narrow(1, 1, 200), digits))
    about(0.90, nearest(pixels:narrow(1, 1, most), digits))
  end)

  it("depends on the seed alone; a longer set begins like a shorter one", function()
    local function bytes(count, seed) return mt.data.synthetic_digits({ count = count, seed = seed }).images:bytes() end
    assert.equal(bytes(20, 4), bytes(40, 4):sub(1, 20 * 784))
    assert.not_equal(bytes(20, 4), bytes(20, 5))
  end)

  it("draws none when none are wanted", function()
    assert.same({ 0, 28, 28, 1 }, mt.data.synthetic_digits({ count = 0 }).images:shape())
    assert.error_matches(function() mt.data.synthetic_digits {} end, "option 'count': integer >= 0 expected, got nil")
  end)
end)

describe("mt.image.draw_strokes", function()
  local function draw(segments, starts, height, width)
    return mt.image.draw_strokes(mt.tensor(segments), mt.tensor(starts, { dtype = "int32" }), height, width)
  end

  it("covers a pixel by its distance to the nearest segment", function()
    -- a horizontal line at y = 2 from x = 1 to 3 with radius 1: full within 0.5, half at 1, none from 1.5
    local image = draw({ { 1, 2, 3, 2, 1 } }, { 0, 1 }, 5, 6):totable()[1]
    for y = 0, 4 do
      for x = 0, 5 do
        local dx = math.max(1 - x, 0, x - 3)
        local distance = math.sqrt(dx * dx + (y - 2) ^ 2)
        local coverage = math.max(0, math.min(1, 1.5 - distance))
        assert.is_true(math.abs(image[y + 1][x + 1][1] - 255 * coverage) <= 0.51)
      end
    end
  end)

  it("draws every image from its own segments", function()
    local images = draw({ { 0, 0, 0, 0, 0.5 }, { 1, 0, 1, 0, 0.5 } }, { 0, 1, 1, 2 }, 1, 2):totable()
    assert.same({ { { { 255 }, { 0 } } }, { { { 0 }, { 0 } } }, { { { 0 }, { 255 } } } }, images)
  end)

  it("leaves no ink for a segment that is not a number", function()
    local nan = 0 / 0
    assert.same({ { { { 0 } } } }, draw({ { nan, 0, 1, 1, 1 } }, { 0, 1 }, 1, 1):totable())
  end)

  it("refuses starts that do not fit the segments", function()
    local segment = { { 0, 0, 1, 1, 1 } }
    assert.error_matches(function() draw(segment, { 0, 2 }, 2, 2) end, "starts goes from 0 to 2, expected 0 to 1")
    assert.error_matches(function() draw(segment, { 0, 5, -3, 1 }, 2, 2) end, "starts falls from 5 to %-3")
    assert.error_matches(function() draw({ { 1, 2 } }, { 0, 1 }, 2, 2) end, "segments")
    assert.error_matches(function() draw(segment, { 0, 1 }, 0, 2) end, "integer in %[1, %d+%] expected, got 0")
  end)
end)

describe("mt.image.paint", function()
  local gray = mt.from_bytes(("\0"):rep(16), "uint8", 1, 4, 4, 1)
  local marked = mt.from_bytes("\1", "uint8", 1)

  it("refuses wrong arguments by name", function()
    local function refuses(message, ...)
      local arguments = table.pack(...)
      assert.error_matches(function() mt.image.paint(table.unpack(arguments, 1, arguments.n)) end, message)
    end
    local color = { 1, 2, 3 }
    refuses("option 'color': table of three integers in %[0, 255%] expected, got nil", gray, marked, {})
    refuses("option 'color'", gray, marked, { color = { 1, 2, 3.5 } })
    refuses("unknown option 'colour'", gray, marked, { colour = color })
    refuses("size is 5, expected 1 to 4", gray, marked, { color = color, size = 5 })
    refuses("paint: images", mt.zeros(1, 4, 4, 1), marked, { color = color })
    refuses("paint: images", mt.from_bytes("ab", "uint8", 1, 1, 1, 2), marked, { color = color })
    refuses("paint: marked", gray, mt.from_bytes("ab", "uint8", 2), { color = color })
    refuses("Tensor expected", gray, nil, { color = color })
  end)
end)
