local mt = require "masktune"
local files = require "data.files"
local mnist = require "masktune.data.sets.mnist"

describe("mt.data.mnist", function()
  local folder

  before_each(function() folder = files.temporary_folder() end)
  after_each(function() files.remove_folder(folder) end)

  it("gives images with one channel, digits, and labels one higher", function()
    files.write_mnist(folder, "test", { 0, 9, 5 })
    local set = mt.data.mnist { root = folder, split = "test" }
    assert.same({ 3, 2, 3, 1 }, set.images:shape())
    assert.equal("uint8", set.images:dtype())
    assert.same({ { { 7 }, { 8 }, { 9 } }, { { 10 }, { 11 }, { 12 } } }, set.images:totable()[2])
    assert.equal("int32", set.labels:dtype())
    assert.same({ 0, 9, 5 }, set.digits:totable())
    assert.same({ 1, 10, 6 }, set.labels:totable())
    assert.equal(10, set.classes)
  end)

  it("reads gzipped files and the folder mnist below the root", function()
    mt.make_directory(folder .. "/mnist")
    files.write_mnist(folder .. "/mnist", "train", { 3 }, ".gz")
    assert.same({ 3 }, mt.data.mnist({ root = folder }).digits:totable())
  end)

  it("knows the names and folders that other programs give the files", function()
    for _, place in ipairs { "mnist", "MNIST/raw", "MNIST", "raw" } do
      for _, suffix in ipairs { "", ".gz" } do
        local root = folder .. "/" .. place:gsub("/", "_") .. suffix
        mt.make_directory(root .. "/" .. place)
        files.write_mnist(root .. "/" .. place, "train", { 3 }, suffix)
        assert.same({ 3 }, mt.data.mnist({ root = root }).digits:totable())
      end
    end
    for _, form in ipairs { "%s/train-%s.idx%d-ubyte", "%s/train-%s-idx%d-ubyte/train-%s-idx%d-ubyte" } do
      local root = folder .. "/" .. #form
      for what, axes in pairs { images = 3, labels = 1 } do
        local name = form:format(root, what, axes, what, axes)
        mt.make_directory(name:match "^(.*)/")
        mt.write_file(name, files.idx(axes == 3 and { 2, 1, 1 } or { 2 }, "\7\8"))
      end
      assert.same({ 7, 8 }, mt.data.mnist({ root = root }).digits:totable())
    end
  end)

  it("does not wait for what is no regular file", function()
    files.write_mnist(folder, "train", { 3 }, ".gz")
    os.execute(("mkfifo %s/train-images-idx3-ubyte"):format(folder))
    assert.same({ 3 }, mt.data.mnist({ root = folder }).digits:totable())
  end)

  it("says what MNIST in another form is, and which form it needs", function()
    mt.write_file(folder .. "/mnist.npz", "x")
    assert.error_matches(function() mt.data.mnist { root = folder } end,
      "; '" .. folder .. "/mnist.npz' is Keras's MNIST; the four idx files are needed")
  end)

  it("says which files it missed, and where", function()
    files.write_mnist(folder, "train", { 1 })
    local ok, message = pcall(mt.data.mnist, { root = folder, split = "test" })
    assert.is_false(ok)
    assert.truthy(message:find("'t10k-images-idx3-ubyte' and 't10k-labels-idx1-ubyte' (or .gz) not found in: "
      .. folder .. " (directly, or in mnist, MNIST/raw, MNIST, raw)", 1, true), message)
  end)

  it("refuses counts that differ between images and labels", function()
    files.write_mnist(folder, "train", { 1, 2, 3 })
    mt.write_file(folder .. "/train-labels-idx1-ubyte", files.idx({ 2 }, "\1\2"))
    assert.error_matches(function() mt.data.mnist { root = folder } end,
      "images%-idx3%-ubyte' has 3 images, but '.*labels%-idx1%-ubyte' has 2 labels")
  end)

  it("refuses a label that is no digit", function()
    files.write_mnist(folder, "train", { 1, 10 })
    assert.error_matches(function() mt.data.mnist { root = folder } end,
      "labels%-idx1%-ubyte': label 10 of image 2, expected 0 to 9")
  end)

  it("refuses images that are not, and options it does not have", function()
    files.write_mnist(folder, "train", { 1 })
    mt.write_file(folder .. "/train-images-idx3-ubyte", files.idx({ 1 }, "\1"))
    assert.error_matches(function() mt.data.mnist { root = folder } end, "wrong magic 0x00000801, expected 0x00000803")
    assert.error_matches(function() mt.data.mnist { split = "val" } end, "option 'split': 'train' or 'test' expected")
    assert.error_matches(function() mt.data.mnist { path = "x" } end,
      "unknown option 'path', expected one of: root, split")
  end)
end)

