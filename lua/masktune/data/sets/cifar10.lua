--- CIFAR-10 (Krizhevsky 2009), from the published binary batches.
-- A batch is a row of records: a byte with the label 0 to 9, then the 32x32 red values, the green and the blue ones.
-- @module masktune.data.cifar10
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local download = require "masktune.data.download"
local folders = require "masktune.data.folders"
local tar = require "masktune.data.tar"

local cifar10 = {}

local SIDE, CHANNELS = 32, 3
local PIXELS = SIDE * SIDE * CHANNELS
local RECORD = 1 + PIXELS
local RECORDS_PER_FILE = 10000
local FOLDER = "cifar-10-batches-bin"
local places = { "cifar10", FOLDER, "cifar10/" .. FOLDER, "CIFAR10", "CIFAR10/" .. FOLDER }

--- Split -> its files.
cifar10.files = {
  train = { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin" },
  test = { "test_batch.bin" },
}

cifar10.archive = { name = "cifar-10-binary.tar.gz", md5 = "c32a1d4ab5d03f1284b67883e8d87530" }

cifar10.mirrors = { "https://www.cs.toronto.edu/~kriz/" }

--- The classes, in the order of the labels 1 to 10.
cifar10.class_names = {
  "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
}

-- ---- reading ----

local function fail(path, message, ...) error(("mt.data.cifar10: '%s': " .. message):format(path, ...), 0) end

--- The number of records of a file of `size` bytes.
local function count_records(path, size, published)
  local expected = RECORDS_PER_FILE * RECORD
  if published and size ~= expected then
    fail(path, "%d bytes, expected %d (%d images): it is damaged or not the published file", size, expected,
      RECORDS_PER_FILE)
  end
  if size == 0 or size % RECORD ~= 0 then
    fail(path, "%d bytes, expected a multiple of %d (a label and an image each): it is damaged", size, RECORD)
  end
  return size // RECORD
end

--- Labels 1 to 10 of a batch, appended to a list.
local function append_labels(path, content, count, labels)
  for record = 1, count do
    local label = content:byte((record - 1) * RECORD + 1)
    if label > 9 then fail(path, "label %d of image %d, expected 0 to 9: it is damaged", label, record) end
    labels[#labels + 1] = label + 1
  end
end

local function read_batch(path, published, labels)
  local content = core.read_file(path)
  local count = count_records(path, #content, published)
  append_labels(path, content, count, labels)
  local records = core.from_bytes(content, "uint8", { count, RECORD })
  return records:narrow(2, 2, PIXELS):reshape(count, CHANNELS, SIDE, SIDE):permute(1, 3, 4, 2)
end

local function holds(folder, split)
  for _, name in ipairs(cifar10.files[split]) do
    if not folders.has_file(folder .. "/" .. name) then return false end
  end
  return true
end

local BINARY = ("; the binary version is needed (%s), which mt.data.download_cifar10 fetches"):format(
  cifar10.archive.name)

local other_forms = {
  { "cifar-10-batches-py", "the Python version" .. BINARY },
  { "data_batch_1", "of the Python version" .. BINARY },
  { "cifar-10-python.tar.gz", "the Python version" .. BINARY },
  { "cifar-10-batches-mat", "the MATLAB version" .. BINARY },
  { "data_batch_1.mat", "of the MATLAB version" .. BINARY },
  { cifar10.archive.name, "the archive, not yet unpacked (tar xzf FILE)" },
  { "train/airplane", "a folder of images; the folder above it is a root for mt.data.image_folder" },
}

--- Reads CIFAR-10.
-- @tparam[opt] table options `root`: the folder with the .bin files, directly or in cifar-10-batches-bin, cifar10 or
-- CIFAR10 (without it $MASKTUNE_DATA, ./data and the user's cache folder are searched); `split`: "train" (50,000,
-- default) or "test" (10,000); `published` (true): each file must have the published size; false: any number of images
-- @treturn table data set: images uint8 {N,32,32,3}, labels int32 {N} in 1..10, class_names
-- @raise naming the file: missing, of a wrong size, or with a label that is none
function cifar10.read(options)
  local o = check.options("mt.data.cifar10", options, {
    root = { type = "string", optional = true },
    split = { choices = { "train", "test" }, default = "train" },
    published = { type = "boolean", default = true },
  })
  local folder, searched, where = folders.find(o.root, places, function(place) return holds(place, o.split) end)
  if not folder then
    error(("mt.data.cifar10: '%s' not found in: %s%s"):format(table.concat(cifar10.files[o.split], "', '"),
      where, folders.hint(searched, other_forms)), 2)
  end
  local parts, labels = {}, {}
  for i, name in ipairs(cifar10.files[o.split]) do
    parts[i] = read_batch(folder .. "/" .. name, o.published, labels)
  end
  return dataset.named {
    images = core.cat(parts, 1),
    labels = core.tensor(labels, { dtype = "int32" }),
    classes = 10,
    class_names = cifar10.class_names,
    name = "CIFAR-10",
    split = o.split,
  }
end

-- ---- fetching ----

local function has_size(path, size)
  local file <close> = io.open(path, "rb")
  return file ~= nil and file:seek("end") == size
end

local function is_complete(folder)
  for _, names in pairs(cifar10.files) do
    for _, name in ipairs(names) do
      if not has_size(folder .. "/" .. name, RECORDS_PER_FILE * RECORD) then return false end
    end
  end
  return true
end

--- Writes the batches of an archive into a folder.
local function extract(archive, folder)
  local wanted, content = {}, core.gunzip(archive)
  for _, names in pairs(cifar10.files) do
    for _, name in ipairs(names) do
      wanted[FOLDER .. "/" .. name] = name
    end
  end
  for path, first, last in tar.files(content, archive) do
    local name = wanted[path]
    if name then core.write_file(folder .. "/" .. name, content:sub(first, last)) end
    wanted[path] = nil
  end
  local missing = next(wanted)
  if missing then error(("mt.data.download_cifar10: '%s' has no file '%s'"):format(archive, missing), 0) end
end

--- Fetches CIFAR-10 into a folder, unless its six files are there with their sizes. The archive is taken apart only
-- when its md5 was found right, and not kept.
-- @tparam[opt] table options `root` (the user's cache folder), `mirrors` (list of base URLs), `timeout` (seconds
-- without data after which a mirror is given up; 20), `log` (function called with a line of text; standard error)
-- @treturn string the folder
-- @raise with every mirror tried and why it failed
function cifar10.download(options)
  local o = check.options("mt.data.download_cifar10", options, download.option_schema(cifar10.mirrors))
  local folder = folders.target("mt.data.download_cifar10", o.root, "cifar10")
  if is_complete(folder) then return folder end
  core.make_directory(folder)
  local archive = folder .. "/" .. cifar10.archive.name
  download.fetch {
    mirrors = o.mirrors, name = cifar10.archive.name, path = archive, timeout = o.timeout, log = o.log,
    problem = function(path) return download.file_md5_problem(path, cifar10.archive.md5) end,
  }
  extract(archive, folder)
  core.remove_file(archive)
  return folder
end

--- What mt.data gives of it (masktune.registry).
cifar10.entries = {
  cifar10 = cifar10.read,
  download_cifar10 = cifar10.download,
}
cifar10.summary = {
  cifar10 = "photos of 10 classes, 50,000 + 10,000 of 32x32 (Krizhevsky 2009)",
  download_cifar10 = "fetches CIFAR-10",
}

return cifar10
