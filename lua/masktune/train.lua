--- Training: the epoch loop, the best and the last weights, and exact resumption.
-- Everything random follows from `seed`: the order of the images of an epoch is a function of (seed, epoch), and the
-- default generator (dropout) is started from `seed` and kept in the checkpoint. So a run that was killed and resumes
-- at its last complete epoch goes on bit for bit as one that was never killed.
-- @module masktune.train
local check = require "masktune.check"
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local evaluate = require "masktune.evaluate"
local loader = require "masktune.data.loader"
local progress = require "masktune.progress"
local schedules = require "masktune.schedule"

local schema = {
  train = { type = "table" },
  val = { type = "table", optional = true },
  epochs = { type = "integer", min = 1 },
  batch = { type = "integer", min = 1, default = 128 },
  optimizer = { type = "any" },
  schedule = { type = "any" },
  augment = { type = "function", optional = true },
  seed = { type = "integer", default = 1 },
  on_epoch = { type = "function", optional = true },
  checkpoint = { type = "string", optional = true },
  resume = { type = "boolean", default = false },
  settings = { type = "table", default = {} },
  progress = { type = "boolean", default = true },
  label = { type = "string", default = "train" },
}

local function refuse_loss(value, epoch, step, lr)
  error(("mt.train: the loss is %s in epoch %d, step %d (learning rate %.6g): training stopped before this step "
    .. "changed the weights; a smaller rate or other data may help"):format(value, epoch, step, lr), 0)
end

--- One epoch of gradient steps: mean loss and accuracy over the images as they were seen.
local function train_epoch(model, batches, o, epoch, lr)
  local bar = o.progress and progress {
    total = batches:images(), label = ("%s %d/%d"):format(o.label, epoch, o.epochs), unit = "images",
  }
  local loss_sum, right, seen, step = 0, 0, 0, 0
  model:train()
  for images, labels in batches:epoch(epoch) do
    step = step + 1
    o.optimizer:zero_grad()
    local logits = model(images)
    local loss = core.cross_entropy(logits, labels)
    local value = loss:item()
    if value - value ~= 0 then refuse_loss(value, epoch, step, lr) end
    loss:backward()
    o.optimizer:step()
    seen = seen + #labels
    loss_sum = loss_sum + value * #labels
    right = right + logits:argmax(2):eq(labels):sum():item()
    if bar then bar:update(seen, { loss = loss_sum / seen, accuracy = right / seen }) end
  end
  if bar then bar:finish() end
  return loss_sum / seen, right / seen
end

--- A run: what is saved after every epoch, and nothing else that changes.
local function new_run()
  return { epoch = 0, history = {}, best = { epoch = 0, accuracy = -1 } }
end

local function saved_state(run, model, optimizer)
  local seed, counter = core.rng_state()
  return {
    epoch = run.epoch,
    history = run.history,
    best = run.best,
    model = model:state_dict(),
    optimizer = optimizer:state_dict(),
    random = { seed = seed, counter = counter },
  }
end

local function restored_run(state, model, optimizer)
  model:load_state_dict(state.model)
  optimizer:load_state_dict(state.optimizer)
  core.set_rng_state(state.random.seed, state.random.counter)
  return { epoch = state.epoch, history = state.history, best = state.best }
end

local function run_settings(o)
  local settings = {
    epochs = o.epochs,
    batch = o.batch,
    seed = o.seed,
    schedule = schedules.describe(o.schedule, o.epochs),
    training_set = checkpoint.dataset_digest(o.train),
    validation_set = o.val and checkpoint.dataset_digest(o.val) or "none",
    augment = checkpoint.augment_text(o.augment),
  }
  for name, value in pairs(o.settings) do
    settings[name] = value
  end
  return settings
end

--- Keeps the weights of this epoch where they are the best so far; without a validation set the latest are the best.
local function keep_best(run, row, model, optimizer)
  local accuracy = row.val_accuracy or row.train_accuracy
  if row.val_accuracy and accuracy <= run.best.accuracy then return end
  run.best = {
    epoch = row.epoch,
    accuracy = accuracy,
    model = model:state_dict(),
    optimizer = optimizer:state_dict(),
  }
