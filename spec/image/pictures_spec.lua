-- Files of every format and what Pillow shows of them: spec/golden/pictures.py.
local mt = require "masktune"
local contents = require "support.contents"
local process = require "support.process"

local golden = mt.load "spec/golden/pictures.safetensors"

local function file_of(name) return golden[name .. "/file"]:bytes() end

local read_string = contents.reader(mt.image.read, "a.x")

local function largest_difference(a, b) return (a:to "float32" - b:to "float32"):abs():max():item() end

local readable = {}
for _, name in ipairs((mt.image.formats())) do
  readable[name] = true
end

local function has_prefix(name, prefixes)
  for _, prefix in ipairs(prefixes) do
    if name:sub(1, #prefix) == prefix then return true end
  end
  return false
end

--- Replaces the bytes at a position.
local function changed(content, at, bytes) return content:sub(1, at - 1) .. bytes .. content:sub(at + #bytes) end

local names = {}
for name in pairs(golden) do
  names[#names + 1] = name:match("^(.*)/pixels$")
end
table.sort(names)

describe("image.read", function()
  for _, name in ipairs(names) do
    it("shows what Pillow shows: " .. name, function()
      if has_prefix(name, { "webp/" }) and not readable.WebP then
        return pending("this build has no libwebp")
      end
      local expected = golden[name .. "/pixels"]
      local image = read_string(file_of(name), { channels = expected:size(3) })
      assert.equal("uint8", image:dtype())
      assert.same(expected:shape(), image:shape())
      local tolerance = has_prefix(name, { "jpeg/", "webp/lossy" }) and 1 or 0
      assert.is_true(largest_difference(image, expected) <= tolerance)
    end)
  end

  it("gives the channels of the file, or those asked for", function()
    for name, channels in pairs {
      ["bmp/gray"] = 1, ["bmp/1 bit"] = 1, ["bmp/24 bits"] = 3, ["bmp/palette of 4 bits"] = 3,
      ["bmp/32 bits with alpha"] = 4, ["bmp/32 bits"] = 3, ["pnm/P1"] = 1, ["pnm/P5"] = 1, ["pnm/P6"] = 3,
      ["png/1 bit"] = 1, ["png/gray with alpha as RGB"] = 4, ["jpeg/progressive gray"] = 1,
    } do
      assert.equal(channels, read_string(file_of(name)):size(3), name)
      for _, wanted in ipairs { 1, 3, 4 } do
        assert.equal(wanted, read_string(file_of(name), { channels = wanted }):size(3), name)
      end
    end
  end)

  it("tells the format by the contents, whatever the file is called", function()
    process.with_folder(function(folder)
      for _, name in ipairs { "bmp/24 bits", "pnm/P6", "png/gamma", "jpeg/RGB, not YCC" } do
        mt.write_file(folder .. "/a.jpg", file_of(name))
        assert.same({ 11, 9, 3 }, mt.image.read(folder .. "/a.jpg"):shape())
      end
    end)
  end)

  it("decodes JPEG files no larger than needed", function()
    local large = mt.load("spec/golden/images.safetensors")["jpeg_scaled/file"]:bytes()
    assert.same({ 16, 24, 3 }, read_string(large, { min_size = 13 }):shape())
  end)

  it("names the format that it does not read, and what to do", function()
    local samples = {
      GIF = file_of "other/GIF", TIFF = file_of "other/TIFF", ["JPEG 2000"] = file_of "other/JPEG 2000",
      AVIF = file_of "other/AVIF", HEIC = "\0\0\0\24ftypheic\0\0\0\0mif1heic",
      ["JPEG XL"] = "\xff\x0a\xfa\x7f\x01\x90\x08\x06\x01\x00\x44\x00", PAM = "P7\nWIDTH 3\n", PFM = "PF\n3 3\n-1.0\n",
      Photoshop = "8BPS\0\1\0\0\0\0\0\0",
    }
    if not readable.WebP then samples.WebP = file_of "webp/lossy" end
    for name, content in pairs(samples) do
      local ok, message = pcall(read_string, content)
      assert.is_false(ok)
      assert.matches("^'a.x' is an? " .. name .. " %a+, expected PNG, JPEG, BMP,? ?W?e?b?P? or PPM; convert it, "
        .. "for example: magick FILE FILE.png", message)
    end
    for content, phrase in pairs {
      ["<!DOCTYPE html><title>404</title>"] = "an HTML page",
      ["\xef\xbb\xbf\n <html>"] = "an HTML page",
      ["version https://git-lfs.github.com/spec/v1\noid sha256:0"] =
        "a Git LFS pointer (the image itself was not fetched)",
      ["<svg xmlns='http://www.w3.org/2000/svg'/>"] = "an SVG drawing",
      ["BMW and P1 are cars"] = "no image of a known format", ["P1 racing"] = "no image of a known format",
      ["\0"] = "no image of a known format",
    } do
      local ok, message = pcall(read_string, content)
      assert.is_false(ok)
      assert.truthy(message:find("'a.x' is " .. phrase .. ", expected PNG, JPEG, BMP", 1, true), message)
      assert.equal(phrase:find "drawing" ~= nil, message:find "convert it" ~= nil)
    end
    assert.error_matches(function() read_string "" end, "^'a.x' is empty")
  end)

  it("refuses at once what is no regular file", function()
    process.with_folder(function(folder)
      local fifo, link, named = folder .. "/fifo.png", folder .. "/link.png", folder .. "/folder.png"
      assert.is_true((process.run("mkfifo " .. fifo .. " && ln -s nowhere " .. link .. " && mkdir " .. named)))
      for _, read in ipairs { mt.image.read, mt.image.read_png, mt.image.read_jpeg } do
        assert.error_matches(function() read(fifo) end, "fifo.png' is a FIFO, expected a regular file")
        assert.error_matches(function() read(named) end, "folder.png' is a folder, expected a regular file")
        assert.error_matches(function() read "/dev/null" end, "'/dev/null' is a device, expected a regular file")
        assert.error_matches(function() read(link) end, "cannot open '.*link.png': No such file")
      end
      local messages = mt.image.read_files({ fifo, link, named, "/dev/zero" }, mt.zeros({ 4, 2, 2, 1 }, "uint8"))
      assert.matches("fifo.png' is a FIFO", messages[1])
      assert.matches("cannot open '.*link.png'", messages[2])
      assert.matches("folder.png' is a folder", messages[3])
      assert.matches("'/dev/zero' is a device", messages[4])
    end)
  end)

  it("refuses wrong arguments", function()
    assert.error_matches(function() mt.image.read(3) end, "string expected, got number")
    assert.error_matches(function() mt.image.read "" end, "path expected")
    assert.error_matches(function() read_string(file_of "pnm/P5", { channels = 2 }) end, "option 'channels': 1, 3 or 4")
    assert.error_matches(function() read_string(file_of "pnm/P5", { size = 2 }) end, "unknown option 'size'")
  end)
end)

describe("image.formats", function()
  it("lists what this build reads, and what it knows by name only", function()
    local reads, knows = mt.image.formats()
    assert.same({ "PNG", "JPEG", "BMP", "PPM" }, { table.unpack(reads, 1, 4) })
    assert.is_true(#reads == 4 or reads[5] == "WebP" and #reads == 5)
    local all = " " .. table.concat(knows, " ") .. " "
    for _, name in ipairs { "GIF", "TIFF", "AVIF", "HEIC" } do
      assert.truthy(all:find(" " .. name .. " ", 1, true))
    end
  end)
end)

describe("image.probe", function()
  it("says what each path is", function()
    process.with_folder(function(folder)
      local paths, expected = {}, {}
      local function add(name, kind, content)
        if content then mt.write_file(folder .. "/" .. name, content) end
        paths[#paths + 1], expected[#expected + 1] = folder .. "/" .. name, kind
      end
      add("a.gif", "PNG", file_of "png/gamma")
      add("b", "JPEG", file_of "jpeg/RGB, not YCC")
      add("c.png", "WebP", file_of "webp/lossy")
      add("d.png", "BMP", file_of "bmp/1 bit")
      add("e.txt", "", "text")
      add("f.png", "empty", "")
      add("g", "missing")
      add("h.html", "HTML", "<html>")
      add("i.pgm", "PPM", "P5 # " .. ("a long comment "):rep(20) .. "\n1 1 255\nx")
      mt.make_directory(folder .. "/j")
      add("j", "folder")
      process.run("mkfifo " .. folder .. "/k.png")
      add("k.png", "FIFO")
      assert.same(expected, mt.image.probe(paths))
    end)
    assert.same({}, mt.image.probe {})
    assert.same({ "device" }, mt.image.probe { "/dev/zero" })
    assert.error_matches(function() mt.image.probe { 1 } end, "paths%[1%]: string")
    local endless = setmetatable({}, { __len = function() return 1 << 61 end, __index = function() return "x" end })
    assert.same({}, mt.image.probe(endless))
  end)
end)

describe("a PNG file with other things in it", function()
  it("is read however large they are, but not when they are damaged", function()
    local content = file_of "png/gamma"
    local text = "tEXtComment\0" .. ("x"):rep(9 << 20)
    local checksum = "\x0e\x78\xbf\x8b" -- zlib.crc32(b"tEXtComment\0" + b"x" * (9 << 20))
    local large = content:sub(1, 33) .. (">I4"):pack(#text - 4) .. text .. checksum .. content:sub(34)
    assert.equal(golden["png/gamma/pixels"]:bytes(), read_string(large):bytes())
    assert.error_matches(function() read_string(changed(large, 100, "y")) end, "PNG file 'a.x': tEXt: CRC error")
  end)
end)

-- ---- damage ----

local function missing_rows(message) return tonumber((message:match("(%d+) of %d+ rows are missing"))) end

--- Cuts a file at some forty lengths from `first` on, and at each that lacks less than thirty bytes. It must give the
--- whole image or an error, with ever fewer rows missing. The shortest length that gives the image, and the last number
--- of missing rows.
local function cut_everywhere(content, first)
  local whole, shortest, last = read_string(content):bytes(), nil, math.huge
  local function cut(length)
    local ok, result = pcall(read_string, content:sub(1, length))
    if ok then
      assert.equal(whole, result:bytes())
      shortest = shortest or length
      return
    end
    assert.is_nil(shortest, "a longer file is not read")
    assert.matches("truncated", result)
    local rows = missing_rows(result) or last
    assert.is_true(rows <= last and rows >= 1)
    last = rows
  end
  for length = first, #content - 31, math.max(1, (#content - first) // 40) do
    cut(length)
  end
  for length = math.max(first, #content - 30), #content - 1 do
    cut(length)
  end
  return shortest, last
end

describe("a PNG file cut short", function()
  it("is read as soon as all its pixels are there, as by Pillow, and else says how many rows are missing", function()
    local name = "png/shortest that Pillow reads"
    local content = file_of(name)
    local shortest, last = cut_everywhere(content, 8)
    assert.is_true(shortest <= golden[name]:item(), "Pillow reads shorter ones")
    assert.equal(1, last)
    assert.error_matches(function() read_string(content:sub(1, #content // 2)) end,
      "^PNG file 'a.x': the file is truncated: %d of 11 rows are missing$")
    assert.error_matches(function() read_string(content:sub(1, 30)) end, "^PNG file 'a.x': the file is truncated$")
  end)

  it("has rows of an interlaced image missing where a later pass would have filled them", function()
    for _, sample in ipairs(require "image.png_samples") do
      if sample.name:find "interlaced" then
        local content = contents.from_hex(sample.file)
        assert.is_truthy(cut_everywhere(content, 8), sample.name)
      end
    end
  end)

  it("is damaged, not cut short, where bytes are wrong", function()
    local content = file_of "png/gamma"
    local at = assert(content:find("IDAT", 1, true)) + 10
    assert.error_matches(function() read_string(changed(content, at, "\255\255\255")) end, "PNG file 'a.x': IDAT")
  end)
end)

describe("a JPEG file cut short", function()
  local images = mt.load "spec/golden/images.safetensors"

  it("is read as soon as all its pixels are there, and else says how many rows are missing", function()
    for _, name in ipairs { "4:2:0", "4:4:4", "gray", "restarts" } do
      local content = images["jpeg/" .. name .. "/file"]:bytes()
      local shortest = cut_everywhere(content, 3)
      assert.is_true(shortest >= #content - 3, name) -- the end's mark has two bytes; the bits before may fill a byte
    end
    local large = images["jpeg_scaled/file"]:bytes()
    local _, last = cut_everywhere(large, #large - 600)
    assert.is_true(last >= 1 and last <= 16, last)
    assert.error_matches(function() read_string(large:sub(1, -300)) end, "truncated: %d+ of 64 rows are missing$")
    assert.error_matches(function() read_string(large:sub(1, -300), { min_size = 8 }) end,
      "truncated: %d+ of 64 rows are missing$")
    assert.error_matches(function() read_string(large:sub(1, 100)) end, "^JPEG file 'a.x': the file is truncated$")
  end)

  it("lacks detail where it is progressive", function()
    local content = images["jpeg/progressive/file"]:bytes()
    local shortest = cut_everywhere(content, 3)
    assert.is_true(shortest >= #content - 3)
    assert.error_matches(function() read_string(content:sub(1, -20)) end,
      "^JPEG file 'a.x': the file is truncated: detail of all 21 rows is missing$")
  end)

  it("is not believed to be whole where arithmetic coding would hide what is missing", function()
    local content = file_of "jpeg/arithmetic coding"
    for length = 3, #content - 1 do
      assert.error_matches(function() read_string(content:sub(1, length)) end, "the file is truncated")
    end
  end)
end)

describe("BMP and PPM files", function()
  it("say how many rows are missing when they are cut short", function()
    for _, name in ipairs(names) do
      if has_prefix(name, { "bmp/", "pnm/" }) then
        local content = file_of(name)
        local plain = has_prefix(name, { "pnm/P1", "pnm/P2", "pnm/P3" })
        if has_prefix(name, { "pnm/P2", "pnm/P3" }) then
          content = content:gsub("%d+%s*$", "1") -- half a number would be one, too
        end
        -- 18 bytes tell a BMP file, 4 a PPM file
        local shortest, last = cut_everywhere(content, has_prefix(name, { "bmp/" }) and 18 or 4)
        -- what may go: the last row's padding; the end of runs; the last digits of a text
        assert.is_true(not shortest or shortest >= #content - 4, name)
        assert.is_true(last == 1 or plain, name)
      end
    end
  end)

  it("are refused where their headers ask for what is not there", function()
    local bmp, runs = file_of "bmp/24 bits", file_of "bmp/runs of 8 bits"
    local function little(value) return ("<I4"):pack(value) end
    for message, content in pairs {
      ["70000 x 70000 pixels, expected at most 268435456"] =
        changed(changed(bmp, 19, little(70000)), 23, little(70000)),
      ["4294967295 x 2147483647 pixels, expected at most"] =
        changed(changed(bmp, 19, little(0xffffffff)), 23, little(0x7fffffff)),
      ["9 x 2147483648 pixels, expected at most"] = changed(bmp, 23, little(0x80000000)),
      ["0 x 11 pixels, expected one at least"] = changed(bmp, 19, little(0)),
      ["16000 x 16000 pixels cannot be in %d+ bytes"] = changed(changed(runs, 19, little(16000)), 23, little(16000)),
      ["truncated: 11 of 11 rows are missing"] = changed(bmp, 11, little(#bmp + 1)),
      ["7 bits with compression 0 are not supported"] = changed(bmp, 29, "\7"),
      ["24 bits with compression 1 are not supported"] = changed(bmp, 31, "\1"),
      ["colour 12, but its palette has 12"] = changed(file_of "bmp/palette of 4 bits", 47, "\12"),
    } do
      assert.error_matches(function() read_string(content) end, "^BMP file 'a.x': .*" .. message)
    end
    for message, content in pairs {
      ["the width is 0, expected 1 to"] = "P5 0 3 255 ",
      ["the largest value is 65536, expected 1 to"] = "P6 1 1 65536 x",
      ["99999 x 99999 pixels, expected at most"] = "P4 99999 99999 x",
      ["9999 x 9999 pixels cannot be in 14 bytes"] = "P1 9999 9999 1", ["byte 5: number"] = "P2 3 x",
      ["byte 12: number of 1 to 9 digits"] = "P2 3000000000 3",
      ["value 16, expected at most 15"] = "P2 1 1 15 16 ", ["byte 7: '2', expected 0 or 1"] = "P1 1 1 2",
      ["truncated: 2 of 2 rows are missing"] = "P3 1 2 255 1 2 ",
    } do
      assert.error_matches(function() read_string(content) end, "^PNM file 'a.x': .*" .. message)
    end
  end)

  it("keep no memory after errors", function()
    contents.assert_nothing_kept(read_string, file_of "bmp/24 bits":sub(1, -30))
    contents.assert_nothing_kept(read_string, file_of "bmp/runs of 4 bits":sub(1, -30))
    contents.assert_nothing_kept(read_string, file_of "pnm/P2":sub(1, -30))
    contents.assert_nothing_kept(read_string, file_of "png/gamma":sub(1, -60))
  end)
end)

describe("WebP files", function()
  it("are refused when cut short, damaged or animated", function()
    if not readable.WebP then return pending("this build has no libwebp") end
    local content = file_of "webp/lossy"
    for length = 12, #content - 1, 7 do
      assert.error_matches(function() read_string(content:sub(1, length)) end,
        "^WebP file 'a.x': the file is truncated or damaged")
    end
    assert.error_matches(function() read_string(file_of "other/animated WebP") end, "it is an animation")
  end)
end)
