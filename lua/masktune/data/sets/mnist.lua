--- MNIST (LeCun, Cortes, Burges): where its files are, how they are fetched and read.
-- @module masktune.data.mnist
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local download = require "masktune.data.download"
local folders = require "masktune.data.folders"
local idx = require "masktune.data.idx"

local mnist = {}

--- Split -> what -> file name and md5 of the uncompressed content.
mnist.files = {
  train = {
    images = { name = "train-images-idx3-ubyte", md5 = "6bbc9ace898e44ae57da46a324031adb" },
    labels = { name = "train-labels-idx1-ubyte", md5 = "a25bea736e30d166cdddb491f175f624" },
  },
  test = {
    images = { name = "t10k-images-idx3-ubyte", md5 = "2646ac647ad5339dbf082846283269ea" },
    labels = { name = "t10k-labels-idx1-ubyte", md5 = "27ae3e4e09519cfbb04c329615203637" },
  },
}

--- Public copies of the gzipped files.
mnist.mirrors = {
  "https://ossci-datasets.s3.amazonaws.com/mnist/",
  "https://storage.googleapis.com/cvdf-datasets/mnist/",
}

-- ---- where ----

--- Where MNIST lies below the folder it was put in; MNIST/raw and raw are torchvision's.
local places = { "mnist", "MNIST/raw", "MNIST", "raw" }

--- The path of a file as it is on disk, plain or gzipped; nil where it is not. Some programs unpack `a-idx3-ubyte` as
-- `a.idx3-ubyte`, or into a folder of its own name.
local function existing(folder, name)
  local dotted = name:gsub("%-idx", ".idx")
  for _, spelling in ipairs { name, dotted } do
    for _, ending in ipairs { "", ".gz", "/" .. spelling } do
      local path = folder .. "/" .. spelling .. ending
      if folders.has_file(path) then return path end
    end
  end
end

local function holds(folder, split)
  for _, file in pairs(mnist.files[split]) do
    if not existing(folder, file.name) then return false end
  end
  return true
end

--- The folder masktune keeps MNIST in for this user.
-- @treturn ?string nil where neither XDG_CACHE_HOME nor HOME is set
function mnist.cache_folder() return folders.cache "mnist" end

local function find(root, splits)
  return folders.find(root, places, function(folder)
    for _, split in ipairs(splits) do
      if not holds(folder, split) then return false end
    end
    return true
  end)
end

--- The folder that holds all four files, plain or .gz, directly or in a folder mnist, MNIST/raw, MNIST or raw.
-- @tparam[opt] string root where to look; else $MASKTUNE_DATA, ./data and the user's cache folder, in this order
-- @treturn ?string folder; nil where no place has them
-- @treturn ?table the folders that were looked at, when none has them
function mnist.find(root)
  check.argument("mt.data.find_mnist", "root", root, { type = "string", optional = true })
  return find(root, { "train", "test" })
end

-- ---- reading ----

local next_byte = {}
for digit = 0, 9 do
  next_byte[string.char(digit)] = string.char(digit + 1)
end

--- Labels 1..10 of the digits 0..9.
local function labels_of(path, digits)
  local bytes = digits:bytes()
  local at = bytes:find("[^\0-\9]")
  if at then
    error(("mt.data.mnist: '%s': label %d of image %d, expected 0 to 9"):format(path, bytes:byte(at), at), 0)
  end
  local labels = bytes:gsub(".", next_byte)
  return core.from_bytes(labels, "uint8", #digits):to("int32")
end

local function read_split(folder, files)
  local images_path, labels_path = existing(folder, files.images.name), existing(folder, files.labels.name)
  local images, digits = idx.read(images_path, 3), idx.read(labels_path, 1)
  if #images ~= #digits then
    error(("mt.data.mnist: '%s' has %d images, but '%s' has %d labels"):format(
      images_path, #images, labels_path, #digits), 0)
  end
  local shape = images:shape()
  return dataset.named {
    images = images:reshape(shape[1], shape[2], shape[3], 1),
    digits = digits:to("int32"),
    labels = labels_of(labels_path, digits),
  }
end

local other_forms = {
  { "mnist.npz", "Keras's MNIST; the four idx files are needed, which mt.data.download_mnist fetches" },
  { "mnist.pkl.gz", "a Python pickle of MNIST; the four idx files are needed, which mt.data.download_mnist fetches" },
  { "processed/training.pt", "an old torchvision's MNIST; the four idx files are needed, usually in the folder raw" },
}

--- Reads MNIST.
-- @tparam[opt] table options `root`: the folder (see find_mnist; without it the usual places are searched);
-- `split`: "train" (60,000, default) or "test" (10,000)
-- @treturn table data set: images uint8 {N,28,28,1}, digits int32 {N} in 0..9, labels int32 {N} = digits + 1
-- @raise naming the file: missing, damaged, or counts that differ
function mnist.read(options)
  local o = check.options("mt.data.mnist", options, {
    root = { type = "string", optional = true },
    split = { choices = { "train", "test" }, default = "train" },
  })
  local files = mnist.files[o.split]
  local folder, searched, where = find(o.root, { o.split })
  if not folder then
    error(("mt.data.mnist: '%s' and '%s' (or .gz) not found in: %s%s"):format(files.images.name, files.labels.name,
      where, folders.hint(searched, other_forms)), 2)
  end
  local set = read_split(folder, files)
  set.classes, set.name, set.split = 10, "MNIST", o.split
  return set
end

-- ---- fetching ----

local function is_intact(path, md5)
  local ok, content = pcall(core.gunzip, path)
  return ok and core.md5(content) == md5
end

--- Fetches the four files, gzipped, into a folder. Files that are there and intact stay; the others are put in place
-- only after their md5 was found right.
-- @tparam[opt] table options `root` (the user's cache folder), `mirrors` (list of base URLs), `timeout` (seconds
-- without data after which a mirror is given up; 20), `log` (function called with a line of text; standard error)
-- @treturn string the folder
-- @raise with every mirror tried and why it failed
function mnist.download(options)
  local o = check.options("mt.data.download_mnist", options, download.option_schema(mnist.mirrors))
  local folder = folders.target("mt.data.download_mnist", o.root, "mnist")
  core.make_directory(folder)
  for _, split in ipairs { "train", "test" } do
    for _, what in ipairs { "images", "labels" } do
      local file = mnist.files[split][what]
      local name = file.name .. ".gz"
      if not is_intact(folder .. "/" .. name, file.md5) then
        download.fetch {
          mirrors = o.mirrors, name = name, path = folder .. "/" .. name, timeout = o.timeout, log = o.log,
          problem = function(path) return download.md5_problem(path, file.md5) end,
        }
      end
    end
  end
  return folder
end

--- What mt.data gives of it (masktune.registry).
mnist.entries = {
  mnist = mnist.read,
  find_mnist = mnist.find,
  download_mnist = mnist.download,
}
mnist.summary = {
  mnist = "handwritten digits, 60,000 + 10,000 of 28x28 (LeCun, Cortes, Burges)",
  find_mnist = "the folder that holds MNIST",
  download_mnist = "fetches MNIST",
}

return mnist
