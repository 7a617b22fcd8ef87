local mt = require "masktune"
local files = require "data.files"
local loopback = require "data.loopback"
local matfile = require "support.matfile"
local svhn = require "masktune.data.sets.svhn"

local function array(name, sizes, values, class, kind)
  return matfile.array { name = name, sizes = sizes, values = values, class = class, kind = kind }
end

local mat = matfile.file

local function value(n, y, x, c) return (41 * n + 7 * y + 3 * x + 90 * c) % 256 end

--- X(y, x, c, n), the first index fastest.
local function pixels(count)
  local bytes = {}
  for n = 1, count do
    for c = 1, 3 do
      for x = 1, 32 do
        for y = 1, 32 do
          bytes[#bytes + 1] = string.char(value(n, y, x, c))
        end
      end
    end
  end
  return table.concat(bytes)
end

local function file_with(labels, sizes)
  return mat(array("X", sizes or { 32, 32, 3, #labels }, pixels(#labels)),
    array("y", { #labels, 1 }, string.char(table.unpack(labels))))
end

describe("mt.data.svhn", function()
  local folder
  before_each(function() folder = files.temporary_folder() end)
  after_each(function() files.remove_folder(folder) end)

  local function read(content, split)
    mt.write_file(folder .. "/" .. svhn.files[split or "test"].name, content)
    return mt.data.svhn { root = folder, split = split or "test" }
  end

  it("gives upright images, the digits, and labels in the order of the digits", function()
    local set = read(file_with { 10, 1, 9 })
    assert.equal("uint8", set.images:dtype())
    assert.same({ 3, 32, 32, 3 }, set.images:shape())
    for _, at in ipairs { { 1, 1, 1 }, { 2, 32, 1 }, { 3, 5, 30 } } do
      local n, y, x = table.unpack(at)
      assert.same({ value(n, y, x, 1), value(n, y, x, 2), value(n, y, x, 3) }, set.images[n][y][x]:totable())
    end
    assert.same({ 0, 1, 9 }, set.digits:totable())
    assert.same({ 1, 2, 10 }, set.labels:totable())
    assert.equal("int32", set.labels:dtype())
    assert.equal(10, set.classes)
    assert.equal("0", set.class_names[1])
  end)

  it("reads labels that MATLAB stores as doubles, and a file with one image", function()
    local set = read(mat(array("X", { 32, 32, 3, 2 }, pixels(2)), array("y", { 2, 1 }, ("<dd"):pack(10, 3), 6, 9)))
    assert.same({ 0, 3 }, set.digits:totable())
    set = read(mat(array("X", { 32, 32, 3 }, pixels(1)), array("y", { 1, 1 }, "\7")), "train")
    assert.same({ 1, 32, 32, 3 }, set.images:shape())
    assert.same({ 8 }, set.labels:totable())
  end)

  it("finds its files in the folder svhn or SVHN below the root", function()
    for count, name in ipairs { "svhn", "SVHN" } do
      local root = folder .. "/" .. count
      mt.make_directory(root .. "/" .. name)
      mt.write_file(root .. "/" .. name .. "/train_32x32.mat", file_with { 1, 2 })
      assert.equal(2, mt.data.size(mt.data.svhn { root = root }))
    end
  end)

  it("says that the full numbers are the other form", function()
    mt.make_directory(folder .. "/train")
    mt.write_file(folder .. "/train/digitStruct.mat", "x")
    assert.error_matches(function() mt.data.svhn { root = folder } end,
      "/train/digitStruct.mat' is of the full numbers %(format 1%); the cropped digits are needed")
  end)

  it("refuses what is not SVHN's, and names the file", function()
    for message, content in pairs {
      ["X is missing, expected uint8 {N,3,32,32}"] = mat(array("y", { 1, 1 }, "\1")),
      ["X is uint8 {3,16,64}, expected"] = file_with({ 1 }, { 64, 16, 3, 1 }),
      ["y is missing, expected 2 labels"] = mat(array("X", { 32, 32, 3, 2 }, pixels(2))),
      ["y is uint8 {1,3}, expected 2 labels"] = mat(array("X", { 32, 32, 3, 2 }, pixels(2)),
        array("y", { 3, 1 }, "\1\2\3")),
      ["label 0 of image 2, expected 1 to 10"] = file_with { 1, 0 },
      ["label 11 of image 1, expected 1 to 10"] = file_with { 11, 3 },
      ["is truncated"] = file_with({ 1, 2 }):sub(1, -100),
    } do
      local ok, problem = pcall(read, content)
      assert.is_false(ok, message)
      assert.truthy(problem:find("test_32x32.mat'", 1, true) and problem:find(message, 1, true), problem)
    end
    assert.error_matches(function() mt.data.svhn { root = folder, split = "train" } end,
      "'train_32x32.mat' not found in: ")
  end)
end)

describe("mt.data.download_svhn", function()
  local missing = loopback.missing()
  if missing then
    it("is not tested here", function() pending(missing) end)
    return
  end

  it("fetches what is missing or has another md5, and only that", function()
    local served, target = files.temporary_folder(), files.temporary_folder()
    local server = loopback.start(served)
    local published = svhn.files
    svhn.files = {}
    for split, file in pairs(published) do
      local content = file_with(split == "train" and { 1, 2, 3 } or { 10 })
      mt.write_file(served .. "/" .. file.name, content)
      svhn.files[split] = { name = file.name, md5 = mt.md5(content) }
    end
    local log = {}
    local function download(behaviour)
      log = {}
      return pcall(mt.data.download_svhn, {
        root = target, mirrors = { server.url .. behaviour }, timeout = 5,
        log = function(line) log[#log + 1] = line end,
      })
    end
    local ok, message = pcall(function()
      assert.is_false((download "wrong"))
      assert.same({}, mt.list_directory(target))
      assert.is_true((download "good"))
      assert.equal(2, #log)
      assert.equal(3, mt.data.size(mt.data.svhn { root = target }))
      mt.write_file(target .. "/test_32x32.mat", "damaged")
      assert.is_true((download "good"))
      assert.equal(1, #log)
    end)
    svhn.files = published
    server.stop()
    files.remove_folder(served)
    files.remove_folder(target)
    assert(ok, message)
  end)
end)
