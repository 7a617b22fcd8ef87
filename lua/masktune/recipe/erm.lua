--- Step 1: empirical risk minimisation (paper, equation 1).
-- @module masktune.recipe.erm
local check = require "masktune.check"
local optimizers = require "masktune.recipe.optimizer"
local schedules = require "masktune.schedule"
local tables = require "masktune.tables"
local train = require "masktune.train"

local schema = tables.merged(optimizers.schema, {
  train = { type = "table" },
  val = { type = "table", optional = true },
  epochs = { type = "integer", min = 1, default = 100 },
  batch = { type = "integer", min = 1, default = 128 },
  lr = { type = "number", above = 0, default = 0.01 },
  schedule = { type = "any", optional = true },
  augment = { type = "function", optional = true },
  seed = { type = "integer", default = 1 },
  on_epoch = { type = "function", optional = true },
  checkpoint = { type = "string", optional = true },
  resume = { type = "boolean", default = false },
  settings = { type = "table", default = {} },
  progress = { type = "boolean", default = true },
})

--- Trains a model from where it stands.
-- @tparam Module model
-- @tparam table options `train`, `val` (data sets); `epochs` (100), `batch` (128), `lr` (0.01), `schedule` (lr halved
-- after each quarter of the epochs), `optimizer` ("sgd"; "adam"; or a function (parameters, lr) -> optimiser),
-- `momentum` (0.9), `weight_decay` (1e-4), `augment`, `seed` (1), `on_epoch`, `checkpoint` (a file), `resume`,
-- `settings`, `progress` as in mt.train
-- @treturn table as from mt.train, with `lr`: the last rate of the schedule
local function erm(model, options)
  local o = check.options("mt.masktune.erm", options, schema)
  o.schedule = o.schedule or schedules.quarters(o.lr, o.epochs)
  local result = train(model, {
    train = o.train,
    val = o.val,
    epochs = o.epochs,
    batch = o.batch,
    optimizer = optimizers.new(model, o, o.schedule:lr(1)),
    schedule = o.schedule,
    augment = o.augment,
    seed = o.seed,
    on_epoch = o.on_epoch,
    checkpoint = o.checkpoint,
    resume = o.resume,
    settings = tables.merged(optimizers.settings(o), o.settings),
    progress = o.progress,
    label = "ERM",
  })
  result.lr = o.schedule:lr(o.epochs)
  return result
end

return { run = erm, schema = schema }
