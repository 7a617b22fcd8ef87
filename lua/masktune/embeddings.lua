--- What a net's head is given, for every image of a data set, made once: then a head is fitted in seconds.
-- @module masktune.embeddings
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local heads = require "masktune.heads"
local inference = require "masktune.inference"
local loader = require "masktune.data.loader"
local progress = require "masktune.progress"
local tables = require "masktune.tables"

local WHERE = "mt.embeddings"

local schema = {
  head = { type = "string", optional = true },
  batch = { type = "integer", min = 1, default = 256 },
  path = { type = "string", optional = true },
  progress = { type = "boolean", default = false },
  label = { type = "string", default = "embed" },
}

--- The features of all images, batch after batch into one tensor.
local function run(model, set, o, head)
  local count = dataset.count(set)
  local features, done = core.zeros(count, head.inputs), 0
  local bar = o.progress and progress { total = count, label = o.label, unit = "images" }
  for batch in loader { dataset = set, batch = o.batch, shuffle = false }:epoch(1) do
    features[batch.indices] = heads.features(model, head, batch[batch.input])
    done = done + #batch.labels
    if bar then bar:update(done) end
  end
  if bar then bar:finish() end
  return features
end

--- What the features depend on.
local function settings_of(model, set, head)
  return {
    weights = checkpoint.digest(model:state_dict()),
    images = checkpoint.digest { images = dataset.inputs(set) },
    preprocess = checkpoint.text(set.preprocess),
    head = head.name,
  }
end

--- What the file holds, or what make() gives, which is then written there.
local function stored(path, settings, make)
  if path and core.file_exists(path) then return (checkpoint.load(path, settings)) end
  local state = make()
  if path then checkpoint.save(path, state, settings) end
  return state
end

--- The embeddings of a data set (in eval mode, without augmentation).
-- @tparam Module model
-- @tparam table set data set of one image or more
-- @tparam[opt] table options `head` (the last Linear; the dotted name of another), `batch` (256), `path`: a safetensors
-- file for the features: read where it is there, else written; `progress` (false), `label`
-- @treturn table data set with `features` float32 {N,D}, which are its `input`, and the set's other per-image tensors
-- and facts (labels, group, classes, ...): mt.train and mt.evaluate take it with a net {B,D} -> logits
-- @raise where the file at `path` holds the embeddings of other images or other weights
local function embeddings(model, set, options)
  local o
  o, set = inference.arguments(WHERE, model, set, options, schema)
  local head = heads.find(WHERE, model, o.head)
  local state = stored(o.path, o.path and settings_of(model, set, head), function()
    return { features = inference.run(run, model, set, o, head) }
  end)
  local others = tables.without(set, { dataset.input(set) })
  return tables.merged(others, { features = state.features, input = "features", preprocess = false })
end

return embeddings
