--- SVHN, street view house numbers (Netzer et al. 2011), cropped digits, from the published MATLAB files.
-- The files call the digit 0 label 10. Labels here are in the order of the digits: digit + 1.
-- @module masktune.data.svhn
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local download = require "masktune.data.download"
local folders = require "masktune.data.folders"

local svhn = {}

local SIDE, CHANNELS = 32, 3

--- Split -> file name and md5.
svhn.files = {
  train = { name = "train_32x32.mat", md5 = "e26dedcc434d2e4c54c9b2d4a06d8373" },
  test = { name = "test_32x32.mat", md5 = "eb5a983be6a315427106f1b164d9cef3" },
}

svhn.mirrors = { "http://ufldl.stanford.edu/housenumbers/" }

svhn.class_names = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" }

-- ---- reading ----

local function fail(path, message, ...) error(("mt.data.svhn: '%s': " .. message):format(path, ...), 0) end

local function describe(tensor)
  return tensor and ("%s {%s}"):format(tensor:dtype(), table.concat(tensor:shape(), ",")) or "missing"
end

--- X as {N,H,W,C}; read_mat gives {N,C,W,H}, and leaves N away where it is 1.
local function images_of(path, x)
  local shape = x and x:shape() or {}
  if #shape == 3 then table.insert(shape, 1, 1) end
  if not x or x:dtype() ~= "uint8" or #shape ~= 4 or shape[2] ~= CHANNELS or shape[3] ~= SIDE or shape[4] ~= SIDE then
    fail(path, "X is %s, expected uint8 {N,%d,%d,%d}", describe(x), CHANNELS, SIDE, SIDE)
  end
  return x:reshape(shape):permute(1, 4, 3, 2):clone()
end

--- The digits of the labels 1 to 10.
local function digits_of(path, y, count)
  local values = y and y:to("float32"):reshape(-1):totable()
  if not values or #values ~= count then fail(path, "y is %s, expected %d labels", describe(y), count) end
  for i, value in ipairs(values) do
    local label = math.tointeger(value)
    if not label or label < 1 or label > 10 then
      fail(path, "label %s of image %d, expected 1 to 10 (10 is the digit 0)", label or value, i)
    end
    values[i] = label % 10
  end
  return core.tensor(values, { dtype = "int32" })
end

local FULL = "of the full numbers (format 1); the cropped digits are needed (format 2), which "
  .. "mt.data.download_svhn fetches"

local other_forms = {
  { "digitStruct.mat", FULL },
  { "train/digitStruct.mat", FULL },
  { "test/digitStruct.mat", FULL },
  { "train.tar.gz", FULL },
  { "test.tar.gz", FULL },
}

--- Reads SVHN.
-- @tparam[opt] table options `root`: the folder with the .mat files, directly or in svhn or SVHN (without it
-- $MASKTUNE_DATA, ./data and the user's cache folder are searched); `split`: "train" (73,257, default) or "test"
-- (26,032)
-- @treturn table data set: images uint8 {N,32,32,3}, digits int32 {N} in 0..9, labels int32 {N} = digits + 1,
-- class_names
-- @raise naming the file: missing, damaged, or not what SVHN's files hold
function svhn.read(options)
  local o = check.options("mt.data.svhn", options, {
    root = { type = "string", optional = true },
    split = { choices = { "train", "test" }, default = "train" },
  })
  local name = svhn.files[o.split].name
  local folder, searched, where = folders.find(o.root, { "svhn", "SVHN" },
    function(place) return folders.has_file(place .. "/" .. name) end)
  if not folder then
    error(("mt.data.svhn: '%s' not found in: %s%s"):format(name, where, folders.hint(searched, other_forms)), 2)
  end
  local path = folder .. "/" .. name
  local arrays = core.read_mat(path)
  local images = images_of(path, arrays.X)
  local digits = digits_of(path, arrays.y, #images)
  return dataset.named {
    images = images,
    digits = digits,
    labels = digits + 1,
    classes = 10,
    class_names = svhn.class_names,
    name = "SVHN",
    split = o.split,
  }
end

-- ---- fetching ----

--- Fetches train_32x32.mat and test_32x32.mat into a folder. Files that are there and intact stay; the others are put
-- in place only after their md5 was found right.
-- @tparam[opt] table options `root` (the user's cache folder), `mirrors` (list of base URLs), `timeout` (seconds
-- without data after which a mirror is given up; 20), `log` (function called with a line of text; standard error)
-- @treturn string the folder
-- @raise with every mirror tried and why it failed
function svhn.download(options)
  local o = check.options("mt.data.download_svhn", options, download.option_schema(svhn.mirrors))
  local folder = folders.target("mt.data.download_svhn", o.root, "svhn")
  core.make_directory(folder)
  for _, split in ipairs { "train", "test" } do
    local file = svhn.files[split]
    local path = folder .. "/" .. file.name
    if not core.file_exists(path) or download.file_md5_problem(path, file.md5) then
      download.fetch {
        mirrors = o.mirrors, name = file.name, path = path, timeout = o.timeout, log = o.log,
        problem = function(temporary) return download.file_md5_problem(temporary, file.md5) end,
      }
    end
  end
  return folder
end

--- What mt.data gives of it (masktune.registry).
svhn.entries = {
  svhn = svhn.read,
  download_svhn = svhn.download,
}
svhn.summary = {
  svhn = "street view house numbers, 73,257 + 26,032 of 32x32 (Netzer et al. 2011)",
  download_svhn = "fetches SVHN",
}

return svhn
