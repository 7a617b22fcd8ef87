local mt = require "masktune"

local function positions(list) return mt.tensor(list, { dtype = "int32" }) end

--- Images of which every pixel tells where it was: channel 1 the row, 2 the column, 3 one.
local function coordinates(count, height, width)
  local rows = {}
  for y = 1, height do
    rows[y] = {}
    for x = 1, width do
      rows[y][x] = { y / 100, x / 100, 1 }
    end
  end
  local image = mt.tensor(rows):reshape(1, height, width, 3)
  return image:expand(count, height, width, 3)
end

local function range(first, last)
  local list = {}
  for i = first, last do
    list[#list + 1] = i
  end
  return list
end

local all_kinds = {
  { "horizontal_flip" },
  { "affine", degrees = 15, shift = 0.1, interpolation = "bilinear" },
  { "crop", padding = 2 },
  { "resized_crop", size = { 9, 8 }, scale = { 0.3, 1 } },
  { "color_jitter", brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1 },
}

describe("mt.data.augment", function()
  it("does the same to an image in every batch, order and number of threads", function()
    local images, augment = mt.rand(30, 12, 10, 3), mt.data.augment(all_kinds)
    local whole = augment(images, { indices = positions(range(1, 30)) }, 4, 7)
    assert.same({ 30, 9, 8, 3 }, whole:shape())
    local threads = mt.get_num_threads()
    mt.set_num_threads(threads == 1 and 3 or 1)
    local again = augment(images, { indices = positions(range(1, 30)) }, 4, 7)
    mt.set_num_threads(threads)
    assert.equal(whole:bytes(), again:bytes())
    local mixed = { 17, 3, 30, 3 }
    local some = augment(images:index(mixed), { indices = positions(mixed) }, 4, 7)
    assert.equal(whole:index(mixed):bytes(), some:bytes())
  end)

  it("does something else in another epoch, with another seed and to another image", function()
    local image, augment = mt.rand(1, 12, 10, 3), mt.data.augment(all_kinds)
    local seen = {}
    for _, key in ipairs { { 1, 1, 1 }, { 2, 1, 1 }, { 1, 2, 1 }, { 1, 1, 2 }, { 2, 2, 1 } } do
      local bytes = augment(image, { indices = positions { key[1] } }, key[2], key[3]):bytes()
      assert.is_nil(seen[bytes])
      seen[bytes] = true
    end
  end)

  it("takes its own seed before the loader's", function()
    local image = mt.rand(3, 8, 8, 3)
    local own = mt.data.augment { { "affine", degrees = 40 }, seed = 5 }
    local none = mt.data.augment { { "affine", degrees = 40 } }
    local indices = positions { 1, 2, 3 }
    assert.equal(own(image, { indices = indices }, 1, 9):bytes(), none(image, { indices = indices }, 1, 5):bytes())
    assert.not_equal(own(image, { indices = indices }, 1, 9):bytes(), none(image, { indices = indices }, 1, 9):bytes())
  end)

  it("makes the steps in the order given", function()
    local images, batch = mt.rand(4, 6, 6, 3), { indices = positions(range(1, 4)) }
    local small, large = { "crop", size = 2 }, { "resized_crop", size = 5 }
    assert.same({ 4, 5, 5, 3 }, mt.data.augment { small, large }(images, batch, 1):shape())
    assert.same({ 4, 2, 2, 3 }, mt.data.augment { large, small }(images, batch, 1):shape())
  end)

  it("leaves images alone without steps", function()
    local images = mt.rand(3, 5, 4, 2)
    assert.equal(images:bytes(), mt.data.augment {}(images, { indices = positions { 1, 2, 3 } }, 1):bytes())
  end)

  it("flips half of the images, or as many as asked for", function()
    local images = coordinates(2000, 1, 2)
    for _, probability in ipairs { 0, 0.25, 0.5, 1 } do
      local flipped = mt.data.augment { { "horizontal_flip", probability = probability } }(images,
        { indices = positions(range(1, 2000)) }, 1)
      local share = (flipped:narrow(3, 1, 1):narrow(4, 2, 1) - 0.01):gt(0.005):to("float32"):mean():item()
      assert.is_true(math.abs(share - probability) < 0.05)
      if probability == 0 or probability == 1 then assert.equal(probability, share) end
    end
  end)

  it("shifts by whole pixels up to the share asked for, all amounts alike, and fills with zeros", function()
    local images = coordinates(3000, 21, 11)
    local batch = { indices = positions(range(1, 3000)) }
    local shifted = mt.data.augment { { "affine", shift = { 0.1, 0.2 } } }(images, batch, 1)
    local counts = { [1] = {}, [2] = {} }
    for _, image in ipairs(shifted:narrow(2, 11, 1):narrow(3, 6, 1):reshape(3000, 3):totable()) do
      assert.equal(1, image[3])
      for axis, centre in ipairs { 11, 6 } do
        local moved = centre - math.floor(image[axis] * 100 + 0.5)
        counts[axis][moved] = (counts[axis][moved] or 0) + 1
      end
    end
    for axis, most in ipairs { 2, 2 } do -- 0.1 * 21 = 2.1, 0.2 * 11 = 2.2
      for moved = -most, most do
        assert.is_true((counts[axis][moved] or 0) > 150)
        counts[axis][moved] = nil
      end
      assert.is_nil(next(counts[axis]))
    end
    assert.is_true(shifted:narrow(4, 3, 1):min():item() == 0)
  end)

  it("turns by angles over the whole range", function()
    local images = coordinates(600, 31, 31)
    local turned = mt.data.augment { { "affine", degrees = { 10, 40 }, interpolation = "bilinear" } }(images,
        { indices = positions(range(1, 600)) }, 1)
    local low, high = math.huge, -math.huge
    -- 10 pixels to the right of the centre shows what was there, turned back by the angle
    for _, pixel in ipairs(turned:narrow(2, 16, 1):narrow(3, 26, 1):reshape(600, 3):totable()) do
      local angle = math.deg(math.atan(-(pixel[1] * 100 - 16), pixel[2] * 100 - 16))
      low, high = math.min(low, angle), math.max(high, angle)
    end
    assert.is_true(low > 9.9 and low < 11.5 and high < 40.1 and high > 38.5, low .. " " .. high)
  end)

  it("crops every place of the padded image alike", function()
    local images = coordinates(2000, 6, 5)
    local batch = { indices = positions(range(1, 2000)) }
    local cropped = mt.data.augment { { "crop", padding = { 1, 2 } } }(images, batch, 1)
    assert.same({ 2000, 6, 5, 3 }, cropped:shape())
    local counts = {}
    for _, pixel in ipairs(cropped:narrow(2, 3, 1):narrow(3, 3, 1):reshape(2000, 3):totable()) do
      local key = ("%d %d"):format(math.floor(pixel[1] * 100 + 0.5) - 3, math.floor(pixel[2] * 100 + 0.5) - 3)
      counts[key] = (counts[key] or 0) + 1
    end
    for down = -1, 1 do
      for right = -2, 2 do
        assert.is_true(counts[down .. " " .. right] > 80)
        counts[down .. " " .. right] = nil
      end
    end
    assert.is_nil(next(counts))
    local smaller = mt.data.augment { { "crop", size = { 2, 4 } } }(images, { indices = positions(range(1, 2000)) }, 1)
    assert.same({ 2000, 2, 4, 3 }, smaller:shape())
    assert.equal(1, smaller:narrow(4, 3, 1):min():item())
  end)

  it("keeps the shares and proportions of resized crops in their ranges", function()
    local images = coordinates(500, 60, 80)
    local augment = mt.data.augment { { "resized_crop", size = 40, scale = { 0.2, 0.5 }, ratio = { 0.5, 2 } } }
    local cropped = augment(images, { indices = positions(range(1, 500)) }, 1)
    assert.same({ 500, 40, 40, 3 }, cropped:shape())
    local smallest, largest = 1, 0
    local first, last = cropped:narrow(2, 11, 1):narrow(3, 11, 1), cropped:narrow(2, 30, 1):narrow(3, 30, 1)
    for _, span in ipairs((last - first):reshape(500, 3):totable()) do -- 19 of 40 pixels, far from the edges
      local height, width = span[1] * 100 * 40 / 19, span[2] * 100 * 40 / 19
      local area, ratio = height * width / 4800, width / height
      smallest, largest = math.min(smallest, area), math.max(largest, area)
      assert.is_true(ratio > 0.48 and ratio < 2.08, ratio)
    end
    assert.is_true(smallest > 0.19 and smallest < 0.22, smallest)
    assert.is_true(largest < 0.51 and largest > 0.47, largest)
  end)

  it("takes the middle where no crop of the ratio fits", function()
    local images = coordinates(3, 4, 40)
    local cropped = mt.data.augment { { "resized_crop", size = { 4, 4 }, scale = { 1, 1 }, ratio = { 1, 1 } } }(images,
      { indices = positions { 1, 2, 3 } }, 1)
    assert.is_true((cropped - images:narrow(3, 19, 4)):abs():max():item() < 1e-6)
  end)

  it("draws factors of the colours from their ranges", function()
    local images = mt.zeros(500, 1, 1, 3) + 0.25
    local bright = mt.data.augment { { "color_jitter", brightness = { 0.5, 2 } } }(images,
        { indices = positions(range(1, 500)) }, 1)
    assert.is_true(bright:min():item() >= 0.125 and bright:min():item() < 0.14)
    assert.is_true(bright:max():item() <= 0.5 and bright:max():item() > 0.48)
    local same = mt.data.augment { { "color_jitter" } }(images, { indices = positions(range(1, 500)) }, 1)
    assert.equal(images:bytes(), same:bytes())
  end)

  it("describes itself in full", function()
    assert.equal("horizontal_flip(probability = 0.5), "
      .. "affine(degrees = {-15, 15}, interpolation = nearest, shift = {0.1, 0.1}), "
      .. "crop(padding = {4, 4}, size = {32, 30})",
      tostring(mt.data.augment {
        { "horizontal_flip" }, { "affine", degrees = 15, shift = 0.1 }, { "crop", size = { 32, 30 }, padding = 4 },
      }))
  end)

  it("is what a loader takes, with the loader's seed", function()
    local set = {
      images = (mt.rand(20, 6, 6, 3) * 255):to "uint8", labels = mt.ones({ 20 }, "int32"), classes = 1, name = "noise",
    }
    local augment = mt.data.augment { { "affine", degrees = 20 }, { "horizontal_flip" } }
    local function images_of(batch, epoch, order)
      local found = {}
      local loader = mt.data.loader { dataset = set, batch = batch, seed = 3, shuffle = order, augment = augment }
      for record in loader:epoch(epoch) do
        for i, position in ipairs(record.indices:totable()) do
          found[position] = record.images[i]:bytes()
        end
      end
      return found
    end
    local first = images_of(7, 2, true)
    assert.equal(20, #first)
    assert.same(first, images_of(4, 2, true))
    assert.same(first, images_of(20, 2, false))
    assert.not_same(first, images_of(7, 3, true))
  end)

  it("refuses what it does not know, and names it", function()
    for message, steps in pairs {
      ["step 1: {kind, option = value, ...} with a kind of affine, color_jitter, crop, horizontal_flip, "
        .. "resized_crop expected, got 'flip'"] = { { "flip" } },
      ["step 2 (affine): unknown option 'angle'"] = { { "horizontal_flip" }, { "affine", angle = 3 } },
      ["option 'degrees': number >= 0 or {low, high} in [-360, 360] expected, got -1"] = { { "affine", degrees = -1 } },
      ["option 'degrees': {low, high} with low <= high expected, got {3, 1}"] = { { "affine", degrees = { 3, 1 } } },
      ["option 'shift': number in [0, 1] or {vertical, horizontal} expected, got 2"] = { { "affine", shift = 2 } },
      ["option 'size': integer or {height, width} expected, got 1.5"] = { { "crop", size = 1.5 } },
      ["option 'hue': number >= 0 or {low, high} in [-0.5, 0.5] expected, got 0.7"] = { { "color_jitter", hue = 0.7 } },
      ["option 'probability'"] = { { "horizontal_flip", probability = 2 } },
      ["step 1: normalize is no random change"] = { { "normalize", mean = { 1 }, std = { 1 } } },
      ["unknown option 'sed', expected steps and seed"] = { sed = 1 },
      ["argument 'seed': integer expected, got 0.5"] = { seed = 0.5 },
    } do
      local ok, problem = pcall(mt.data.augment, steps)
      assert.is_false(ok, message)
      assert.truthy(tostring(problem):find(message, 1, true), problem)
    end
    local many = {}
    for i = 1, 17 do
      many[i] = { "horizontal_flip" }
    end
    assert.error_matches(function() mt.data.augment(many) end, "mt.data.augment: 17 steps, expected at most 16")
  end)

  it("refuses images that do not fit its steps", function()
    local indices = positions { 1 }
    local function apply(step, images) mt.data.augment { step }(images, { indices = indices }, 1) end
    assert.error_matches(function() apply({ "crop", size = 9 }, mt.zeros(1, 4, 12, 3)) end,
      "augment: step 1 crops 9 x 9, expected at most 4 x 12")
    assert.error_matches(function() apply({ "color_jitter", hue = 0.1 }, mt.zeros(1, 4, 4, 2)) end,
      "step 1 changes colours: images have 2 channels, expected 1 or 3")
    assert.error_matches(function() apply({ "horizontal_flip" }, mt.zeros({ 1, 4, 4, 3 }, "uint8")) end,
      "augment: images is uint8")
    assert.error_matches(function() apply({ "horizontal_flip" }, mt.zeros(2, 4, 4, 3)) end, "augment: indices")
    assert.error_matches(function() mt.data.augment {}(mt.zeros(1, 4, 4, 3), { indices = indices }) end,
      "argument 'epoch': integer >= 0 expected, got nil")
  end)
end)
