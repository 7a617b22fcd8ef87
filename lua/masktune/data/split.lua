--- A data set in two, at random.
-- @module masktune.data.split
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"

--- Splits off images drawn at random, without looking at labels: a validation split, for instance.
-- @tparam table set
-- @tparam table options `count` images split off, or `share` of them (0 to 1; rounded); `seed` (0): the same seed gives
-- the same split
-- @treturn table data set of the others
-- @treturn table data set of the `count` images drawn
local function split(set, options)
  dataset.check("mt.data.split", "argument 'dataset'", set)
  local size = dataset.count(set)
  local o = check.options("mt.data.split", options, {
    count = { type = "integer", min = 0, max = size, optional = true },
    share = { type = "number", min = 0, max = 1, optional = true },
    seed = { type = "integer", default = 0 },
  })
  if (o.count == nil) == (o.share == nil) then
    check.fail("mt.data.split: options 'count' and 'share': one of them expected, got %s", o.count and "both" or "none")
  end
  o.count = o.count or math.floor(o.share * size + 0.5)
  local order = core.generator(o.seed):permutation(size)
  local drawn = order:narrow(1, 1, o.count)
  local others = order:narrow(1, o.count + 1, size - o.count)
  return dataset.subset(set, others), dataset.subset(set, drawn)
end

return split
