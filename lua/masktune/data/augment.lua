--- Random changes of the training images: a list of steps, made in that order.
-- What happens to an image follows from the seed, the epoch and the image's position in the data set: a resumed run sees
-- what an uninterrupted one would have seen, at any number of threads and with any batches.
-- @module masktune.data.augment
local check = require "masktune.check"
local core = require "masktune.core"

local Augment = {}
Augment.__index = Augment
Augment.__name = "masktune.Augment"

local MOST_STEPS = 16

--- A number as a range around `middle`, or a list {low, high} as it is.
local function range(where, name, value, middle, low, high)
  local ends = type(value) == "number" and { math.max(middle - value, low), math.min(middle + value, high) } or value
  local ok = #ends == 2 and ends[1] >= low and ends[2] <= high and ends[1] <= ends[2]
  if ok and (type(value) == "table" or value >= 0) then return ends end
  error(("%s: option '%s': number >= 0, or {low, high} in [%g, %g] expected"):format(where, name, low, high), 0)
end

local numbers = { type = "list", of = { type = "number" }, min_length = 2 }
local number_or_range = { type = "any" }
local side = { type = "integer", min = 1, max = 65536 }
local size = { type = "any", optional = true }

--- Option `size` or `padding`: an integer or {height, width}.
local function pair(where, name, value, lowest)
  local list = type(value) == "table" and value or { value, value }
  for i = 1, 2 do
    local rule = { type = "integer", min = lowest, max = side.max }
    list = { check.argument(where, name, list[1], rule), check.argument(where, name, list[2], rule) }
    if i == 1 and type(value) == "table" and #value ~= 2 then
      error(("%s: option '%s': integer or {height, width} expected"):format(where, name), 0)
    end
  end
  return list
end

local function check_range_type(where, name, value)
  local fine = type(value) == "number" and value == value
  if type(value) == "table" then
    fine = #value == 2 and type(value[1]) == "number" and type(value[2]) == "number"
  end
  if not fine then
    error(("%s: option '%s': number or {low, high} expected, got %s"):format(where, name, check.describe(value)), 0)
  end
end

return { Augment, range, numbers, number_or_range, size, pair, check_range_type, core, MOST_STEPS }
