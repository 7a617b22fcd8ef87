--- Data sets as a frozen first part of a net makes them.
-- @module masktune.experiment.encoder
local checkpoint = require "masktune.checkpoint"
local cut = require "masktune.experiment.cut"
local encoded = require "masktune.data.encoded"
local streamed = require "masktune.data.streamed"
local tables = require "masktune.tables"

--- Cuts a net.
-- @tparam Module model
-- @string path the last part that is frozen
-- @string net its name
-- @treturn function (data set) -> the set whose images are what the first part makes of them, each once
-- @treturn Module the first part
return function(model, path, net)
  local first = cut(model, path)
  local prepare = model.preprocess or function(images) return images end
  local by = encoded.by(first, prepare, ("%s up to %s"):format(net, path), checkpoint.digest)
  return function(set)
    local images = streamed.is(set.images) and set.images or streamed.of_tensor(set.images)
    return tables.merged(set, { images = by(images), preprocess = false })
  end, first
end
