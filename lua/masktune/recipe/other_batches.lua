--- Batches of a second data set beside those that mt.train gives: which images follows from the step alone, so that a
-- resumed run sees what an uninterrupted one would have seen.
-- @module masktune.recipe.other_batches
local dataset = require "masktune.data.dataset"
local loader = require "masktune.data.loader"
local samplers = require "masktune.data.samplers"

--- Makes a function (run) -> batch: in each pass over the set every image once, in a new order (the last of a pass that
-- do not fill a batch are left out).
-- @tparam table set
-- @tparam integer size of a batch; smaller where the set is
-- @tparam integer seed
return function(set, size, seed)
  local order, pass_now = samplers.shuffled(), nil
  size = math.min(size, dataset.count(set))
  local batches = dataset.count(set) // size
  local positions
  return function(run)
    local pass, place = (run.total_steps - 1) // batches + 1, (run.total_steps - 1) % batches
    if pass ~= pass_now then
      positions, pass_now = order:order(set, seed, pass):totable(), pass
    end
    local indices = table.move(positions, place * size + 1, (place + 1) * size, 1, {})
    local sampler = samplers.subset { indices = indices, shuffle = false }
    return loader { dataset = set, batch = size, sampler = sampler }:epoch(1)()
  end
end
