--- Any images with a CSV file that says which they are.
local check = require "masktune.check"
local csv = require "masktune.data.csv"
local photo_set = require "masktune.data.photo_set"
local tables = require "masktune.tables"

local WHERE = "mt.data.csv"

local schema = tables.merged(photo_set.schema, {
  path = { type = "string" },
  root = { type = "string", optional = true },
  file = { type = "string", default = "file" },
  label = { type = "string", default = "label" },
  attribute = { type = "string", optional = true },
  split = { type = "string", optional = true },
  wanted = { type = "any", optional = true },
  class_names = { type = "list", of = { type = "string" }, min_length = 2, optional = true },
})

--- Reads a data set from a CSV file with a header line.
-- @function csv
-- @tparam table options `path` of the CSV file; `root`: the folder its file names start from (the CSV's own); names of
-- the columns `file` ("file"), `label` ("label"), `attribute` (optional: groups are label x attribute) and `split`
-- (optional), of which only the rows with the value `wanted` are taken; `class_names`: the labels' values in the order
-- of their numbers (default: the values there are, sorted; give the training set's to the others); `size` (224) as in
-- mt.data.image_folder, `channels` (3), `fit`, `cache`; `missing` ("fail"; "skip": images that are not there are left
-- out and counted); `on_error` ("fail"; "skip": images that turn out damaged are left out of their batch, said and
-- counted)
-- @treturn table data set as from mt.data.waterbirds
-- @raise with the number of the line, for a row that is short, names an image twice or one that is not there, or has a
-- label that is none of class_names
local function read(options)
  local o = check.options(WHERE, options, schema)
  if (o.split == nil) ~= (o.wanted == nil) then
    check.fail("%s: options 'split' and 'wanted': both or neither expected", WHERE)
  end
  local names = { o.file, o.label, o.attribute }
  names[#names + 1] = o.split
  local columns, lines = csv.read(o.path, names)
  columns, lines = photo_set.rows_where(columns, lines, o.split, o.wanted and tostring(o.wanted))
  local folder = o.root or o.path:match("^(.*)/[^/]*$") or "."
  local paths = {}
  for row, name in ipairs(columns[o.file]) do
    paths[row] = name:find("^/") and name or folder .. "/" .. name
  end
  local set = photo_set.build(WHERE, {
    names = columns[o.file], paths = paths, lines = lines, source = o.path, folder = folder,
    label = columns[o.label], label_values = o.class_names, attribute = o.attribute and columns[o.attribute],
  }, o)
  set.name, set.split = o.path:match("[^/]*$"), o.wanted and tostring(o.wanted)
  return set
end

return { entries = { csv = read }, summary = "any images with a CSV file of files, labels, attributes and splits" }
