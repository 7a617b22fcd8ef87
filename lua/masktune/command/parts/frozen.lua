--- The first part of a net with published weights, where images are few: it stays as it was published, and is computed
-- once for each image. What is before the layer of the heatmaps sees edges and textures, which a few hundred photos do
-- not teach better than a million did; and training takes a fraction of the time.
-- @module masktune.command.parts.frozen
local cut = require "masktune.experiment.cut"
local encoder = require "masktune.experiment.encoder"
local tables = require "masktune.tables"

local frozen = {}

--- The part of a run's net that is trained: all of it where nothing is frozen.
-- @tparam table settings of the run
-- @tparam Module model the whole net, which shares its weights with what is returned
-- @treturn Module
function frozen.rest(settings, model)
  if not settings.frozen then return model end
  local rest = select(2, cut(model, settings.frozen))
  rest.cam_layer = settings.layer
  return rest
end

--- Whether a net can be cut behind a part, so that the layer is in the rest.
-- @tparam Module model
-- @string name of the part
-- @string layer
function frozen.possible(model, name, layer)
  local done, _, rest = pcall(cut, model, name)
  return done and pcall(rest.get, rest, layer)
end

--- A state dict of the whole net, with the weights of its trained part.
-- @tparam table settings
-- @tparam table start state dict of the whole net as it was before training
-- @tparam table state of the trained part
function frozen.whole(settings, start, state) return settings.frozen and tables.merged(start, state) or state end

--- The sets as the trained part takes them.
-- @tparam table settings
-- @tparam Module model the whole net
-- @tparam table sets
-- @treturn table `train`, `val`
function frozen.sets(settings, model, sets)
  if not settings.frozen then return sets end
  local encode = encoder(model, settings.frozen, settings.net)
  return { train = encode(sets.train), val = encode(sets.val) }
end

return frozen
