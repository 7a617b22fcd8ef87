--- The user's images: folders train, val and test, one folder that is split here, or a CSV file. What cannot be read is
-- left out, and all of it said at once.
-- @module masktune.command.parts.photos
local core = require "masktune.core"
local csv = require "masktune.data.csv"
local data = require "masktune.data"
local image_list = require "masktune.data.image_list"
local notice = require "masktune.notice"
local progress = require "masktune.progress"
local readable = require("masktune.words").readable
local tables = require "masktune.tables"

local photos = {}

local VAL_SHARE, TEST_SHARE = 0.2, 0.2 -- of what is left of the images, in this order: test, then val
local MEMORY = 2 << 30 -- bytes of images that are kept decoded
local PHOTO_SIZE, SMALL = 160, 64 -- pixels

local SPLITS = {
  train = { "train", "training" }, val = { "val", "valid", "validation", "dev" }, test = { "test", "testing" },
}

local function fail(message, ...) error("--data: " .. message:format(...), 0) end

--- Which folder each split has; nil where there is no training folder.
local function split_folders(root)
  local found = {}
  for split, names in pairs(SPLITS) do
    for _, name in ipairs(names) do
      local folder = root .. "/" .. name
      if not found[split] and core.path_kind(folder) == "folder" then found[split] = folder end
    end
  end
  return found.train and found or nil
end

-- ---- sizes ----

local DEEPEST = 4

