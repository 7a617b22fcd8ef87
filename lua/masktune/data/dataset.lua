--- What every data set is: a table with `images` (uint8 or float32 {N,H,W,C}), `labels` (int32 {N}, 1..classes),
-- `classes` and `name`; the images may also be streamed (masktune.data.streamed). Every tensor in it has one row per
-- image, so that choosing images chooses from all of them;
-- what is not a tensor describes the whole set.
-- @module masktune.data.dataset
local check = require "masktune.check"
local core = require "masktune.core"
local streamed = require "masktune.data.streamed"

local dataset = {}

--- Refuses what is not a data set.
-- @string where the public function, for the message
-- @string what "argument 'dataset'" or "option 'dataset'"
-- @param value
-- @tparam[opt=1] integer level as in check.options
-- @treturn table value
function dataset.check(where, what, value, level)
  level = (level or 1) + 2
  local function refuse(expected, got)
    error(("%s: %s: %s expected, got %s"):format(where, what, expected, got), level)
  end
  if type(value) ~= "table" then refuse("data set", check.describe(value)) end
  for _, name in ipairs { "images", "labels" } do
    local rows = value[name]
    if not (check.is_tensor(rows) or name == "images" and streamed.is(rows)) then
      refuse("data set with a tensor " .. name, check.describe(rows))
    end
  end
  local count = #value.images
  for name, rows in pairs(value) do
    if check.is_tensor(rows) and #rows ~= count then
      refuse(("%d rows in %s (one per image)"):format(count, name), #rows)
    end
  end
  return value
end

--- The number of images.
-- @tparam table set
-- @treturn integer
function dataset.size(set)
  dataset.check("mt.data.size", "argument 'dataset'", set)
  return #set.images
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
  return result
end

local function check_index(position, value, count)
  if math.type(value) == "integer" and value >= 1 and value <= count then return end
  error(("mt.data.subset: argument 'which'[%d]: integer in [1, %d] expected, got %s"):format(
    position, count, check.describe(value)), 4)
end

--- Some of the images, in the order given.
-- @tparam table set
-- @tparam integer|table|Tensor which the first so many, or a list of positions from 1 (a table, or int32 {M})
-- @treturn table data set
function dataset.subset(set, which)
  dataset.check("mt.data.subset", "argument 'dataset'", set)
  local count = #set.images
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

--- Data sets one after the other.
-- Only the tensors that all of them have are kept; name and classes are the first one's.
-- @tparam {table,...} sets
-- @treturn table data set
function dataset.concat(sets)
  check.argument("mt.data.concat", "datasets", sets, { type = "list", min_length = 1, of = { type = "table" } })
  for i, set in ipairs(sets) do
    dataset.check("mt.data.concat", ("argument 'datasets'[%d]"):format(i), set)
    if streamed.is(set.images) then
      error(("mt.data.concat: argument 'datasets'[%d]: images in memory expected, got streamed ones (a larger "
        .. "memory_limit keeps them in memory)"):format(i), 2)
    end
    if set.classes ~= sets[1].classes then
      error(("mt.data.concat: argument 'datasets'[%d] has %s classes, expected %s"):format(
        i, set.classes, sets[1].classes), 2)
    end
  end
  local result = {}
  for name, value in pairs(sets[1]) do
    local parts = {}
    for i, set in ipairs(sets) do
      parts[i] = check.is_tensor(value) and set[name] or nil
    end
    if not check.is_tensor(value) then
      result[name] = value
    elseif #parts == #sets then
      result[name] = core.cat(parts, 1)
    end
  end
  return result
end

return dataset
