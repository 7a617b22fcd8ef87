--- Step 3: one epoch on masked images. More epochs, or a larger rate than the masks allow, forget (paper, section 2).
-- @module masktune.recipe.finetune
local check = require "masktune.check"
local optimizers = require "masktune.train.optimizer"
local schedules = require "masktune.schedule"
local tables = require "masktune.tables"
local train = require "masktune.train"

local finetune = {}

--- mt.train's options, but for those that are fixed here, and `start`, `carry_momentum`.
finetune.schema = tables.merged(tables.without(train.schema, { "train", "schedule" }), {
  lr = { type = "number", above = 0 },
  start = { type = "table", optional = true },
  carry_momentum = { type = "boolean", default = true },
  epochs = { type = "integer", min = 1, default = 1 },
  label = { type = "string", default = "fine-tune" },
})

--- Those of them that a recipe passes on from its own.
finetune.passed = tables.without(finetune.schema, {
  "val", "lr", "start", "epochs", "seed", "label", "on_epoch", "select", "checkpoint", "resume", "settings", "attached",
})

--- Fine-tunes a model on a masked data set.
-- @tparam Module model ends with the fine-tuned weights
-- @tparam table masked data set, as from mask_dataset
-- @tparam table options `lr` (required, constant); `start`: `{model = state dict, optimizer = state dict or nil}` to
-- start from, such as `best` or `last` of erm (left out: the model as it is, a new optimiser); `carry_momentum` (true:
-- go on with start.optimizer, as the reference does); `epochs` (1); the others as of mt.train
-- @treturn table as from mt.train
function finetune.run(model, masked, options)
  local o = check.options("mt.masktune.finetune", options, finetune.schema)
  optimizers.refuse_made("mt.masktune.finetune", o)
  if o.start then model:load_state_dict(o.start.model) end
  local optimizer = optimizers.new(model, o, o.lr)
  if o.carry_momentum and o.start and o.start.optimizer then optimizer:load_state_dict(o.start.optimizer) end
  return train(model, tables.merged(tables.picked(o, train.schema), {
    train = masked,
    optimizer = optimizer,
    schedule = schedules.constant { lr = o.lr },
    settings = tables.merged(optimizers.settings(o), o.settings),
  }))
end

return finetune
