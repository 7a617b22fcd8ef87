--- The data sets of an experiment, opened before anything is written.
-- @module masktune.experiment.sets
local augment = require "masktune.data.augment"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local folders = require "masktune.data.folders"
local interrupt = require "masktune.interrupt"
local split = require "masktune.data.split"

local sets = {}

--- The folder of the data: what the user says, else where data sets lie.
local function root_of(recipe, o)
  if o.data then return o.data end
  local found, _, searched = folders.find(nil, recipe.folders, function(folder)
    return core.path_kind(folder .. "/" .. recipe.marker) ~= nil
  end)
  if found then return found end
  error(("--data DIR is needed: %s. Looked for %s in %s"):format(recipe.data_help, recipe.marker, searched), 0)
end

--- Some images of a set, drawn at random: the first ones would be of one class.
-- @tparam table set
-- @tparam ?integer limit nil: all
-- @tparam integer seed of the draw
-- @treturn table
function sets.limited(set, limit, seed)
  if not limit or limit >= dataset.size(set) then return set end
  return (select(2, split(set, { count = limit, seed = seed })))
end

--- The sets of a recipe in a folder.
local function open(recipe, o, root)
  local found = { train = recipe.open(o, root, "train") }
  if recipe.validation_share then
    found.train, found.val = split(found.train, { share = recipe.validation_share, seed = 1 })
  else
    found.val = recipe.open(o, root, "val")
  end
  found.tests = recipe.tests and recipe.tests(o, root) or { { name = "test", set = recipe.open(o, root, "test") } }
  found.train, found.val = sets.limited(found.train, o.limit, 1), sets.limited(found.val, o.limit, 1)
  for _, test in ipairs(found.tests) do
    test.set = sets.limited(test.set, o.limit, 1)
  end
  return found
end

--- Opens what a recipe names. Nothing is decoded.
-- @tparam table recipe `open(o, root, split)` gives "train", "val", "test"; or `tests(o, root)` a list of `name`,
-- `set`; with `validation_share` the validation split is drawn from the training images
-- @tparam table o the command line's values
-- @treturn table `train`, `val`, `tests`: list of `name`, `set`
function sets.open(recipe, o)
  local root = root_of(recipe, o)
  local opened, found = pcall(open, recipe, o, root)
  if opened then return found end
  if interrupt.is(found) then error(found, 0) end
  local problem = tostring(found):gsub("^.-mt%.data%.[%w_]+: ", ""):gsub("^option 'root': ", "")
  error(("--data '%s': %s"):format(root, problem), 0)
end

--- The augmentation of a name; nil for none.
function sets.augment(o)
  if o.augment == "flip" then return augment { { "horizontal_flip" } } end
  if o.augment == "crop" then
    return augment { { "resized_crop", size = o.size, scale = { 0.7, 1 }, ratio = { 3 / 4, 4 / 3 } },
      { "horizontal_flip" } }
  end
end

--- A line of text about a set: its images, and how many of each group or class.
function sets.describe(name, set)
  local kinds, names = set.group or set.labels, set.group_names or set.class_names
  local counts, texts = {}, {}
  for _, kind in ipairs(kinds:totable()) do
    counts[kind] = (counts[kind] or 0) + 1
  end
  for kind, text in ipairs(names) do
    texts[kind] = ("%s: %d"):format(text, counts[kind] or 0)
  end
  return ("%s: %d images (%s)"):format(name, dataset.size(set), table.concat(texts, "; "))
end

return sets