--- The path of some image in a folder or below; nil where there is none.
local function some_image(folder, depth)
  local paths = {}
  for i, name in ipairs(core.list_directory(folder)) do
    paths[i] = folder .. "/" .. name
  end
  local inner = {}
  for i, kind in ipairs(core.image.probe(paths)) do
    if kind == "folder" then inner[#inner + 1] = paths[i] end
    if kind ~= "folder" and pcall(core.image.read, paths[i]) then return paths[i] end
  end
  for _, path in ipairs(depth < DEEPEST and inner or {}) do
    local found = some_image(path, depth + 1)
    if found then return found end
  end
end

--- The size that suits the images: their own where they are small, else that of photos.
function photos.natural_size(path)
  local folder = core.path_kind(path) == "folder" and path or path:match("^(.*)/[^/]*$") or "."
  local image = some_image(folder, 1)
  if not image then return PHOTO_SIZE end
  local shape = core.image.read(image):shape()
  local side = math.min(shape[1], shape[2])
  return side <= SMALL and side or PHOTO_SIZE
end

-- ---- folders ----

--- Names all files that cannot be read.
local function say_left_out(lines, place)
  if #lines == 0 then return end
  progress.note("%d of the image files in '%s' cannot be read and are left out:", #lines, place)
  for _, line in ipairs(lines) do
    progress.note("  %s", (line:gsub("^.-: left out: ", "")))
  end
end

local function read_folder(root, o, class_names)
  local left_out = {}
  local set = data.image_folder {
    root = root, size = o.size, on_error = "skip", class_names = class_names,
    log = function(line)
      if line:find(": left out: ", 1, true) then left_out[#left_out + 1] = line else notice.say("%s", line) end
    end,
  }
  say_left_out(left_out, root)
  return set
end

--- What is missing is split off, drawn with the seed.
local function complete(sets, o)
  local shares = { test = TEST_SHARE, val = VAL_SHARE }
  for _, split in ipairs { "test", "val" } do
    if not sets[split] then
      sets.train, sets[split] = data.split(sets.train, { share = shares[split], seed = o.seed })
      sets.split_off[#sets.split_off + 1] = split
    end
  end
  return sets
end

local function read_folders(o)
  local folders = split_folders(o.data)
  if not folders then return { train = read_folder(o.data, o), split_off = {} } end
  local sets = { train = read_folder(folders.train, o), split_off = {} }
  for _, split in ipairs { "val", "test" } do
    if folders[split] then sets[split] = read_folder(folders[split], o, sets.train.class_names) end
  end
  return sets
end

-- ---- CSV ----

--- What columns may be called, the likeliest first.
local COLUMNS = {
  file = { "file", "filename", "path", "image", "img_filename" }, label = { "label", "class", "y", "target" },
  attribute = { "attribute", "place", "background", "group" }, split = { "split" },
}

local function column(header, kind)
  for _, name in ipairs(COLUMNS[kind]) do
    for _, there in ipairs(header) do
      if there:lower() == name then return there end
    end
  end
end

--- Split -> how the CSV's column calls it.
local function split_values(path, name)
  local found, known = {}, { ["0"] = "train", ["1"] = "val", ["2"] = "test" }
  for split, names in pairs(SPLITS) do
    for _, value in ipairs(names) do
      known[value] = split
    end
  end
  local columns = csv.read(path, { name })
  for _, value in ipairs(columns[name]) do
    local split = known[value:lower()]
    if not split then fail("'%s': split '%s', expected train, val or test", path, value) end
    found[split] = value
  end
  if not found.train then fail("'%s' has no image whose %s is train", path, name) end
  return found
end

--- A set whose images are decoded now: in memory where they fit, without those that cannot be read.
local function decoded(set, o)
  local paths, left_out = {}, {}
  for i, file in ipairs(set.file:totable()) do
    paths[i] = set.files[file]
  end
  local images, positions = image_list.read("masktune", paths, {
    height = o.size, width = o.size, channels = 3, fit = "stretch", on_error = "skip", memory_limit = MEMORY,
    log = function(line) left_out[#left_out + 1] = line end,
  })
  say_left_out(left_out, o.data)
  local whole = data.subset(set, positions)
  whole.images = images
  return whole
end

local function read_csv(o)
  local _, _, header = csv.read(o.data, {})
  local names = {}
  for kind in pairs(COLUMNS) do
    names[kind] = column(header, kind)
  end
  for _, kind in ipairs { "file", "label" } do
    if not names[kind] then
      fail("'%s' has the columns %s, expected one called %s", o.data, table.concat(header, ", "),
        table.concat(COLUMNS[kind], ", "))
    end
  end
  local shared = { path = o.data, file = names.file, label = names.label, attribute = names.attribute, size = o.size }
  if not names.split then return { train = decoded(data.csv(shared), o), split_off = {} } end
  local sets = { split_off = {} }
  local values = split_values(o.data, names.split)
  for _, split in ipairs { "train", "val", "test" } do
    sets[split] = values[split] and decoded(data.csv(tables.merged(shared, {
      split = names.split, wanted = values[split], class_names = sets.train and sets.train.class_names,
    })), o)
  end
  return sets
end

-- ---- all of it ----

--- Reads the user's images.
-- @tparam table o `data` (path), `size`, `seed` (of what is split off)
-- @treturn table `train`, `val`, `test`: data sets; `split_off`: the names of those that were split off here
function photos.load(o)
  local kind = core.path_kind(o.data)
  if not kind then fail("'%s' is not there", o.data) end
  local is_csv = kind == "file" and o.data:lower():find("%.csv$")
  if kind ~= "folder" and not is_csv then fail("'%s' is neither a folder nor a CSV file", o.data) end
  local sets = complete(is_csv and read_csv(o) or read_folders(o), o)
  local names = {}
  for _, split in ipairs { "train", "val", "test" } do
    if data.size(sets[split]) < 2 then
      fail("'%s' leaves %d images for %s, expected 2 or more", o.data, data.size(sets[split]), split)
    end
    sets[split].name = split
    for class, name in ipairs(sets[split].class_names) do
      names[class] = readable(name) -- JSON wants UTF-8
    end
    sets[split].class_names = names
  end
  return sets
end

--- Rows for a CSV file that says which image went where.
function photos.split_rows(sets)
  local rows = {}
  for _, split in ipairs { "train", "val", "test" } do
    local set = sets[split]
    local labels = set.labels:totable()
    for i, file in ipairs(set.file and set.file:totable() or {}) do
      rows[#rows + 1] = { file = set.files[file], label = set.class_names[labels[i]], split = split }
    end
  end
  return rows
end

--- What looks wrong with the sets, in lines.
function photos.warnings(sets)
  local lines, counts = {}, {}
  for _, label in ipairs(sets.train.labels:totable()) do
    counts[label] = (counts[label] or 0) + 1
  end
  for class = 1, sets.train.classes do
    local share = (counts[class] or 0) / data.size(sets.train) * sets.train.classes
    if share < 0.2 then
      lines[#lines + 1] = ("class %s has only %d training images"):format(sets.train.class_names[class],
        counts[class] or 0)
    end
  end
  return lines
end

return photos
