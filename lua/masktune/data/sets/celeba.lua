--- CelebA (Liu et al. 2015): faces with 40 attributes, of which one is the target and one the shortcut.
local check = require "masktune.check"
local core = require "masktune.core"
local csv = require "masktune.data.csv"
local notice = require "masktune.notice"
local photo_set = require "masktune.data.photo_set"
local tables = require "masktune.tables"

local WHERE = "mt.data.celeba"

-- The official split by image number: the last of the training and of the validation split.
local LAST_TRAIN, LAST_VAL = 162770, 182637

local split_numbers = { train = "0", val = "1", test = "2" }

local schema = tables.merged(photo_set.schema, {
  root = { type = "string" },
  attributes = { type = "string", optional = true },
  partition = { type = "string", optional = true },
  split = { choices = { "train", "val", "test" }, default = "train" },
  target = { type = "string", default = "Blond_Hair" },
  attribute = { type = "string", default = "Male" },
})

--- The first of some files that is there.
local function existing(paths)
  for _, path in ipairs(paths) do
    if core.file_exists(path) then return path end
  end
end

--- Image number -> path: files are called 000001.jpg, or IDENTITY_000001.jpg in some collections.
local function images_in(root)
  local folder = existing { root .. "/img_align_celeba/img_align_celeba", root .. "/img_align_celeba", root }
  if not folder then check.fail("%s: option 'root': '%s' does not exist", WHERE, root) end
  local paths, count = {}, 0
  for _, name in ipairs(core.list_directory(folder)) do
    local number = name:match("^(%d+)%.%a+$") or name:match("_(%d+)%.%a+$")
    if number then
      paths[math.tointeger(tonumber(number))] = folder .. "/" .. name
      count = count + 1
    end
  end
  if count == 0 then
    check.fail("%s: no image such as 000001.jpg in '%s'; `root` is the folder with CelebA's img_align_celeba", WHERE,
      folder)
  end
  return paths, folder, count
end

--- The columns of a table that comes as CSV (names in the first line) or as text (names in the second).
local function read_table(path, names, header)
  if path:find("%.csv$") then
    local columns, lines, all = csv.read(path, names)
    return columns, lines, all
  end
  local columns, lines = csv.read_blanks(path, header, names)
  local by_name = {}
  for i, name in ipairs(names) do
    by_name[name] = columns[i]
  end
  return by_name, lines
end

--- The name of the first column of a CSV file; in a text file it has none.
local function first_column(path)
  if not path:find("%.csv$") then return 1 end
  local line = core.read_file(path):match("^[^\r\n]*")
  return (line:match('^"?([^",]*)'))
end

local function number_of(path, line, name)
  local number = math.tointeger(tonumber(name:match("(%d+)%.%a+$")))
  if number then return number end
  error(("'%s', line %d: name of an image such as 000001.jpg expected, got '%s'"):format(path, line, name), 0)
end

--- Image number -> split, from the official partition file, or by number.
local function splits_of(o)
  local path = o.partition or existing { o.root .. "/list_eval_partition.txt", o.root .. "/list_eval_partition.csv" }
  if not path then
    return function(number)
      return number <= LAST_TRAIN and "train" or number <= LAST_VAL and "val" or "test"
    end
  end
  local first = first_column(path)
  local second = path:find("%.csv$") and "partition" or 2
  local columns, lines = read_table(path, { first, second }, nil)
  local splits = {}
  for row, name in ipairs(columns[first]) do
    splits[number_of(path, lines[row], name)] = columns[second][row]
  end
  return function(number)
    for split, value in pairs(split_numbers) do
      if splits[number] == value then return split end
    end
  end
end

--- An attribute is 1, and 0 or -1.
local function yes_or_no(value) return value == "-1" and "0" or value end

--- Reads a split of CelebA from its publisher's layout: `img_align_celeba/` (or the images themselves),
-- `list_attr_celeba.txt` or `.csv`, and `list_eval_partition.txt` or `.csv`; without the latter the official split by
-- image number is taken. A part of the images is fine: it is counted, and said.
-- @function celeba
-- @tparam table options `root`: the folder around img_align_celeba, or with the images; `attributes`, `partition`:
-- paths of the tables (looked for in root); `split` ("train", "val", "test"); `target` ("Blond_Hair"): the label is 1
-- without it, 2 with it; `attribute` ("Male") likewise; `size` (224), `channels` (3), `fit` ("stretch"; "crop")
-- @treturn table data set as from mt.data.waterbirds
local function celeba(options)
  local o = check.options(WHERE, options, schema)
  local images, folder, count = images_in(o.root)
  local path = o.attributes or existing { o.root .. "/list_attr_celeba.txt", o.root .. "/list_attr_celeba.csv" }
  if not path then
    check.fail("%s: no list_attr_celeba.txt or list_attr_celeba.csv in '%s'; `root` is the folder around "
      .. "img_align_celeba, and option 'attributes' names a file that lies elsewhere", WHERE, o.root)
  end
  local first = first_column(path)
  local columns, lines = read_table(path, { first, o.target, o.attribute }, 2)
  local split_of = splits_of(o)
  local rows = { names = {}, paths = {}, lines = {}, label = {}, attribute = {}, source = path, folder = folder }
  local listed = 0
  for row, name in ipairs(columns[first]) do
    local number = number_of(path, lines[row], name)
    if images[number] then listed = listed + 1 end
    if images[number] and split_of(number) == o.split then
      local place = #rows.names + 1
      rows.names[place], rows.paths[place], rows.lines[place] = name, images[number], lines[row]
      rows.label[place] = yes_or_no(columns[o.target][row])
      rows.attribute[place] = yes_or_no(columns[o.attribute][row])
    end
  end
  if listed < #columns[first] then
    notice.say("%s: '%s' has %d of the %d images that '%s' lists", WHERE, folder, listed, #columns[first], path)
  end
  if listed < count then
    notice.say("%s: %d images in '%s' are not listed in '%s', and are left out", WHERE, count - listed, folder, path)
  end
  rows.label_values, rows.class_names = { "0", "1" }, { "not " .. o.target, o.target }
  rows.attribute_values, rows.attribute_names = { "0", "1" }, { "not " .. o.attribute, o.attribute }
  local set = photo_set.build(WHERE, rows, o)
  set.name, set.split = "CelebA", o.split
  return set
end

return { entries = { celeba = celeba }, summary = "faces, hair colour and gender (Liu et al. 2015)" }
