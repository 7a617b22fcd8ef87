--- What a net's head is given, for every image of a data set, made once: then a head is fitted in seconds.
-- @module masktune.embeddings
local check = require "masktune.check"
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local heads = require "masktune.heads"
local inference = require "masktune.inference"
local loader = require "masktune.data.loader"
local progress = require "masktune.progress"
local rows = require "masktune.data.rows"
local tables = require "masktune.tables"

local WHERE = "mt.embeddings"

local schema = {
  head = { type = "string", optional = true },
  batch = { type = "integer", min = 1, default = 256 },
  path = { type = "string", optional = true },
  stream = { type = "boolean", default = false },
  progress = { type = "boolean", default = false },
  label = { type = "string", default = "embed" },
}

--- Calls take(features, batch) for all batches, in order.
local function each(model, set, o, head, take)
  local done = 0
  local bar = o.progress and progress { total = dataset.count(set), label = o.label, unit = "images" }
  for batch in loader { dataset = set, batch = o.batch, shuffle = false }:epoch(1) do
    take(heads.features(model, head, batch[batch.input]), batch)
    done = done + #batch.labels
    if bar then bar:update(done) end
  end
  if bar then bar:finish() end
  if done < dataset.count(set) then
    error(("%s: %d of %d images cannot be read, and have no features"):format(WHERE, dataset.count(set) - done,
      dataset.count(set)), 0)
  end
end

--- The features of all images in one tensor.
local function in_memory(model, set, o, head)
  local features = core.zeros(dataset.count(set), head.inputs)
  inference.run(each, model, set, o, head, function(part, batch) features[batch.indices] = part end)
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

--- The features in their file, which is written first where it is not there.
local function in_file(model, set, o, head)
  local settings = settings_of(model, set, head)
  if core.file_exists(o.path) then
    checkpoint.check(o.path, settings)
  else
    local metadata = checkpoint.metadata({}, settings)
    local write = rows.writer(o.path, "features", dataset.count(set), head.inputs, metadata)
    inference.run(each, model, set, o, head, write)
    write()
  end
  return o.stream and rows.open(o.path, "features") or core.load(o.path).features
end

--- The embeddings of a data set (in eval mode, without augmentation).
-- @tparam Module model
-- @tparam table set data set of one image or more
-- @tparam[opt] table options `head` (the last Linear; the dotted name of another), `batch` (256), `path`: a safetensors
-- file for the features: read where it is there, else written; `stream` (false: the features are a tensor; true: they
-- stay in the file at `path`, as masktune.data.rows, whatever their number); `progress` (false), `label`
-- @treturn table data set with `features` float32 {N,D}, which are its `input`, and the set's other per-image tensors
-- and facts (labels, group, classes, ...): mt.train and mt.evaluate take it with a net {B,D} -> logits
-- @raise where the file at `path` holds the embeddings of other images or other weights
local function embeddings(model, set, options)
  local o
  o, set = inference.arguments(WHERE, model, set, options, schema)
  local head = heads.find(WHERE, model, o.head)
  if o.stream and not o.path then
    check.fail("%s: option 'path': name of a file expected (with 'stream'), got nil", WHERE)
  end
  local features = (o.path and in_file or in_memory)(model, set, o, head)
  local others = tables.without(set, { dataset.input(set) })
  return tables.merged(others, { features = features, input = "features", preprocess = false })
end

return embeddings
