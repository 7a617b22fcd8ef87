--- ImageNet-9 and the Background Challenge (Xiao et al. 2021): nine classes, foregrounds and backgrounds taken apart.
local check = require "masktune.check"
local core = require "masktune.core"
local image_files = require "masktune.data.image_files"
local notice = require "masktune.notice"
local photo_set = require "masktune.data.photo_set"
local tables = require "masktune.tables"

local WHERE = "mt.data.background_challenge"

local variants = {
  "original", "mixed_same", "mixed_rand", "mixed_next", "only_fg", "no_fg", "only_bg_b", "only_bg_t",
}

local schema = tables.merged(photo_set.schema, {
  root = { type = "string" },
  variant = { choices = variants, default = "original" },
  split = { choices = { "train", "val" }, default = "val" },
})

--- Whether a folder is called like a variant.
local function is_variant(folder)
  local own = folder:match("([^/]*)/*$")
  for _, variant in ipairs(variants) do
    if own == variant then return true end
  end
  return false
end

--- The folder of a variant's split: root/VARIANT/SPLIT; the original images also lie alone, in root/SPLIT, as in9l's
-- do.
local function folder_of(o)
  local places = { ("%s/%s/%s"):format(o.root, o.variant, o.split) }
  if o.variant == "original" and not is_variant(o.root) then places[2] = ("%s/%s"):format(o.root, o.split) end
  for _, place in ipairs(places) do
    if core.file_exists(place) then return place end
  end
  if not core.file_exists(o.root) then check.fail("%s: option 'root': '%s' does not exist", WHERE, o.root) end
  check.fail("%s: no folder '%s'; `root` is the folder with original, mixed_same, ..., each with %s/00_dog and so on",
    WHERE, table.concat(places, "' or '"), o.split)
end

--- Class number from 0 -> its folder: 00_dog, 01_bird, ...
local function class_folders(folder)
  local classes, count = {}, 0
  for _, name in ipairs(core.list_directory(folder)) do
    local number = math.tointeger(tonumber(name:match("^(%d+)_")))
    if number then
      if classes[number] then check.fail("%s: '%s' has two folders of class %d", WHERE, folder, number) end
      classes[number] = name
      count = count + 1
    end
  end
  if count == 0 then check.fail("%s: '%s' has no folder such as 00_dog", WHERE, folder) end
  for number = 0, count - 1 do
    if not classes[number] then check.fail("%s: '%s' has no folder of class %02d", WHERE, folder, number) end
  end
  return classes, count
end

--- Reads one variant of the Background Challenge, or the training images of ImageNet-9.
-- @function background_challenge
-- @tparam table options `root`: the folder with the variants; `variant` ("original"; "mixed_same", "mixed_rand",
-- "mixed_next", "only_fg", "no_fg", "only_bg_b", "only_bg_t"); `split` ("val"; "train"); `size` (224), `channels` (3),
-- `fit` ("stretch"; "crop")
-- @treturn table data set: images streamed uint8 {N,H,W,C}; labels: the folder's number + 1; class_names; file, files
local function background_challenge(options)
  local o = check.options(WHERE, options, schema)
  local folder = folder_of(o)
  local folders, count = class_folders(folder)
  local skipped = image_files.nothing_skipped()
  local rows = { names = {}, paths = {}, label = {}, folder = folder, label_values = {}, class_names = {} }
  for number = 0, count - 1 do
    rows.label_values[number + 1] = tostring(number)
    rows.class_names[number + 1] = folders[number]:match("^%d+_(.*)")
    for _, path in ipairs((image_files.collect(folder, folder .. "/" .. folders[number], true, skipped))) do
      local place = #rows.names + 1
      rows.names[place] = path:sub(#folder + 2)
      rows.paths[place] = path
      rows.label[place] = tostring(number)
    end
  end
  local passed_over = image_files.describe_skipped(skipped)
  if passed_over then notice.say("%s: '%s': passed over %s", WHERE, folder, passed_over) end
  local set = photo_set.build(WHERE, rows, o)
  set.name, set.split, set.variant = ("ImageNet-9, %s"):format(o.variant), o.split, o.variant
  return set
end

return {
  entries = { background_challenge = background_challenge },
  summary = "ImageNet-9 with foregrounds and backgrounds exchanged (Xiao et al. 2021)",
}
