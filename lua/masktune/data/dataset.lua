--- What every data set is: a table with `images` (uint8 or float32 {N,H,W,C}), `labels` (int32 {N}, 1..classes),
-- `classes` and `name`; the images may also be streamed (masktune.data.streamed). Every tensor in it has one row per
-- image, so that choosing images chooses from all of them; what is not a tensor describes the whole set. A set whose
-- inputs are no images says what they are called (`input = "tokens"`). `preprocess` is what every input goes through
-- before a net sees it (masktune.data.preprocess); where it is nil, a net's own is taken, where it is false, none.
-- @module masktune.data.dataset
local check = require "masktune.check"
local core = require "masktune.core"
local notice = require "masktune.notice"
local streamed = require "masktune.data.streamed"
local tables = require "masktune.tables"

local dataset = {}

local MOST_CLASSES = 12 -- whose counts are printed

local Dataset = { __name = "masktune.Dataset" }

--- "biased MNIST (train): 48000 images {28,28,3} uint8, 2 classes", then how many there are of each class and what else
-- there is for each image.
function Dataset.__tostring(set)
  local inputs, counts, fields = dataset.inputs(set), {}, {}
  local size = { table.unpack(inputs:shape(), 2) }
  local lines = { ("%s: %d %s {%s} %s%s, %s classes"):format(set.name or "data set", #inputs, dataset.input(set),
    table.concat(size, ","), inputs:dtype(), streamed.is(inputs) and " in their files" or "", set.classes or "?") }
  if set.labels:dtype() == "int32" and set.labels:dim() == 1 then
    for _, label in ipairs(set.labels:totable()) do
      counts[label] = (counts[label] or 0) + 1
    end
    local texts = {}
    for class = 1, math.min(set.classes or 0, MOST_CLASSES) do
      local name = set.class_names and set.class_names[class] or class
      texts[class] = ("%s %d"):format(name, counts[class] or 0)
    end
    if #texts > 0 then lines[2] = "  " .. table.concat(texts, ", ") .. (set.classes > #texts and ", ..." or "") end
  end
  for name, value in pairs(set) do
    if check.is_tensor(value) and name ~= dataset.input(set) and name ~= "labels" then fields[#fields + 1] = name end
  end
  table.sort(fields)
  if #fields > 0 then lines[#lines + 1] = "  each with " .. table.concat(fields, ", ") end
  return table.concat(lines, "\n")
end

--- Makes a set print as what it holds, unless it has a way of its own.
-- @tparam table set
-- @treturn table the same
function dataset.named(set)
  if getmetatable(set) == nil then setmetatable(set, Dataset) end
  return set
end

--- What a set's inputs are called.
-- @treturn string "images", unless the set says otherwise
function dataset.input(set) return set.input or "images" end

--- A set's inputs.
-- @treturn Tensor|StreamedImages
function dataset.inputs(set) return set[dataset.input(set)] end

--- The number of images, of a set that was checked.
-- @treturn integer
function dataset.count(set) return #dataset.inputs(set) end

--- Says so where a field looks like the one that is missing.
local function misspelled(set, name)
  for field in pairs(set) do
    if type(field) == "string" and core.nearest_name(field, { name }) then
      return (" (did you mean it by '%s'?)"):format(field)
    end
  end
  return ""
end

--- Refuses what is not a data set.
-- @string where the public function, for the message
-- @string what "argument 'dataset'" or "option 'dataset'"
-- @param value
-- @treturn table value
function dataset.check(where, what, value)
  local function refuse(expected, got)
    check.fail("%s: %s: %s expected, got %s", where, what, expected, got)
  end
  if type(value) ~= "table" then refuse("data set", check.describe(value)) end
  local input = dataset.input(value)
  if type(input) ~= "string" then refuse("data set whose field 'input' is a name", check.describe(input)) end
  for _, name in ipairs { input, "labels" } do
    local rows = value[name]
    if not (check.is_tensor(rows) or name == input and streamed.is(rows)) then
      refuse("data set with a tensor " .. name, check.describe(rows) .. misspelled(value, name))
    end
  end
  local count = #value[input]
  for name, rows in pairs(value) do
    if check.is_tensor(rows) and #rows ~= count then
      refuse(("%d rows in %s (one per image)"):format(count, name), #rows)
    end
  end
  local prepare = value.preprocess
  if prepare and not check.is_callable(prepare) then
    refuse("data set whose preprocess is a function, or from mt.data.preprocess", check.describe(prepare))
  end
  return value
end

--- The set as a model wants it: with the model's own preprocessing where the set says nothing of any (`preprocess =
-- false` says that there is none).
-- @tparam table set
-- @tparam Module model
-- @treturn table set, or a copy with the model's `preprocess`
function dataset.for_model(set, model)
  if set.preprocess ~= nil or not model.preprocess then return set end
  return dataset.named(tables.merged(set, { preprocess = model.preprocess }))
end

--- An image for messages: "image 7 ('dog/3.png')".
-- @tparam table set
-- @tparam integer position
-- @treturn string
function dataset.name_of(set, position)
  local file = set.files and check.is_tensor(set.file) and set.files[set.file[position]:item()]
  return ("image %d%s"):format(position, file and (" ('%s')"):format(file) or "")
end

--- Refuses NaN and infinities among some of a set's inputs. Integers hold none, so only float32 sets are looked at.
-- @tparam table set
-- @tparam Tensor inputs rows of it
-- @tparam Tensor indices their positions
function dataset.check_finite(set, inputs, indices)
  local kept = dataset.inputs(set)
  if streamed.is(kept) or kept:dtype() ~= "float32" then return end
  local bad = core.image.first_bad(inputs)
  if not bad then return end
  error(("%s: %s holds NaN or an infinity, expected finite numbers"):format(set.name or "data set",
    dataset.name_of(set, indices[bad]:item())), 0)
end

local RANGE_IMAGES = 64 -- looked at by check_range

--- Says so where float images look like 0..255: a net trains on them, but badly, and everything that takes pixels to be
-- in [0,1] (augmentation, pictures) is wrong.
function dataset.check_range(set)
  local images = dataset.inputs(set)
  if set.preprocess or streamed.is(images) or images:dtype() ~= "float32" or #images == 0 then return end
  local some = images:narrow(1, 1, math.min(RANGE_IMAGES, #images))
  local low, high = core.image.range(some)
  if low and low >= 0 and high > 16 and high <= 255 then
    notice.say("%s: float images with values from %g to %g look like 0..255; float images are expected in [0,1] "
      .. "(images / 255, or uint8)", set.name or "data set", low, high)
  end
end

--- The number of images.
-- @tparam table set
-- @treturn integer
function dataset.size(set)
  dataset.check("mt.data.size", "argument 'dataset'", set)
  return dataset.count(set)
end

--- A data set made of another's rows by `choose(tensor)`.
local function with_rows(set, choose)
  local result = {}
  for name, value in pairs(set) do
    if check.is_tensor(value) or streamed.is(value) then
      result[name] = choose(value)
    else
      result[name] = value
    end
  end
  return dataset.named(result)
end

local function check_index(position, value, count)
  if math.type(value) == "integer" and value >= 1 and value <= count then return end
  check.fail("mt.data.subset: argument 'which'[%d]: integer in [1, %d] expected, got %s",
    position, count, check.describe(value))
end

--- Some of the images, in the order given.
-- @tparam table set
-- @tparam integer|table|Tensor which the first so many, or a list of positions from 1 (a table, or int32 {M})
-- @treturn table data set
function dataset.subset(set, which)
  dataset.check("mt.data.subset", "argument 'dataset'", set)
  local count = dataset.count(set)
  if type(which) == "number" then
    check.argument("mt.data.subset", "which", which, { type = "integer", min = 0, max = count })
    local first = core.arange(1, which + 1, "int32")
    return with_rows(set, function(rows)
      return streamed.is(rows) and rows:index(first) or rows:narrow(1, 1, math.tointeger(which))
    end)
  end
  if check.is_tensor(which) then which = which:totable() end
  check.argument("mt.data.subset", "which", which, { type = "table" })
  for position, value in ipairs(which) do
    check_index(position, value, count)
  end
  return with_rows(set, function(rows) return rows:index(which) end)
end

--- A set whose inputs are a tensor: those that were masked become one.
local function with_tensor(set)
  local inputs = dataset.inputs(set)
  if not streamed.is(inputs) then return set end
  return tables.merged(set, { [dataset.input(set)] = inputs:narrow(1, 1, #inputs) })
end

--- Data sets one after the other.
-- Only the tensors that all of them have are kept; name and classes are the first one's.
-- @tparam {table,...} sets
-- @treturn table data set
function dataset.concat(sets)
  check.argument("mt.data.concat", "datasets", sets, { type = "list", min_length = 1, of = { type = "table" } })
  for i, set in ipairs(sets) do
    dataset.check("mt.data.concat", ("argument 'datasets'[%d]"):format(i), set)
    local inputs = dataset.inputs(set)
    if streamed.is(inputs) and not inputs:is_in_memory() then
      check.fail("mt.data.concat: argument 'datasets'[%d]: images in memory expected, got streamed ones (a larger "
        .. "memory_limit keeps them in memory)", i)
    end
    if set.classes ~= sets[1].classes then
      check.fail("mt.data.concat: argument 'datasets'[%d] has %s classes, expected %s",
        i, set.classes, sets[1].classes)
    end
    if tostring(set.preprocess) ~= tostring(sets[1].preprocess) then
      check.fail("mt.data.concat: argument 'datasets'[%d] is preprocessed by %s, expected %s", i,
        tostring(set.preprocess or "nothing"), tostring(sets[1].preprocess or "nothing"))
    end
  end
  local result, whole = {}, {}
  for i, set in ipairs(sets) do
    whole[i] = with_tensor(set)
  end
  for name, value in pairs(whole[1]) do
    local parts = {}
    for i, set in ipairs(whole) do
      parts[i] = check.is_tensor(value) and set[name] or nil
    end
    if not check.is_tensor(value) then
      result[name] = value
    elseif #parts == #sets then
      result[name] = core.cat(parts, 1)
    end
  end
  return dataset.named(result)
end

return dataset
