--- Fine-tuning against a cue that is known: on images as they are, masked, and exchanged (masktune.recipe.judges says
-- what these are). Masked images alone do not unlearn a cue. Where it is hidden the weights that read it are idle, so
-- they stay as they are and go on deciding wherever it is seen; what fades is only what the new features drown. And a
-- mask that misses one cue in twenty leaves it as sure a sign of its class as before. An exchanged image shows the cue
-- on another class, so it says that the cue says nothing. With one third of each kind a cue is about as frequent in all
-- classes: in its own class in the images as they are, in others in the exchanged ones.
-- @module masktune.recipe.exchange
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local encoded = require "masktune.data.encoded"
local judges = require "masktune.recipe.judges"
local streamed = require "masktune.data.streamed"
local tables = require "masktune.tables"

--- A set's images before the frozen part of a net, where there is one.
local function in_pixels(set)
  return encoded.is(set.images) and tables.merged(set, { images = set.images.pixels }) or set
end

--- Some images of a set, at most half as many as `count`.
local function half(set, count, seed)
  local order = core.generator(seed):permutation(dataset.count(set)):totable()
  return dataset.subset(set, table.move(order, 1, math.min(#order, math.max(1, count // 2)), 1, {}))
end

--- The images to fine-tune on.
-- @tparam Module masker what the masks come from
-- @tparam table set data set, in memory
-- @tparam Masks|Tensor keep its masks
-- @tparam table masked the set with the masks
-- @tparam integer seed of the exchange
-- @treturn table data set; `masked` where no answer changes when images are masked
return function(masker, set, keep, masked, seed)
  local exchanged = judges.exchanged(masker, set, keep, masked, seed)
  if not exchanged then return masked end
  local parts = { in_pixels(set), in_pixels(masked), in_pixels(half(exchanged, dataset.count(set), seed)) }
  local joined = dataset.concat(parts)
  if not encoded.is(set.images) then return joined end
  return tables.merged(joined, { images = set.images:of_pixels(streamed.of_tensor(joined.images)) })
end