describe("mt.data.find_mnist", function()
  local folder, environment, getenv

  before_each(function()
    folder = files.temporary_folder()
    environment = {}
    getenv = stub(os, "getenv", function(name) return environment[name] end)
  end)
  after_each(function()
    getenv:revert()
    files.remove_folder(folder)
  end)

  local function complete(name)
    local path = folder .. "/" .. name
    mt.make_directory(path)
    files.write_mnist(path, "train", { 1 }, ".gz")
    files.write_mnist(path, "test", { 1 })
    return path
  end

  it("takes the given folder and no other", function()
    environment.MASKTUNE_DATA = complete "environment"
    local given = complete "given"
    assert.equal(given, mt.data.find_mnist(given))
    local found, searched = mt.data.find_mnist(folder .. "/absent")
    assert.is_nil(found)
    assert.same({ folder .. "/absent", folder .. "/absent/mnist", folder .. "/absent/MNIST/raw",
      folder .. "/absent/MNIST", folder .. "/absent/raw" }, searched)
  end)

  it("asks $MASKTUNE_DATA before the user's cache folder", function()
    environment.XDG_CACHE_HOME = folder
    local cached = complete "masktune/mnist"
    assert.equal(cached, mt.data.find_mnist())
    environment.MASKTUNE_DATA = folder .. "/data"
    local named = complete "data/mnist"
    assert.equal(named, mt.data.find_mnist())
  end)

  it("falls back to ~/.cache and skips folders that lack a file", function()
    environment.HOME = folder
    environment.MASKTUNE_DATA = complete "partial"
    os.remove(folder .. "/partial/t10k-labels-idx1-ubyte")
    local cached = complete ".cache/masktune/mnist"
    assert.equal(cached, mt.data.find_mnist())
  end)

  it("lists where it looked", function()
    environment.HOME = folder
    local found, searched = mt.data.find_mnist()
    assert.is_nil(found)
    local cache = folder .. "/.cache/masktune/mnist"
    assert.same({ "./data", "./data/mnist", "./data/MNIST/raw", "./data/MNIST", "./data/raw", cache, cache .. "/mnist",
      cache .. "/MNIST/raw", cache .. "/MNIST", cache .. "/raw" }, searched)
  end)
end)

describe("the published MNIST", function()
  local root = mt.data.find_mnist()

  for split, count in pairs { train = 60000, test = 10000 } do
    it("has the published sums and counts: " .. split, function()
      if not root then return pending("MNIST is not on this machine; set MASKTUNE_DATA to its folder") end
      for _, file in pairs(mnist.files[split]) do
        local path = root .. "/" .. file.name
        local content = mt.file_exists(path) and mt.read_file(path) or mt.gunzip(path .. ".gz")
        assert.equal(file.md5, mt.md5(content))
      end
      local set = mt.data.mnist { root = root, split = split }
      assert.same({ count, 28, 28, 1 }, set.images:shape())
      assert.equal(count, mt.data.size(set))
    end)
  end
end)
