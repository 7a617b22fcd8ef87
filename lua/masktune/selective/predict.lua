--- The probabilities of a model, in double precision.
-- @module masktune.selective.predict
local check = require "masktune.check"
local dataset = require "masktune.data.dataset"
local dist = require "masktune.dist"
local inference = require "masktune.inference"
local loader = require "masktune.data.loader"
local progress = require "masktune.progress"

local schema = {
  batch = { type = "integer", min = 1, default = 256 },
  progress = { type = "boolean", default = false },
  label = { type = "string", default = "predict" },
}

--- Softmax of a list of logits.
local function softmax(logits)
  local largest = math.max(table.unpack(logits))
  local row, sum = {}, 0
  for class, logit in ipairs(logits) do
    row[class] = math.exp(logit - largest)
    sum = sum + row[class]
  end
  for class = 1, #row do
    row[class] = row[class] / sum
  end
  return row
end

--- Without an answer to every image, coverage means nothing.
local function refuse_unread(set, position)
  check.fail("mt.selective.predict: %s cannot be read", dataset.name_of(set, position))
end

local function run(model, set, o)
  local parts, positions, seen, rows = {}, {}, 0, {}
  local bar = progress.of_ranks(o.progress, { total = dataset.count(set), label = o.label, unit = "images" })
  for batch in loader { dataset = set, batch = o.batch, shuffle = false, deal = "batches" }:epoch(1) do
    parts[#parts + 1], positions[#positions + 1] = model(batch[batch.input]), batch.indices
    seen = seen + #batch.indices
    if bar then bar:update(seen) end
  end
  positions = dist.gather_all(positions, "int32"):totable()
  for i, logits in ipairs(dist.gather_all(parts, "float32"):totable()) do
    rows[positions[i]] = softmax(logits)
  end
  if bar then bar:finish() end
  for i = 1, dataset.count(set) do
    rows[i] = rows[i] or refuse_unread(set, i)
  end
  return rows
end

--- The model's probabilities for every image (in eval mode; its mode is put back afterwards).
-- The softmax is taken in double precision: in float32 every image whose logit leads by more than 17 gets exactly 1,
-- and no threshold could tell these images apart.
-- @tparam Module model images {N,H,W,C} float32 -> logits {N,k}
-- @tparam table set a data set of one image or more
-- @tparam[opt] table options `batch` (256), `progress` (false), `label` of the progress bar
-- @treturn {{number,...},...} for each image its k probabilities
local function predict(model, set, options)
  local o
  o, set = inference.arguments("mt.selective.predict", model, set, options, schema)
  return inference.run(run, model, set, o)
end

return predict
