local mt = require "masktune"
local contents = require "support.contents"
local process = require "support.process"
local samples = require "image.png_samples"

local from_hex = contents.from_hex
local read_string = contents.reader(mt.image.read_png, "a.png")

local rgb_sample, palette_sample
for _, sample in ipairs(samples) do
  if sample.name == "RGB, 8 bits, interlaced" then
    rgb_sample = from_hex(sample.file)
  elseif sample.name == "palette with transparency, 4 bits" then
    palette_sample = from_hex(sample.file)
  end
end

local function be32(value)
  return (">I4"):pack(value)
end

describe("read_png", function()
  for _, sample in ipairs(samples) do
    it("reads " .. sample.name, function()
      local image = read_string(from_hex(sample.file))
      assert.equal("uint8", image:dtype())
      assert.same({ 5, 7, sample.channels }, image:shape())
      assert.equal(from_hex(sample.pixels), image:bytes())
    end)
  end

  it("converts to the channels asked for", function()
    for _, sample in ipairs(samples) do
      local pixels = { from_hex(sample.pixels):byte(1, -1) }
      for _, channels in ipairs{ 1, 3, 4 } do
        local image = read_string(from_hex(sample.file), { channels = channels })
        assert.same({ 5, 7, channels }, image:shape())
        local got = { image:bytes():byte(1, -1) }
        for pixel = 0, 34 do
          local r, g, b, a = table.unpack(pixels, pixel * sample.channels + 1, (pixel + 1) * sample.channels)
          g, b = g or r, b or r
          local gray = sample.channels == 1 and r or (299 * r + 587 * g + 114 * b + 500) // 1000
          local expected = channels == 1 and { gray } or { r, g, b, channels == 4 and (a or 255) or nil }
          assert.same(expected, { table.unpack(got, pixel * channels + 1, (pixel + 1) * channels) })
        end
      end
    end
  end)

  it("refuses a file cut short while pixels are missing", function() -- more of this: pictures_spec.lua
    for _, whole in ipairs{ rgb_sample, palette_sample } do
      local pixels, refused = read_string(whole):bytes(), 0
      for length = 0, #whole - 1 do
        local ok, image = pcall(read_string, whole:sub(1, length))
        refused = refused + (ok and 0 or 1)
        assert.is_true(ok and image:bytes() == pixels or not ok and image:find(length < 8
          and "'a.png' is not a PNG file" or "PNG file 'a.png': the file is truncated", 1, true) ~= nil)
      end
      assert.is_true(refused < #whole - 12 and refused > #whole - 30) -- 12 bytes for the end, 8 for checksums
    end
  end)

  it("refuses a file with any byte changed, or shows the same pixels", function()
    for _, whole in ipairs{ rgb_sample, palette_sample } do
      local pixels, refused = read_string(whole):bytes(), 0
      for position = 1, #whole do
        local other = string.char(whole:byte(position) ~ 0x55)
        local ok, image = pcall(read_string, whole:sub(1, position - 1) .. other .. whole:sub(position + 1))
        refused = refused + (ok and 0 or 1)
        -- a length that reaches beyond the end looks like a file cut short
        assert.is_true(not ok or image:bytes() == pixels, "position " .. position)
      end
      assert.is_true(refused >= #whole - 8, refused)
    end
  end)

  it("refuses sizes that would take gigabytes, and says so", function()
    -- IHDR of 60000 x 60000 RGBA pixels with its checksum: python -c "import zlib; ..."
    local huge = "\x89PNG\r\n\x1a\n" .. be32(13) ..
      "IHDR" .. be32(60000) .. be32(60000) .. "\8\6\0\0\0" .. be32(0x80d27542)
    assert.error_matches(function()
      read_string(huge .. be32(0) .. "IDAT" .. be32(0x35af061e) .. be32(0) .. "IEND" .. be32(0xae426082))
    end, "PNG file 'a.png': 60000 x 60000 pixels, expected at most 268435456 in all")
    -- 10000 x 10000 of the same
    local bomb = "\x89PNG\r\n\x1a\n" .. be32(13) ..
      "IHDR" .. be32(10000) .. be32(10000) .. "\8\6\0\0\0" .. be32(0xba4e6227)
    assert.error_matches(function()
      read_string(bomb .. be32(0) .. "IDAT" .. be32(0x35af061e) .. be32(0) .. "IEND" .. be32(0xae426082))
    end, "PNG file 'a.png': 10000 x 10000 pixels cannot be in 57 bytes")
  end)

  it("refuses other files and wrong arguments", function()
    assert.error_matches(function()
      read_string("GIF89a and more")
    end, "'a.png' is not a PNG file")
    assert.error_matches(function()
      mt.image.read_png("/nowhere/a.png")
    end, "cannot open '/nowhere/a.png': No such file or directory")
    for _, channels in ipairs{ 0, 2, 5 } do
      assert.error_matches(function()
        read_string(rgb_sample, { channels = channels })
      end, "option 'channels'")
    end
    assert.error_matches(function()
      mt.image.read_png(3)
    end, "string expected, got number")
  end)

  it("keeps no memory after errors", function()
    contents.assert_nothing_kept(read_string, rgb_sample:sub(1, #rgb_sample - 30))
  end)
end)

describe("write_png", function()
  it("writes every shape so that it reads back the same", function()
    process.with_folder(function(folder)
      local path = folder .. "/a.png"
      for _, shape in ipairs{ { 3, 5 }, { 3, 5, 1 }, { 1, 1, 3 }, { 6, 2, 3 }, { 9, 4, 4 } } do
        local image = (mt.rand(shape) * 255):to("uint8")
        mt.image.write_png(path, image)
        local back = mt.image.read_png(path)
        assert.same({ shape[1], shape[2], shape[3] or 1 }, back:shape())
        assert.equal(image:bytes(), back:bytes())
      end
      assert.same({ "a.png" }, mt.list_directory(folder))
    end)
  end)

  it("rounds floats in [0,1] to bytes and clamps what is outside", function()
    process.with_folder(function(folder)
      local path = folder .. "/a.png"
      mt.image.write_png(path, mt.tensor{ { 0, 0.5, 1, 0.1 }, { -3, 7, 0 / 0, 1 / 510 } })
      assert.same({ { { 0 }, { 128 }, { 255 }, { 26 } }, { { 0 }, { 255 }, { 0 }, { 1 } } },
        mt.image.read_png(path):totable())
    end)
  end)

  it("takes a batch of one, as image.batch gives it", function()
    process.with_folder(function(folder)
      local path = folder .. "/a.png"
      local images = mt.tensor({ { { { 1, 2, 3 }, { 4, 5, 6 } } }, { { { 7, 8, 9 }, { 255, 0, 128 } } } }, "uint8")
      mt.image.write_png(path, mt.image.batch(images, { 2 }))
      assert.same(images[2]:totable(), mt.image.read_png(path):totable())
      mt.image.write_png(path, images:narrow(1, 1, 1))
      assert.same(images[1]:totable(), mt.image.read_png(path):totable())
    end)
  end)

  it("refuses what is no image and leaves the old file", function()
    contents.assert_refused(mt.image.write_png, {
      ["write_png: image has shape {3,2,2,1}, a batch of 3; expected one image: batch[i], or save_grid for all"] =
        mt.zeros(3, 2, 2, 1),
      ["write_png: image has shape {0,2,2,1}, a batch of 0"] = mt.zeros(0, 2, 2, 1),
      ["write_png: image has shape {2,2,2}, expected {H,W}"] = mt.zeros(1, 2, 2, 2),
      ["write_png: image has shape {2,2,2}, expected {H,W}, {H,W,1}, {H,W,3} or {H,W,4}"] = mt.zeros(2, 2, 2),
      ["write_png: image has shape {4}"] = mt.zeros(4),
      ["write_png: image has shape {0,4}, expected 1 to"] = mt.zeros(0, 4),
      ["write_png: image is int32, expected uint8 or float32"] = mt.zeros{ 2, 2 }:to("int32"),
    })
    process.with_folder(function(folder)
      assert.error_matches(function() mt.image.write_png(folder .. "/missing/a.png", mt.zeros(2, 2)) end,
        "cannot write '[^']*/missing/a.png': No such file or directory")
    end)
  end)
end)
