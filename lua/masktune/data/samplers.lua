--- Which images an epoch shows, in which order. A sampler is a pure function of the seed and the epoch: a run that is
-- resumed at an epoch sees what an uninterrupted one would have seen.
-- @usage mt.data.loader { dataset = set, sampler = mt.data.samplers.balanced { by = "group" } }
-- @module masktune.data.samplers
local check = require "masktune.check"
local core = require "masktune.core"

local samplers = {}

--- The generator of one epoch's order. The seeds of the streams are far apart, so that epoch 1 of seed 2 is not
-- epoch 2 of seed 1.
local function epoch_generator(seed, epoch) return core.generator(seed ~ epoch * 0x9E3779B97F4A7C15) end

local function size_of(set) return #set[set.input or "images"] end

--- A per-image field of a set, or a list or tensor of its length, as a list.
local function column(kind, set, value, what)
  local where = ("mt.data.samplers.%s: %s"):format(kind, what)
  local list = value
  if type(value) == "string" then
    list = set[value]
    if not check.is_tensor(list) then
      error(("%s: the data set has no per-image field '%s'"):format(where, value), 0)
    end
  end
  if check.is_tensor(list) then list = list:totable() end
  if #list ~= size_of(set) then
    error(("%s: %d values, expected %d (one per image)"):format(where, #list, size_of(set)), 0)
  end
  return list
end

--- Draws `count` positions with replacement, position i with probability weights[i] / their sum.
local function draw(kind, weights, count, generator)
  local sums, sum = {}, 0
  for i, weight in ipairs(weights) do
    if type(weight) ~= "number" or weight < 0 or weight - weight ~= 0 then
      error(("mt.data.samplers.%s: weight of image %d is %s, expected a number >= 0"):format(kind, i,
        check.describe(weight)), 0)
    end
    sum = sum + weight
    sums[i] = sum
  end
  if sum == 0 then error(("mt.data.samplers.%s: all weights are 0"):format(kind), 0) end
  local order = {}
  for n = 1, count do
    local at, low, high = generator:uniform() * sum, 1, #sums
    while low < high do -- the first position whose sum is above `at`
      local middle = (low + high) // 2
      if sums[middle] > at then high = middle else low = middle + 1 end
    end
    order[n] = low
  end
  return core.tensor(order, { dtype = "int32" })
end

--- One over the number of images that share a value.
local function inverse_counts(values)
  local counts, weights = {}, {}
  for _, value in ipairs(values) do
    counts[value] = (counts[value] or 0) + 1
  end
  for i, value in ipairs(values) do
    weights[i] = 1 / counts[value]
  end
  return weights
end

local count_rule = { type = "integer", min = 1, optional = true }

--- Kind -> `schema`; `size(o, set)`; `order(o, set, seed, epoch)` -> int32 tensor of positions.
local kinds = {
  sequential = {
    schema = {},
    size = function(_, set) return size_of(set) end,
    order = function(_, set) return core.arange(1, size_of(set) + 1, "int32") end,
  },
  shuffled = {
    schema = {},
    size = function(_, set) return size_of(set) end,
    order = function(_, set, seed, epoch) return epoch_generator(seed, epoch):permutation(size_of(set)) end,
  },
  weighted = {
    schema = { weights = { type = "any" }, count = count_rule },
    size = function(o, set) return o.count or size_of(set) end,
    order = function(o, set, seed, epoch)
      local weights = column("weighted", set, o.weights, "option 'weights'")
      return draw("weighted", weights, o.count or size_of(set), epoch_generator(seed, epoch))
    end,
  },
  balanced = {
    schema = { by = { type = "any", default = "labels" }, count = count_rule },
    size = function(o, set) return o.count or size_of(set) end,
    order = function(o, set, seed, epoch)
      local weights = inverse_counts(column("balanced", set, o.by, "option 'by'"))
      return draw("balanced", weights, o.count or size_of(set), epoch_generator(seed, epoch))
    end,
  },
  subset = {
    schema = { indices = { type = "any" }, shuffle = { type = "boolean", default = true } },
    size = function(o) return #o.indices end,
    order = function(o, set, seed, epoch)
      local positions, size = check.is_tensor(o.indices) and o.indices:totable() or o.indices, size_of(set)
      for i, position in ipairs(positions) do
        if math.type(position) ~= "integer" or position < 1 or position > size then
          error(("mt.data.samplers.subset: option 'indices'[%d]: integer in [1, %d] expected, got %s"):format(i, size,
            check.describe(position)), 0)
        end
      end
      local order = core.tensor(positions, { dtype = "int32" })
      return o.shuffle and order:index(epoch_generator(seed, epoch):permutation(#positions)) or order
    end,
  },
}

local Sampler = { __name = "masktune.Sampler" }
Sampler.__index = Sampler

--- How many images an epoch shows.
-- @tparam table set
-- @treturn integer
function Sampler:size(set)
  local whole = kinds[self.kind].size(self.options, set)
  if not self.world then return whole end
  return (whole - self.rank + self.world) // self.world
end

--- The positions of an epoch's images, in order.
-- @tparam table set data set
-- @tparam integer seed
-- @tparam integer epoch
-- @treturn Tensor int32 {n}, from 1
function Sampler:order(set, seed, epoch)
  local order = kinds[self.kind].order(self.options, set, seed, epoch)
  if not self.world then return order end
  local places = {}
  for place = self.rank, #order, self.world do
    places[#places + 1] = place
  end
  return order:index(core.tensor(places, { dtype = "int32" }))
end

--- One of `world` shares of every epoch: places rank, rank + world, ... of the order. The shares have no place in
-- common and are the whole together; and the i-th batches of size B / world of all shares are the i-th batch of size B.
-- @tparam integer rank 1 to world
-- @tparam integer world
-- @treturn Sampler
function Sampler:share(rank, world)
  check.argument("sampler:share", "world", world, { type = "integer", min = 1 })
  check.argument("sampler:share", "rank", rank, { type = "integer", min = 1, max = world })
  if self.world then check.fail("sampler:share: a share cannot be shared out again") end
  return setmetatable({ kind = self.kind, options = self.options, rank = rank, world = world }, Sampler)
end

local function option_text(value)
  if type(value) == "table" then value = core.tensor(value, { dtype = "float32" }) end
  if check.is_tensor(value) then return "values " .. core.md5(value:bytes()):sub(1, 12) end
  return tostring(value)
end

--- For settings and reports: what tells it from other samplers.
function Sampler:__tostring()
  local texts = {}
  for name, value in pairs(self.options) do
    texts[#texts + 1] = name .. " = " .. option_text(value)
  end
  table.sort(texts)
  local share = self.world and (", share %d of %d"):format(self.rank, self.world) or ""
  return ("%s{%s}%s"):format(self.kind, table.concat(texts, ", "), share)
end

local function build(kind, options)
  local o = check.options("mt.data.samplers." .. kind, options, kinds[kind].schema)
  for name, value in pairs(o) do
    local good = type(value) ~= "userdata" or check.is_tensor(value)
    if not good or type(value) == "function" then
      check.fail("mt.data.samplers.%s: option '%s': name of a field, list or tensor expected, got %s", kind, name,
        check.describe(value))
    end
  end
  return setmetatable({ kind = kind, options = o }, Sampler)
end

--- Every image once, in the data set's order.
function samplers.sequential(options) return build("sequential", options) end

--- Every image once, in a new order each epoch.
function samplers.shuffled(options) return build("shuffled", options) end

--- Images drawn with replacement, in proportion to their weights (PyTorch's WeightedRandomSampler).
-- @tparam table options `weights`: the name of a per-image field, a list or a tensor {N}; `count` (as many as there are
-- images)
function samplers.weighted(options) return build("weighted", options) end

--- Images drawn with replacement so that every class, or every group, is as likely as the others.
-- @tparam[opt] table options `by` ("labels"; the name of another per-image field, a list or a tensor {N}); `count`
function samplers.balanced(options) return build("balanced", options) end

--- Some of the images.
-- @tparam table options `indices`: positions from 1, a list or an int32 tensor; `shuffle` (true)
function samplers.subset(options) return build("subset", options) end

--- Refuses what is no sampler: anything with `size(self, set)` and `order(self, set, seed, epoch)` is.
-- @string where the public function, for the message
-- @param value
-- @return value
function samplers.check(where, value)
  if type(value) == "table" and type(value.order) == "function" and type(value.size) == "function" then return value end
  check.fail("%s: option 'sampler': sampler (as from mt.data.samplers) expected, got %s", where, check.describe(value))
end

return samplers
