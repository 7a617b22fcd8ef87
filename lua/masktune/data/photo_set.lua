--- Data sets made of a table of files, labels and attributes: what Waterbirds, CelebA and any CSV have in common.
-- Opening one decodes nothing; the images stay in their files, and are decoded when a batch needs them.
-- @module masktune.data.photo_set
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local image_list = require "masktune.data.image_list"
local notice = require "masktune.notice"
local streamed = require "masktune.data.streamed"
local tables = require "masktune.tables"

local photo_set = {}

--- The options that all such sets have.
photo_set.schema = tables.merged(tables.picked(image_list.schema, {
  channels = true, fit = true, on_error = true, cache = true,
}), {
  size = { type = "any", default = 224 },
  missing = { choices = { "fail", "skip" }, default = "fail" },
})

local MOST_NAMED = 5

local function fail(where, message, ...) error(("%s: "):format(where) .. message:format(...), 0) end

--- Some lines with what is wrong in each, as text.
local function named(entries)
  local texts = {}
  for i = 1, math.min(#entries, MOST_NAMED) do
    texts[i] = "\n  " .. entries[i]
  end
  if #entries > MOST_NAMED then texts[#texts + 1] = ("\n  and %d more"):format(#entries - MOST_NAMED) end
  return table.concat(texts)
end

local function place_of(table_of, row)
  if not table_of.lines then return ("'%s'"):format(table_of.names[row]) end
  return ("'%s', line %d: '%s'"):format(table_of.source, table_of.lines[row], table_of.names[row])
end

--- Refuses a file that is named twice.
local function refuse_duplicates(where, rows)
  local first, twice = {}, {}
  for row, name in ipairs(rows.names) do
    if first[name] then
      local before = rows.lines and (", as in line %d"):format(rows.lines[first[name]]) or ""
      twice[#twice + 1] = place_of(rows, row) .. before
    end
    first[name] = first[name] or row
  end
  if #twice > 0 then
    fail(where, "%d image%s named twice:%s", #twice, #twice == 1 and " is" or "s are", named(twice))
  end
end

--- The rows whose files are there, and the sizes of all.
local function present(where, rows, o)
  local kept, absent, sizes = {}, {}, core.data.file_sizes(rows.paths)
  for row, size in ipairs(sizes) do
    if size >= 0 then kept[#kept + 1] = row else absent[#absent + 1] = place_of(rows, row) end
  end
  if #absent == 0 then return kept, sizes end
  if o.missing == "fail" or #kept == 0 then
    fail(where, "%d of %d images are not there (looked in '%s'%s):%s", #absent, #rows.paths, rows.folder,
      #kept > 0 and "; missing = \"skip\" leaves them out" or "", named(absent))
  end
  notice.say("%s: %d of %d images are not in '%s' and are left out", where, #absent, #rows.paths, rows.folder)
  return kept, sizes
end

--- Values as numbers 1..k: those given in `values`, else all there are, as numbers if they all are, in their order.
local function numbered(where, rows, column, values)
  local list = rows[column]
  if not values then
    local seen, numeric = {}, true
    values = {}
    for _, value in ipairs(list) do
      if not seen[value] then
        seen[value], values[#values + 1] = true, value
        numeric = numeric and tonumber(value) ~= nil
      end
    end
    table.sort(values, numeric and function(a, b) return tonumber(a) < tonumber(b) end or nil)
  end
  local number = {}
  for i, value in ipairs(values) do
    number[value] = i
  end
  local numbers, wrong = {}, {}
  for row, value in ipairs(list) do
    numbers[row] = number[value]
    if not number[value] then
      wrong[#wrong + 1] = ("%s: %s '%s'"):format(place_of(rows, row), column, value)
    end
  end
  if #wrong > 0 then
    fail(where, "%d image%s have a %s that is none of %s:%s", #wrong, #wrong == 1 and "" or "s", column,
      table.concat(values, ", "), named(wrong))
  end
  return numbers, values
end

local function int32(list, positions)
  local picked = {}
  for i, position in ipairs(positions) do
    picked[i] = list[position]
  end
  return core.tensor(picked, { dtype = "int32" })
end

--- Builds a set.
-- @string where the public function, for messages
-- @tparam table rows `names` and `paths` of the files, `label` and (optional) `attribute`: values (strings); `lines`
-- and `source`: where each row stands; `folder` of the images; `label_values`, `attribute_values`: the values in the
-- order of their numbers (default: those there are, sorted); `class_names`, `attribute_names`: what to call them
-- @tparam table o options as of photo_set.schema
-- @treturn table data set: `images` (streamed), `labels` int32 {N}, `attribute` int32 {N} and `group` int32 {N} =
-- (label - 1) * attributes + attribute where there is an attribute, with `group_names`; `file` int32 {N}: an image's
-- place in `files`; `class_names`, `classes`
function photo_set.build(where, rows, o)
  local height, width = image_list.size(where, o.size)
  if #rows.paths == 0 then fail(where, "'%s' has no image of this split", rows.source or rows.folder) end
  refuse_duplicates(where, rows)
  local kept, sizes = present(where, rows, o)
  local labels, values = numbered(where, rows, "label", rows.label_values)
  local names = rows.class_names or values
  local set = {
    images = streamed(rows.paths, { height, width, o.channels }, {
      fit = o.fit, on_error = o.on_error, sizes = sizes, cache = o.cache, where = where,
    }),
    labels = int32(labels, kept),
    file = core.tensor(kept, { dtype = "int32" }),
    files = rows.paths,
    classes = #names,
    class_names = names,
  }
  if #kept < #rows.paths then set.images = set.images:index(kept) end
  if rows.attribute then
    local attributes, attribute_values = numbered(where, rows, "attribute", rows.attribute_values)
    local attribute_names, groups = rows.attribute_names or attribute_values, {}
    for row, label in ipairs(labels) do
      groups[row] = (label - 1) * #attribute_names + attributes[row]
    end
    set.attribute, set.group, set.group_names = int32(attributes, kept), int32(groups, kept), {}
    set.attribute_names = attribute_names
    for _, class in ipairs(names) do
      for _, attribute in ipairs(attribute_names) do
        table.insert(set.group_names, class .. ", " .. attribute)
      end
    end
  end
  return dataset.named(set)
end

--- The rows of one value of a column.
-- @tparam table columns name -> list
-- @tparam {integer,...} lines
-- @tparam ?string split the column that says which split a row belongs to
-- @tparam ?string wanted its value
-- @treturn table columns
-- @treturn {integer,...} lines
function photo_set.rows_where(columns, lines, split, wanted)
  if not split then return columns, lines end
  local picked, picked_lines = {}, {}
  for name in pairs(columns) do
    picked[name] = {}
  end
  for row, value in ipairs(columns[split]) do
    if value == wanted then
      local place = #picked_lines + 1
      picked_lines[place] = lines[row]
      for name, list in pairs(columns) do
        picked[name][place] = list[row]
      end
    end
  end
  return picked, picked_lines
end

--- The folder that holds a file: root, or one of the folders in it; else an error that names what was looked for.
-- @string where
-- @string root
-- @tparam {string,...} places folders in root ("" for root itself)
-- @string name
-- @string hint what root should be
-- @treturn string
function photo_set.find(where, root, places, name, hint)
  local looked = {}
  for i, place in ipairs(places) do
    local folder = place == "" and root or root .. "/" .. place
    if core.file_exists(folder .. "/" .. name) then return folder end
    looked[i] = "'" .. folder .. "'"
  end
  if not core.file_exists(root) then check.fail("%s: option 'root': '%s' does not exist", where, root) end
  check.fail("%s: no %s in %s; `root` is %s", where, name, table.concat(looked, ", "), hint)
end

return photo_set
