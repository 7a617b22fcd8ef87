--- A data set in two, at random.
-- @module masktune.data.split
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"

--- Splits off images drawn at random, without looking at labels: a validation split, for instance.
-- @tparam table set
-- @tparam table options `count` images split off (required), `seed` (0): the same seed gives the same split
-- @treturn table data set of the others
-- @treturn table data set of the `count` images drawn
local function split(set, options)
  dataset.check("mt.data.split", "argument 'dataset'", set)
  local size = dataset.count(set)
  local o = check.options("mt.data.split", options, {
    count = { type = "integer", min = 0, max = size },
    seed = { type = "integer", default = 0 },
  })
  local order = core.generator(o.seed):permutation(size)
  local drawn = order:narrow(1, 1, o.count)
  local others = order:narrow(1, o.count + 1, size - o.count)
  return dataset.subset(set, others), dataset.subset(set, drawn)
end

return split
