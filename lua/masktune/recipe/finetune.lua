--- Step 3: one epoch on masked images. More epochs, or a larger rate than the masks allow, forget (paper, section 2).
-- The paper's rate is the last one of training, constant. It is too small to unlearn what the masks hide: on digits a
-- rate 16 times as large is needed, and that, kept to the end, leaves a net wherever its last noisy steps threw it. A
-- rate that falls to zero over the epoch (half a cosine, in every step) is large where it unlearns and small where it
-- settles.
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
  finetune_schedule = { choices = { "constant", "cosine" }, default = "constant" },
  start = { type = "table", optional = true },
  carry_momentum = { type = "boolean", default = true },
  epochs = { type = "integer", min = 1, default = 1 },
  label = { type = "string", default = "fine-tune" },
})

--- Those of them that a recipe passes on from its own.
finetune.passed = tables.without(finetune.schema, {
  "val", "lr", "start", "epochs", "seed", "label", "on_epoch", "select", "checkpoint", "resume", "settings", "attached",
})

--- Kind of schedule -> the schedule of so many epochs.
local schedule_of = {
  constant = function(lr) return schedules.constant { lr = lr } end,
  cosine = function(lr, epochs)
    return schedules.per_step { schedule = schedules.cosine { lr = lr, epochs = epochs }, epochs = epochs }
  end,
}

--- Fine-tunes a model on a masked data set.
-- @tparam Module model ends with the fine-tuned weights
-- @tparam table masked data set, as from mask_dataset
-- @tparam table options `lr` (required); `finetune_schedule` ("constant"; "cosine": from `lr` to zero, step by step);
-- `start`: `{model = state dict, optimizer = state dict or nil}` to start from, such as `best` or `last` of erm (left
-- out: the model as it is, a new optimiser); `carry_momentum` (true: go on with start.optimizer, as the reference
-- does); `epochs` (1); the others as of mt.train
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
    schedule = schedule_of[o.finetune_schedule](o.lr, o.epochs),
    settings = tables.merged(optimizers.settings(o), o.settings),
  }))
end

return finetune
