--- Waterbirds (Sagawa et al. 2020): water birds and land birds, mostly before their own background.
local check = require "masktune.check"
local csv = require "masktune.data.csv"
local photo_set = require "masktune.data.photo_set"
local tables = require "masktune.tables"

local WHERE = "mt.data.waterbirds"

--- Split -> its number in metadata.csv.
local splits = { train = "0", val = "1", test = "2" }

local schema = tables.merged(photo_set.schema, {
  root = { type = "string" },
  split = { choices = { "train", "val", "test" }, default = "train" },
})

--- Reads a split of Waterbirds from its publisher's layout: `metadata.csv` (img_id, img_filename, y, split, place,
-- place_filename) and the images beside it. Version 1.0 has 4,795 / 1,199 / 5,794 images.
-- @function waterbirds
-- @tparam table options `root`: the folder with metadata.csv, or the one around it; `split` ("train", "val", "test");
-- `size` (224; an integer or {height, width}), `channels` (3), `fit` ("stretch"; "crop"), `missing` ("fail"; "skip"),
-- `on_error` and `cache` as in mt.data.csv
-- @treturn table data set: images streamed uint8 {N,H,W,C}; labels 1 (land bird), 2 (water bird); attribute 1 (land), 2
-- (water background); group = (label - 1) * 2 + attribute; class_names, attribute_names, group_names; file, files
local function waterbirds(options)
  local o = check.options(WHERE, options, schema)
  local folder = photo_set.find(WHERE, o.root, { "", "waterbirds_v1.0", "waterbird_complete95_forest2water2" },
    "metadata.csv", "the folder with Waterbirds' metadata.csv")
  local path = folder .. "/metadata.csv"
  local columns, lines = csv.read(path, { "img_filename", "y", "split", "place" })
  columns, lines = photo_set.rows_where(columns, lines, "split", splits[o.split])
  local paths = {}
  for row, name in ipairs(columns.img_filename) do
    paths[row] = folder .. "/" .. name
  end
  local set = photo_set.build(WHERE, {
    names = columns.img_filename, paths = paths, lines = lines, source = path, folder = folder,
    label = columns.y, label_values = { "0", "1" }, class_names = { "land bird", "water bird" },
    attribute = columns.place, attribute_values = { "0", "1" }, attribute_names = { "land", "water" },
  }, o)
  set.name, set.split = "Waterbirds", o.split
  return set
end

return { entries = { waterbirds = waterbirds }, summary = "birds before land or water (Sagawa et al. 2020)" }
