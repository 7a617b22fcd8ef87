local mt = require "masktune"
local cifar10 = require "masktune.data.sets.cifar10"
local files = require "data.files"
local loopback = require "data.loopback"
local tarfile = require "support.tarfile"

local RECORD = 3073

--- A batch of images whose pixel at (channel, row, column) of image n is a formula that the tests know.
local function value(n, c, y, x) return (37 * n + 101 * c + 5 * y + 3 * x) % 256 end

local function batch(labels)
  local records = {}
  for n, label in ipairs(labels) do
    local bytes = { string.char(label) }
    for c = 0, 2 do
      for y = 0, 31 do
        for x = 0, 31 do
          bytes[#bytes + 1] = string.char(value(n, c, y, x))
        end
      end
    end
    records[n] = table.concat(bytes)
  end
  return table.concat(records)
end

local function write_all(folder, content)
  for _, names in pairs(cifar10.files) do
    for _, name in ipairs(names) do
      mt.write_file(folder .. "/" .. name, content)
    end
  end
end

describe("mt.data.cifar10", function()
  local folder
  before_each(function() folder = files.temporary_folder() end)
  after_each(function() files.remove_folder(folder) end)

  local function read(options)
    options.root = options.root or folder
    if options.published == nil then options.published = false end
    return mt.data.cifar10(options)
  end

  it("puts the planes of a record into pixels, and counts labels from 1", function()
    mt.write_file(folder .. "/test_batch.bin", batch { 0, 9, 4 })
    local set = read { split = "test" }
    assert.equal("uint8", set.images:dtype())
    assert.same({ 3, 32, 32, 3 }, set.images:shape())
    for _, at in ipairs { { 1, 0, 0 }, { 2, 31, 0 }, { 3, 7, 30 } } do
      local n, y, x = table.unpack(at)
      assert.same({ value(n, 0, y, x), value(n, 1, y, x), value(n, 2, y, x) },
        set.images[n][y + 1][x + 1]:totable())
    end
    assert.same({ 1, 10, 5 }, set.labels:totable())
    assert.equal(10, set.classes)
    assert.equal("airplane", set.class_names[1])
    assert.equal("truck", set.class_names[10])
    assert.equal("CIFAR-10", set.name)
  end)

  it("reads the five training files one after the other, also below the root", function()
    mt.make_directory(folder .. "/cifar-10-batches-bin")
    for i = 1, 5 do
      mt.write_file(("%s/cifar-10-batches-bin/data_batch_%d.bin"):format(folder, i), batch { i, i + 1 })
    end
    local set = read {}
    assert.same({ 10, 32, 32, 3 }, set.images:shape())
    assert.same({ 2, 3, 3, 4, 4, 5, 5, 6, 6, 7 }, set.labels:totable())
  end)

  it("refuses files that do not have the published size, unless told that they are others", function()
    mt.write_file(folder .. "/test_batch.bin", batch { 1 })
    assert.error_matches(function() read { split = "test", published = true } end,
      "test_batch.bin': 3073 bytes, expected 30730000 %(10000 images%)")
  end)

  it("refuses broken records and labels that are none, and names the file", function()
    local path = folder .. "/test_batch.bin"
    for content, message in pairs {
      [""] = "0 bytes, expected a multiple of 3073",
      [batch { 1, 2 }:sub(1, -2)] = "6145 bytes, expected a multiple of 3073",
      [batch { 1, 10 }] = "label 10 of image 2, expected 0 to 9",
    } do
      mt.write_file(path, content)
      local ok, problem = pcall(read, { split = "test" })
      assert.is_false(ok)
      assert.truthy(problem:find("mt.data.cifar10: '" .. path .. "': " .. message, 1, true), problem)
    end
  end)

  it("says which files it missed, and where", function()
    mt.write_file(folder .. "/data_batch_1.bin", batch { 1 })
    local ok, message = pcall(read, {})
    assert.is_false(ok)
    assert.truthy(message:find("'data_batch_1.bin', 'data_batch_2.bin'", 1, true), message)
    assert.truthy(message:find("not found in: " .. folder .. " (directly, or in cifar10, ", 1, true), message)
  end)

  it("says what CIFAR-10 in another form is, and which form it needs", function()
    for form, text in pairs {
      ["cifar-10-batches-py/data_batch_1"] = "/cifar-10-batches-py' is the Python version; the binary version is "
        .. "needed (cifar-10-binary.tar.gz), which mt.data.download_cifar10 fetches",
      ["data_batch_1"] = "/data_batch_1' is of the Python version; ",
      ["data_batch_1.mat"] = "' is of the MATLAB version",
      ["cifar-10-binary.tar.gz"] = "' is the archive, not yet unpacked",
      ["train/airplane/0001.png"] = "/train/airplane' is a folder of images; the folder above it is a root for "
        .. "mt.data.image_folder",
    } do
      local root = folder .. "/" .. #text
      mt.make_directory((root .. "/" .. form):match "^(.*)/")
      mt.write_file(root .. "/" .. form, "x")
      local ok, message = pcall(read, { root = root })
      assert.is_false(ok)
      assert.truthy(message:find("; '" .. root, 1, true) and message:find(text, 1, true), message)
    end
  end)

  it("refuses unknown options", function()
    assert.error_matches(function() mt.data.cifar10 { path = "x" } end, "unknown option 'path'")
    assert.error_matches(function() mt.data.cifar10 { split = "val" } end, "option 'split'")
  end)
end)

-- ---- the archive ----

local function tar(contents) return tarfile.archive("cifar-10-batches-bin/", contents) end

describe("tar archives", function()
  local reader = require "masktune.data.tar"

  local function list(content)
    local found = {}
    for name, first, last in reader.files(content, "a.tar") do
      found[#found + 1] = { name, content:sub(first, last) }
    end
    return found
  end

  it("give their plain files", function()
    local entries = { { "a/b", "text" }, { "empty", "" }, { "c", ("x"):rep(512) }, { "d", ("y"):rep(513) } }
    assert.same(entries, list(tar(entries)))
  end)

  it("are what the program tar writes", function()
    local folder = files.temporary_folder()
    mt.write_file(folder .. "/one", "1")
    mt.write_file(folder .. "/two", ("2"):rep(2000))
    os.execute(("cd %s && tar cf all.tar one two"):format(folder))
    local found = list(mt.read_file(folder .. "/all.tar"))
    files.remove_folder(folder)
    assert.same({ { "one", "1" }, { "two", ("2"):rep(2000) } }, found)
  end)

  it("are refused when cut short or damaged", function()
    local whole = tar { { "a", ("x"):rep(600) } }
    for length = 0, #whole - 1024, 64 do
      assert.error_matches(function() list(whole:sub(1, length)) end, "'a.tar': the archive is truncated")
    end
    for position = 1, 1024, 9 do -- two headers: of the folder and of the file
      local changed = whole:sub(1, position - 1) .. string.char(whole:byte(position) ~ 1) .. whole:sub(position + 1)
      assert.error_matches(function() list(changed) end, "'a.tar': the archive is [dt]")
    end
  end)
end)

describe("mt.data.download_cifar10", function()
  local missing = loopback.missing()
  if missing then
    it("is not tested here", function() pending(missing) end)
    return
  end

  local served, target, server
  local published = cifar10.archive

  local function serve(contents)
    local archive = mt.gzip(tar(contents))
    mt.write_file(served .. "/cifar-10-binary.tar.gz", archive)
    cifar10.archive = { name = published.name, md5 = mt.md5(archive) }
  end

  local function download(behaviour)
    return pcall(mt.data.download_cifar10, {
      root = target .. "/new", mirrors = { server.url .. behaviour }, timeout = 5, log = function() end,
    })
  end

  setup(function()
    served = files.temporary_folder()
    server = loopback.start(served)
  end)
  teardown(function()
    server.stop()
    files.remove_folder(served)
  end)
  before_each(function() target = files.temporary_folder() end)
  after_each(function()
    cifar10.archive = published
    files.remove_folder(target)
  end)

  it("takes the archive apart, and does not keep it", function()
    local contents = { { "cifar-10-batches-bin/readme.html", "hello" } }
    for _, names in pairs(cifar10.files) do
      for _, name in ipairs(names) do
        contents[#contents + 1] = { "cifar-10-batches-bin/" .. name, batch { #contents } }
      end
    end
    serve(contents)
    local ok, folder = download "good"
    assert.is_true(ok, folder)
    assert.same({
      "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin",
      "test_batch.bin",
    }, mt.list_directory(folder))
    assert.equal(5, mt.data.size(mt.data.cifar10 { root = folder, published = false }))
  end)

  it("refuses an archive with another md5, and one that lacks a file", function()
    serve { { "cifar-10-batches-bin/test_batch.bin", "x" } }
    local ok, message = download "wrong"
    assert.is_false(ok)
    assert.truthy(message:find("its md5 is %x+, expected " .. cifar10.archive.md5), message)
    ok, message = download "good"
    assert.is_false(ok)
    assert.truthy(message:find("has no file 'cifar%-10%-batches%-bin/data_batch_%d.bin'"), message)
  end)

  it("fetches nothing where the files are there with their sizes", function()
    mt.make_directory(target .. "/new")
    local zeros = ("\0"):rep(10000 * RECORD)
    local first = target .. "/new/data_batch_1.bin"
    mt.write_file(first, zeros)
    for i = 2, 5 do
      os.execute(("ln %s %s/new/data_batch_%d.bin"):format(first, target, i))
    end
    os.execute(("ln %s %s/new/test_batch.bin"):format(first, target))
    assert.is_true((download "absent"))
    write_all(target .. "/new", "damaged")
    assert.is_false((download "absent"))
  end)
end)
