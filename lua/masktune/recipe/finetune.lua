--- Step 3: one epoch on masked images. More epochs, or a larger rate than the masks allow, forget (paper, section 2).
-- @module masktune.recipe.finetune
local check = require "masktune.check"
local optimizers = require "masktune.recipe.optimizer"
local schedules = require "masktune.schedule"
local tables = require "masktune.tables"
local train = require "masktune.train"

local schema = tables.merged(optimizers.schema, {
  lr = { type = "number", above = 0 },
  start = { type = "table", optional = true },
  carry_momentum = { type = "boolean", default = true },
  epochs = { type = "integer", min = 1, default = 1 },
  batch = { type = "integer", min = 1, default = 128 },
  augment = { type = "function", optional = true },
  seed = { type = "integer", default = 1 },
  progress = { type = "boolean", default = true },
  label = { type = "string", default = "fine-tune" },
})

--- Fine-tunes a model on a masked data set.
-- @tparam Module model ends with the fine-tuned weights
-- @tparam table masked data set, as from mask_dataset
-- @tparam table options `lr` (required, constant); `start`: `{model = state dict, optimizer = state dict or nil}` to
-- start from, such as `best` or `last` of erm (left out: the model as it is, a new optimiser); `carry_momentum` (true:
-- go on with start.optimizer, as the reference does); `epochs` (1), `batch` (128), `seed` (1), `optimizer`, `momentum`,
-- `weight_decay` and `augment` as in erm, `progress`, `label`
-- @treturn table as from mt.train
local function finetune(model, masked, options)
  local o = check.options("mt.masktune.finetune", options, schema)
  if o.start then model:load_state_dict(o.start.model) end
  local optimizer = optimizers.new(model, o, o.lr)
  if o.carry_momentum and o.start and o.start.optimizer then optimizer:load_state_dict(o.start.optimizer) end
  return train(model, {
    train = masked,
    epochs = o.epochs,
    batch = o.batch,
    optimizer = optimizer,
    schedule = schedules.constant { lr = o.lr },
    augment = o.augment,
    seed = o.seed,
    progress = o.progress,
    label = o.label,
  })
end

return { run = finetune, schema = schema }
