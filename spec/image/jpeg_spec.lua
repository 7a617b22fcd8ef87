-- The files and their pixels come from Pillow (spec/golden/images.py), which decodes with the same library's rules.
local mt = require "masktune"
local contents = require "support.contents"
local process = require "support.process"

local golden = mt.load "spec/golden/images.safetensors"

local readable = {}
for _, name in ipairs((mt.image.formats())) do
  readable[name] = true
end

local function file_of(name) return golden["jpeg/" .. name .. "/file"]:bytes() end

local read_string = contents.reader(mt.image.read_jpeg, "a.jpg")

local function largest_difference(a, b) return (a:to "float32" - b:to "float32"):abs():max():item() end

describe("read_jpeg", function()
  for name in pairs(golden) do
    local sample = name:match("^jpeg/(.*)/pixels$")
    if sample then
      it("reads a file with " .. sample .. " as Pillow shows it", function()
        local image = read_string(file_of(sample))
        assert.equal("uint8", image:dtype())
        assert.same(golden[name]:shape(), image:shape())
        assert.is_true(largest_difference(image, golden[name]) <= 1)
      end)
    end
  end

  it("turns an image upright by each of the eight orientations", function()
    local upright = read_string(file_of "orientation 1")
    local seen = {}
    for orientation = 1, 8 do
      local image = read_string(file_of("orientation " .. orientation))
      assert.same(orientation < 5 and { 21, 34, 3 } or { 34, 21, 3 }, image:shape())
      assert.is_nil(seen[image:bytes()])
      seen[image:bytes()] = true
    end
    assert.equal(upright:bytes(), read_string(file_of "orientation 1"):bytes())
    local rows, turned = upright:totable(), read_string(file_of "orientation 6"):totable()
    assert.same(rows[21][1], turned[1][1]) -- a quarter turn clockwise: the bottom-left corner comes to the top left
    assert.same(rows[1][34], turned[34][21])
  end)

  it("keeps the image as it is stored when the orientation is no value from 1 to 8, or the tag is damaged", function()
    local content = file_of "orientation 6"
    local at = assert(content:find("\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00", 1, true)
      or content:find("\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06", 1, true))
    local stored = read_string(file_of "orientation 1"):bytes()
    local value = content:byte(at) == 0x12 and at + 8 or at + 9
    for _, change in ipairs { { value, 9 }, { value, 0 }, { at + 2, 7 } } do
      local position, byte = table.unpack(change)
      local changed = content:sub(1, position - 1) .. string.char(byte) .. content:sub(position + 1)
      assert.equal(stored, read_string(changed):bytes())
    end
  end)

  it("decodes at the smallest of 1, 1/2, 1/4 and 1/8 that is not below min_size", function()
    local content = golden["jpeg_scaled/file"]:bytes()
    for divisor, sizes in pairs {
      [1] = { { 64, 96 }, { 33, 48 }, { 32, 49 }, { 100, 3 }, 64, 50 },
      [2] = { { 32, 48 }, { 17, 24 }, { 16, 25 }, 32 },
      [4] = { { 16, 24 }, { 9, 12 }, { 8, 13 }, 16 },
      [8] = { { 8, 12 }, { 1, 1 }, 8, 3 },
    } do
      for _, size in ipairs(sizes) do
        local image = read_string(content, { min_size = size })
        assert.same({ 64 // divisor, 96 // divisor, 3 }, image:shape())
        assert.is_true(largest_difference(image, golden["jpeg_scaled/" .. divisor]) <= 1)
      end
    end
  end)

  it("measures min_size on the upright image", function()
    local content = file_of "orientation 6" -- 34 rows of 21 pixels when upright
    assert.same({ 17, 11, 3 }, read_string(content, { min_size = { 17, 11 } }):shape())
    assert.same({ 34, 21, 3 }, read_string(content, { min_size = { 11, 17 } }):shape())
  end)

  it("converts to the channels asked for", function()
    local image = read_string(file_of "4:4:4")
    local gray = read_string(file_of "4:4:4", { channels = 1 })
    local rgba = read_string(file_of "4:4:4", { channels = 4 })
    for y = 1, 21, 5 do
      for x = 1, 34, 3 do
        local r, g, b = table.unpack(image[y][x]:totable())
        assert.same({ (299 * r + 587 * g + 114 * b + 500) // 1000 }, gray[y][x]:totable())
        assert.same({ r, g, b, 255 }, rgba[y][x]:totable())
      end
    end
    assert.same({ 21, 34, 3 }, read_string(file_of "gray", { channels = 3 }):shape())
  end)

  it("refuses a file cut short", function()
    for _, name in ipairs { "4:2:0", "progressive", "gray" } do
      local whole = file_of(name)
      for length = 0, #whole - 3, 3 do
        local ok, message = pcall(read_string, whole:sub(1, length))
        assert.is_false(ok, name .. " cut to " .. length)
        assert.truthy(message:find("a.jpg", 1, true), message)
      end
    end
  end)

  it("bears stray bytes between the segments, as some cameras write them", function()
    local whole = file_of "4:2:0"
    local image = read_string(whole:sub(1, -3) .. ("\0"):rep(20) .. "\xff\xd9")
    assert.equal(read_string(whole):bytes(), image:bytes())
  end)

  it("refuses sizes that the bytes of the file cannot hold", function()
    local whole = file_of "gray"
    local at = assert(whole:find("\xff\xc0", 1, true)) + 5
    for size, message in pairs {
      ["\xff\xdc\xff\xdc"] = "65500 x 65500 pixels, expected at most 268435456 in all",
      ["\x27\x10\x27\x10"] = "10000 x 10000 pixels cannot be in %d+ bytes",
    } do
      assert.error_matches(function() read_string(whole:sub(1, at - 1) .. size .. whole:sub(at + 4)) end,
        "JPEG file 'a.jpg': " .. message)
    end
  end)

  it("refuses other files and wrong arguments", function()
    assert.error_matches(function() read_string "\x89PNG\r\n\x1a\n and more" end, "'a.jpg' is not a JPEG file")
    assert.error_matches(function() read_string "" end, "'a.jpg' is not a JPEG file")
    assert.error_matches(function() mt.image.read_jpeg "/nowhere/a.jpg" end, "cannot open '/nowhere/a.jpg'")
    assert.error_matches(function() read_string(file_of "gray", { channels = 2 }) end, "option 'channels'")
    assert.error_matches(function() read_string(file_of "gray", { min_size = 0 }) end, "option 'min_size'")
    assert.error_matches(function() read_string(file_of "gray", { size = 3 }) end, "size")
  end)

  it("keeps no memory after errors", function()
    contents.assert_nothing_kept(read_string, file_of "CMYK":sub(1, -400))
  end)
end)

describe("write_jpeg", function()
  local function smooth(height, width, channels)
    local rows = {}
    for y = 1, height do
      rows[y] = {}
      for x = 1, width do
        local pixel = { (7 * y) % 200, 3 * x % 150, y + x }
        rows[y][x] = table.move(pixel, 1, channels, 1, {})
      end
    end
    return mt.tensor(rows, { dtype = "uint8" })
  end

  it("writes what reads back nearly the same, the nearer the higher the quality", function()
    process.with_folder(function(folder)
      local path = folder .. "/a.jpg"
      for _, channels in ipairs { 1, 3 } do
        local image, last = smooth(19, 23, channels), math.huge
        for _, quality in ipairs { 10, 60, 100 } do
          mt.image.write_jpeg(path, image, { quality = quality })
          local back = mt.image.read_jpeg(path)
          assert.same({ 19, 23, channels }, back:shape())
          local difference = (back:to "float32" - image:to "float32"):abs():mean():item()
          assert.is_true(difference < last)
          last = difference
        end
        assert.is_true(last < 3)
      end
      assert.same({ "a.jpg" }, mt.list_directory(folder))
    end)
  end)

  it("takes floats in [0,1] and planes without a channel axis", function()
    process.with_folder(function(folder)
      mt.image.write_jpeg(folder .. "/a.jpg", mt.zeros(8, 9) + 0.5, { quality = 100 })
      local image = mt.image.read_jpeg(folder .. "/a.jpg")
      assert.same({ 8, 9, 1 }, image:shape())
      assert.equal(128, image:max():item())
    end)
  end)

  it("takes a batch of one, as image.batch gives it", function()
    process.with_folder(function(folder)
      local images = mt.full({ 2, 8, 9, 3 }, 200, "uint8")
      mt.image.write_jpeg(folder .. "/a.jpg", mt.image.batch(images, { 2 }), { quality = 100 })
      local image = mt.image.read_jpeg(folder .. "/a.jpg")
      assert.same({ 8, 9, 3 }, image:shape())
      assert.near(200, image:to("float32"):mean():item(), 1)
    end)
  end)

  it("refuses what is no image and leaves the old file", function()
    contents.assert_refused(mt.image.write_jpeg, {
      ["write_jpeg: image has shape {3,2,2,1}, a batch of 3; expected one image"] = mt.zeros(3, 2, 2, 1),
      ["write_jpeg: image has shape {2,2,4}, expected {H,W}, {H,W,1} or {H,W,3}"] = mt.zeros(2, 2, 4),
      ["write_jpeg: image has shape {0,4}, expected 1 to 65500 pixels a side"] = mt.zeros(0, 4),
      ["write_jpeg: image has shape {1,65501}, expected 1 to"] = mt.zeros(1, 65501),
      ["write_jpeg: image is int32, expected uint8 or float32"] = mt.zeros({ 2, 2 }, "int32"),
    })
    local function with_no_quality(path, image) mt.image.write_jpeg(path, image, { quality = 0 }) end
    contents.assert_refused(with_no_quality, { ["option 'quality'"] = mt.zeros(2, 2) })
  end)
end)

describe("read_files", function()
  local function read(paths, size, options)
    local images = mt.zeros({ #paths, table.unpack(size) }, "uint8")
    return images, mt.image.read_files(paths, images, options)
  end

  it("brings images to a size as Pillow's bilinear resizing does", function()
    process.with_folder(function(folder)
      local path = folder .. "/a.png"
      mt.image.write_png(path, golden["resize/input"])
      for _, name in ipairs { "stretch", "enlarge", "crop" } do
        local expected = golden["resize/" .. name]
        local images, messages = read({ path }, expected:shape(), { fit = name == "crop" and "crop" or nil })
        assert.same({}, messages)
        assert.is_true(largest_difference(images[1], expected) <= 1, name)
      end
    end)
  end)

  it("tells the kind of a file by its contents, and mixes kinds, sizes and channels", function()
    process.with_folder(function(folder)
      local image = (mt.zeros(20, 30, 4) + 77):to "uint8"
      mt.image.write_png(folder .. "/a.jpg", image)
      mt.image.write_png(folder .. "/b", image:narrow(3, 1, 1))
      mt.image.write_jpeg(folder .. "/c.png", image:narrow(3, 1, 3), { quality = 100 })
      local images, messages = read({ folder .. "/a.jpg", folder .. "/b", folder .. "/c.png" }, { 4, 4, 3 })
      assert.same({}, messages)
      assert.equal(77, images:min():item())
      assert.equal(77, images:max():item())
    end)
  end)

  it("says which files it could not read, and goes on", function()
    process.with_folder(function(folder)
      mt.image.write_png(folder .. "/good.png", (mt.zeros(3, 3) + 9):to "uint8")
      mt.write_file(folder .. "/text.png", "text")
      mt.write_file(folder .. "/half.jpg", file_of "gray":sub(1, -50))
      local good = folder .. "/good.png"
      local images, messages = read({ good, folder .. "/text.png", folder .. "/half.jpg", folder .. "/none.png", good },
        { 2, 2, 1 })
      assert.is_nil(messages[1] or messages[5])
      assert.equal("'" .. folder .. "/text.png' is no image of a known format, expected PNG, JPEG, BMP"
        .. (readable.WebP and ", WebP" or "") .. " or PPM", messages[2])
      assert.matches("half.jpg", messages[3])
      assert.matches("cannot open '.*none.png': No such file or directory", messages[4])
      assert.equal("\9\9\9\9" .. ("\0"):rep(12) .. "\9\9\9\9", images:bytes())
    end)
  end)

  it("refuses images that do not fit the paths, and paths that are none", function()
    assert.error_matches(function() mt.image.read_files({ "a" }, mt.zeros({ 2, 3, 3, 1 }, "uint8")) end,
      "images {1,H,W,C} expected")
    assert.error_matches(function() mt.image.read_files({ 3 }, mt.zeros({ 1, 3, 3, 1 }, "uint8")) end, "paths%[1%]")
    assert.error_matches(function() mt.image.read_files({ "a" }, mt.zeros(1, 3, 3, 1)) end, "images is float32")
    assert.error_matches(function() mt.image.read_files({ "a" }, mt.zeros({ 1, 3, 3, 2 }, "uint8")) end, "C 1, 3 or 4")
  end)
end)
