--- Methods that fit the last layer anew on cached embeddings: ERM, one pass over some images, then seconds.
-- @module masktune.recipe.last_layer
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"
local embeddings = require "masktune.embeddings"
local heads = require "masktune.heads"
local schedules = require "masktune.schedule"
local split = require "masktune.data.split"
local tables = require "masktune.tables"
local train = require "masktune.train"
local training = require "masktune.recipe.training"

local last_layer = {}

--- Which images the head is fitted on: those the net was trained on, those of the validation split, or a share of the
-- training images that the net is then trained without.
last_layer.schema = tables.merged(training.schema, {
  fit_on = { choices = { "train", "val", "held_out" }, default = "train" },
  share = { type = "number", above = 0, max = 0.9, default = 0.2 },
  head = { type = "string", optional = true },
})

--- How a head is trained by gradient steps.
last_layer.steps_schema = {
  head_epochs = { type = "integer", min = 1, default = 20 },
  head_lr = { type = "number", above = 0, default = 0.01 },
  head_batch = { type = "integer", min = 1, default = 128 },
}

--- The embeddings of a set, kept among the stages: those of other weights, or of images masked in another way, beside.
-- @string name of the file
function last_layer.embed(model, set, o, context, name)
  local path = context.stages.folder and context.stages:path("embed-" .. name, {
    weights = checkpoint.digest(model:state_dict()), set = checkpoint.dataset_digest(set), seed = o.seed,
  })
  return embeddings(model, set, { head = o.head, path = path, progress = o.progress, label = "embed " .. name })
end

local sources = {
  train = function(_, o, context) return context.erm(), o.train end,
  val = function(_, o, context)
    if not o.val then context.refuse("option 'val': data set expected (the head is fitted on it), got nil") end
    return context.erm(), o.val
  end,
  held_out = function(model, o, context)
    local others, held_out = split(o.train, { share = o.share, seed = o.seed })
    local first = training.train(model, o, context, {
      name = "held_out", schema = { share = true }, train = others, label = "ERM",
    })
    return first, held_out
  end,
}

--- ERM, and the images to fit a head on.
-- @treturn table `first`: the training; `set`: data set; `head`, as from masktune.heads
function last_layer.begin(model, o, context)
  local head = heads.find(context.where, model, o.head)
  local first, set = sources[o.fit_on](model, o, context)
  model:load_state_dict(first[o.weights].model)
  return { first = first, set = set, head = head, started = core.clock() }
end

--- The end: puts a head's weights into the model.
-- @tparam Module model
-- @tparam table o
-- @tparam table context
-- @tparam table begun as from `begin`
-- @tparam Tensor weight {k,D}
-- @tparam Tensor bias {k}
-- @treturn table result
function last_layer.finish(model, o, context, begun, weight, bias)
  local result = context.result(begun.first, o.weights)
  begun.head.module:load_state_dict { weight = weight, bias = bias }
  result.seconds.head = core.clock() - begun.started
  return result, model
end

--- Trains a head by gradient steps at a constant rate.
-- @tparam Module head Linear, from where it stands
-- @tparam table set embeddings
-- @tparam table o options as of `steps_schema`, and `seed`
-- @tparam[opt] table more options of mt.train: `sampler`, `objective`
function last_layer.train_head(head, set, o, more)
  train(head, tables.merged({
    train = set, epochs = o.head_epochs, batch = o.head_batch, seed = o.seed, progress = false,
    schedule = schedules.constant { lr = o.head_lr },
  }, more or {}))
  local state = head:state_dict()
  return state.weight, state.bias
end

--- A head with new random weights.
function last_layer.new_head(begun, o)
  core.manual_seed(o.seed)
  return core.nn.Linear(begun.head.inputs, begun.head.outputs)
end

return last_layer
