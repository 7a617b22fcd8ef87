-- Image transforms with given parameters against torchvision's (spec/golden/images.py).
local mt = require "masktune"

local golden = mt.load "spec/golden/images.safetensors"
local input = golden["transform/input"]

--- Name in the golden file -> the same through mt.image; the parts of the name after the first are numbers.
local made = {
  affine = function(images, interpolation, angle, down, right)
    return mt.image.affine(images, { angle = angle, shift = { down, right }, interpolation = interpolation })
  end,
  flip = mt.image.flip,
  crop = function(images, top, left, height, width)
    return mt.image.crop(images, { top = top, left = left, height = height, width = width })
  end,
  resized_crop = function(images, top, left, height, width, h, w)
    return mt.image.resized_crop(images, { top = top, left = left, height = height, width = width, size = { h, w } })
  end,
  all_four = function(images)
    return mt.image.adjust_color(images, { hue = 0.15, contrast = 0.7, brightness = 1.2, saturation = 1.5 })
  end,
  gray_contrast = function(images) return mt.image.adjust_color(images:narrow(4, 1, 1), { contrast = 0.4 }) end,
  normalize = function(images)
    return mt.image.normalize(images, { mean = { 0.5, 0.4, 0.3 }, std = { 0.2, 0.3, 0.25 } })
  end,
}
for _, change in ipairs { "brightness", "contrast", "saturation", "hue" } do
  made[change] = function(images, amount) return mt.image.adjust_color(images, { [change] = amount }) end
end

local function largest_difference(a, b) return (a - b):abs():max():item() end

describe("image transforms", function()
  for name, expected in pairs(golden) do
    local parts = {}
    for part in name:gmatch("[^/]+") do
      parts[#parts + 1] = tonumber(part) or part
    end
    if parts[1] == "transform" and made[parts[2]] then
      it("equal torchvision's: " .. table.concat(parts, " ", 2), function()
        local images = made[parts[2]](input, table.unpack(parts, 3))
        assert.same(expected:shape(), images:shape())
        assert.is_true(largest_difference(images, expected) < 1e-5)
      end)
    end
  end

  it("do not depend on the number of threads, nor on the other images", function()
    local threads = mt.get_num_threads()
    local images = mt.rand(40, 21, 17, 3)
    local function all()
      local out = {}
      for i, f in ipairs {
        mt.image.flip, made.all_four, function(x) return made.affine(x, "bilinear", 20, 1, 2) end,
        function(x) return made.resized_crop(x, 1, 2, 15, 9, 8, 12) end,
      } do
        out[i] = f(images):bytes()
        assert.equal(f(images:narrow(1, 7, 1)):bytes(), f(images):narrow(1, 7, 1):bytes())
      end
      return out
    end
    local before = all()
    mt.set_num_threads(threads == 1 and 3 or 1)
    local after = all()
    mt.set_num_threads(threads)
    assert.same(before, after)
  end)

  it("work on single pixels, many channels and no images at all", function()
    local pixel = mt.rand(1, 1, 1, 5)
    assert.equal(pixel:bytes(), mt.image.flip(pixel):bytes())
    assert.equal(pixel:bytes(), made.affine(pixel, "nearest", 77, 0, 0):bytes())
    assert.same({ 1, 3, 2, 5 }, made.resized_crop(pixel, 0, 0, 1, 1, 3, 2):shape())
    assert.equal(0, made.crop(pixel, 5, 5, 2, 2):sum():item())
    assert.same({ 0, 4, 4, 3 }, made.resized_crop(mt.zeros(0, 9, 9, 3), 0, 0, 9, 9, 4, 4):shape())
    assert.same({ 0, 9, 9, 3 }, made.hue(mt.zeros(0, 9, 9, 3), 0.1):shape())
  end)

  it("let NaN through", function()
    local images = mt.zeros(1, 2, 2, 3)
    images[1][1][1][1] = 0 / 0
    for _, f in ipairs { made.brightness, made.saturation, made.hue } do
      local changed = f(images, 0.5)
      assert.is_true(changed[1][1][1][1]:item() ~= changed[1][1][1][1]:item())
      assert.equal(0, changed[1][2][2][1]:item())
    end
  end)

  it("refuse what does not fit, and name it", function()
    for message, f in pairs {
      ["flip: images is uint8"] = function() mt.image.flip(mt.zeros({ 1, 2, 2, 3 }, "uint8")) end,
      ["flip: images has shape {2,2,3}"] = function() mt.image.flip(mt.zeros(2, 2, 3)) end,
      ["adjust_color: images has shape {1,2,2,4}, expected 1 or 3 channels"] = function()
        made.hue(mt.zeros(1, 2, 2, 4), 0.1)
      end,
      ["resized_crop: the box is rows 1 to 3, columns 0 to 2, expected one inside 2 x 2"] = function()
        made.resized_crop(mt.zeros(1, 2, 2, 3), 1, 0, 2, 2, 4, 4)
      end,
      ["option 'top'"] = function() mt.image.crop(input, { left = 1, height = 1, width = 1 }) end,
      ["option 'height'"] = function() made.crop(input, 0, 0, 0, 1) end,
      ["option 'size'"] = function() mt.image.resized_crop(input, { top = 0, left = 0, height = 1, width = 1 }) end,
      ["option 'hue'"] = function() made.hue(input, 0.6) end,
      ["option 'brightness'"] = function() made.brightness(input, -1) end,
      ["option 'angle'"] = function() made.affine(input, "nearest", 0 / 0, 0, 0) end,
      ["option 'shift': table of 2 numbers"] = function() mt.image.affine(input, { shift = 3 }) end,
      ["option 'interpolation': 'nearest' or 'bilinear' expected"] = function()
        made.affine(input, "cubic", 0, 0, 0)
      end,
      ["option 'std'"] = function() mt.image.normalize(input, { mean = { 1, 1, 1 }, std = { 1, 0, 1 } }) end,
      ["a number for each of 3 channels expected, got 1"] = function()
        mt.image.normalize(input, { mean = { 1 }, std = { 1 } })
      end,
    } do
      local ok, problem = pcall(f)
      assert.is_false(ok, message)
      assert.truthy(problem:find(message, 1, true), problem)
    end
  end)
end)