end

local function run_epoch(run, model, batches, o)
  local started, epoch = core.clock(), run.epoch + 1
  local lr = o.schedule:lr(epoch)
  o.optimizer:set_lr(lr)
  local row = { epoch = epoch, lr = lr }
  row.train_loss, row.train_accuracy = train_epoch(model, batches, o, epoch, lr)
  if o.val then
    local measured = evaluate(model, o.val)
    row.val_loss, row.val_accuracy = measured.loss, measured.accuracy
  end
  row.seconds = core.clock() - started
  run.epoch = epoch
  run.history[epoch] = row
  keep_best(run, row, model, o.optimizer)
  return row
end

--- Where the run stands: from its checkpoint, or at the beginning.
local function start(model, o, settings)
  core.manual_seed(o.seed)
  if not o.checkpoint then return new_run() end
  if o.resume and core.file_exists(o.checkpoint) then
    return restored_run(checkpoint.load(o.checkpoint, settings), model, o.optimizer)
  end
  core.remove_file(o.checkpoint)
  return new_run()
end

--- Whether an epoch would end in a batch of one image, over which batch normalisation cannot normalise.
local function leaves_one(o) return o.batch > 1 and #o.train.images > 1 and #o.train.images % o.batch == 1 end

--- Trains a model with cross-entropy. It ends with the last epoch's weights, in train mode.
-- Every epoch sees every image once, in an order of its own; where a single image is left for the last batch, it is
-- left out (batch normalisation needs two).
-- @tparam Module model images {N,H,W,C} float32 -> logits {N,k}
-- @tparam table options
-- `train`: data set; `val`: data set, evaluated after every epoch (optional);
-- `epochs`; `batch` (128); `optimizer` over the model's parameters; `schedule`: anything with `lr(self, epoch)`;
-- `augment`: random changes of the training images, as from mt.data.augment; `seed` (1); `on_epoch`: called with each
-- new row of the history and the whole history;
-- `checkpoint`: path of a file written after every epoch; `resume` (false): go on from that file if it is there, else
-- it is removed and the run starts anew; `settings`: further name -> value that must be equal when a run is resumed
-- (what the model is, how the optimiser is set up); `progress` (true), `label` of the progress bar
-- @treturn table `history`: per epoch `epoch`, `lr`, `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy`
-- (accuracies in [0, 1]; those of the training set as seen during the epoch), `seconds`;
-- `best`: `epoch`, `accuracy`, `model` and `optimizer` (state dicts) of the epoch with the best validation accuracy
-- (the first of equals; the last epoch where there is no validation set); `last`: `model` and `optimizer`
-- @raise when a loss is NaN or infinite, naming epoch and step; when the checkpoint belongs to other settings
local function train(model, options)
  check.argument("mt.train", "model", model, { type = "module" })
  local o = check.options("mt.train", options, schema)
  dataset.check("mt.train", "option 'train'", o.train)
  if o.val then dataset.check("mt.train", "option 'val'", o.val) end
  if #o.train.images == 0 then error("mt.train: option 'train': 1 image or more expected, got 0", 2) end
  local settings = o.checkpoint and run_settings(o)
  local run = start(model, o, settings)
  local batches = loader {
    dataset = o.train, batch = o.batch, seed = o.seed, drop_last = leaves_one(o), augment = o.augment,
  }
  while run.epoch < o.epochs do
    local row = run_epoch(run, model, batches, o)
    if o.checkpoint then checkpoint.save(o.checkpoint, saved_state(run, model, o.optimizer), settings) end
    if o.on_epoch then o.on_epoch(row, run.history) end
  end
  return {
    history = run.history,
    best = run.best,
    last = { model = model:state_dict(), optimizer = o.optimizer:state_dict() },
  }
end

return train
