--- Training: the epoch loop, the best and the last weights, and exact resumption.
-- Everything random follows from `seed`: the order of the images of an epoch is a function of (seed, epoch), and the
-- default generator (dropout) is started from `seed` and kept in the checkpoint. So a run that was killed and resumes
-- at its last complete epoch goes on bit for bit as one that was never killed.
-- @module masktune.train
local check = require "masktune.check"
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local dist = require "masktune.dist"
local evaluate = require "masktune.evaluate"
local history = require "masktune.train.history"
local interrupt = require "masktune.interrupt"
local loader = require "masktune.data.loader"
local losses = require "masktune.losses"
local notice = require "masktune.notice"
local optimizers = require "masktune.train.optimizer"
local progress = require "masktune.progress"
local ranks = require "masktune.train.ranks"
local registry = require "masktune.registry"
local samplers = require "masktune.data.samplers"
local schedules = require "masktune.schedule"
local selection = require "masktune.train.selection"
local step = require "masktune.train.step"
local tables = require "masktune.tables"
local watch = require "masktune.watch"

--- The options of training, once: whatever trains takes these, and passes them on (masktune.recipe).
local schema = tables.merged(optimizers.schema, losses.cross_entropy.schema, ranks.schema, {
  train = { type = "table" },
  val = { type = "table", optional = true },
  epochs = { type = "integer", min = 1 },
  batch = { type = "integer", min = 1, default = 128 },
  micro_batch = { type = "integer", min = 1, optional = true },
  sampler = { type = "table", optional = true },
  augment = { type = "function", optional = true },
  objective = { type = "any", optional = true },
  lr = { type = "number", above = 0, optional = true },
  schedule = { type = "any", optional = true },
  clip_grad_norm = { type = "number", above = 0, optional = true },
  patience = { type = "integer", min = 1, optional = true },
  before_step = { type = "function", optional = true },
  after_step = { type = "function", optional = true },
  on_epoch = { type = "function", optional = true },
  select = selection.rule,
  groups = { type = "string", default = "group" },
  attached = { type = "table", default = {} },
  seed = { type = "integer", default = 1 },
  checkpoint = { type = "string", optional = true },
  resume = { type = "boolean", default = false },
  settings = { type = "table", default = {} },
  progress = { type = "boolean", default = true },
  label = { type = "string", default = "train" },
})

local DEFAULT_LR = 0.01

-- ---- what the options mean ----

--- The objective: cross-entropy with its options, another loss by name, or a function.
local function objective_of(o)
  local wanted = o.objective
  if wanted == nil or wanted == "cross_entropy" then
    return losses.cross_entropy(tables.picked(o, losses.cross_entropy.schema))
  end
  for name, rule in pairs(losses.cross_entropy.schema) do
    if o[name] ~= rule.default then
      error(("mt.train: option '%s': only with the objective 'cross_entropy'"):format(name), 0)
    end
  end
  if check.is_callable(wanted) then return wanted end
  return registry.get(losses, wanted, "mt.train", "option 'objective'")()
end

--- The rate of an optimiser that was made already holds where neither `lr` nor `schedule` is given.
local function default_schedule(o)
  if o.lr == nil and optimizers.is_made(o.optimizer) then
    return schedules.constant { lr = o.optimizer:lr() }
  end
  return schedules.quarters(o.lr or DEFAULT_LR, o.epochs)
end

--- The schedule, objective and sampler that the options ask for, in their place.
local function resolve(o)
  o.schedule = o.schedule or default_schedule(o)
  o.objective = objective_of(o)
  o.sampler = o.sampler and samplers.check("mt.train", o.sampler) or samplers.shuffled()
  return o
end

--- Checks the data sets, and gives them the model's preprocessing where they have none of their own.
local function check_sets(model, o)
  dataset.check("mt.train", "option 'train'", o.train)
  if o.val then dataset.check("mt.train", "option 'val'", o.val) end
  if dataset.count(o.train) == 0 then check.fail("mt.train: option 'train': 1 image or more expected, got 0") end
  o.train = dataset.for_model(o.train, model)
  o.val = o.val and dataset.for_model(o.val, model)
  if o.val and tostring(o.val.preprocess) ~= tostring(o.train.preprocess) then
    check.fail("mt.train: option 'val' is preprocessed by %s, option 'train' by %s: expected the same",
      tostring(o.val.preprocess or "nothing"), tostring(o.train.preprocess or "nothing"))
  end
end

--- Says what looks wrong with a training set.
local function check_content(o)
  dataset.check_range(o.train)
  if o.train.labels:dtype() == "int32" then
    local low, high = o.train.labels:min():item(), o.train.labels:max():item()
    if low == high and dataset.count(o.train) > 1 then
      notice.say("mt.train: all %d training images are of class %d: there is nothing to tell apart",
        dataset.count(o.train), low)
    end
  end
end

--- How many images an epoch would leave for a last batch that is too small: of one image, over which batch
-- normalisation cannot normalise, or too few for the ranks. 0: none.
local function left_over(o)
  local size = o.sampler:size(o.train)
  local rest = size % o.batch
  local few = dist.world() == 1 and rest == 1 or dist.world() > 1 and rest < ranks.least_batch(o)
  return o.batch > 1 and size > 1 and few and rest or 0
end

-- ---- a run ----

--- A run: what is saved after every epoch, and nothing else that changes. `state` is the method's own.
local function new_run()
  return { epoch = 0, step = 0, history = {}, best = { epoch = 0, score = -math.huge }, state = {} }
end

local function states_of(attached)
  local states = {}
  for name, object in pairs(attached) do
    states[name] = object:state_dict()
  end
  return states
end

local function saved_state(run, last, o)
  local seed, counter = core.rng_state()
  return {
    epoch = run.epoch,
    step = run.total_steps,
    history = run.history,
    best = run.best,
    state = run.state,
    model = last.model,
    optimizer = last.optimizer,
    attached = states_of(o.attached),
    random = { seed = seed, counter = counter },
  }
end

local function restored_run(saved, model, o)
  model:load_state_dict(saved.model)
  o.optimizer:load_state_dict(saved.optimizer)
  for name, object in pairs(o.attached) do
    object:load_state_dict(saved.attached[name])
  end
  core.set_rng_state(saved.random.seed, saved.random.counter)
  return {
    epoch = saved.epoch, step = 0, total_steps = saved.step, history = saved.history, best = saved.best,
    state = saved.state,
  }
end

local function run_settings(o)
  local text = checkpoint.text
  return tables.merged({
    epochs = o.epochs,
    batch = o.batch,
    micro_batch = o.micro_batch or "none",
    seed = o.seed,
    schedule = schedules.describe(o.schedule, o.epochs),
    sampler = text(o.sampler),
    objective = text(o.objective),
    clip_grad_norm = o.clip_grad_norm or "none",
    patience = o.patience or "none",
    select = text(o.select),
    training_set = checkpoint.dataset_digest(o.train),
    validation_set = o.val and checkpoint.dataset_digest(o.val) or "none",
    preprocess = text(o.train.preprocess),
    augment = text(o.augment),
  }, optimizers.settings(o), o.settings)
end

--- The rate of the next step: the schedule's of this epoch, or of this very step.
local function set_rate(run, o, steps)
  if not o.schedule.step_lr then return end
  run.lr = o.schedule:step_lr(run.total_steps, steps * o.epochs)
  o.optimizer:set_lr(run.lr)
end

--- One epoch of gradient steps: mean loss, accuracy over the images as they were seen, and the progress bar.
local function train_epoch(run, model, batches, o)
  local bar = o.progress and dist.rank() == 0 and progress {
    total = batches:images(), label = ("%s %d/%d"):format(o.label, run.epoch, o.epochs), unit = "images",
  }
  local loss_sum, right, seen, steps = 0, 0, 0, batches:batches()
  model:train()
  run.step = 0
  for batch in batches:epoch(run.epoch) do
    run.step, run.total_steps = run.step + 1, run.total_steps + 1
    set_rate(run, o, steps)
    local loss, good = step(run, model, batch, o, run.lr, run.exchange)
    local count = batch.total
    seen = seen + count
    loss_sum = loss_sum + loss * count
    right = good and right and right + good
    if bar then bar:update(seen, { loss = loss_sum / seen, accuracy = right and right / seen }) end
    interrupt.check("epoch %d, step %d of %d", run.epoch, run.step, steps)
  end
  return loss_sum / seen, right and right / seen, bar
end

--- Refuses weights or running statistics that are NaN or infinite.
local function check_weights(state, row)
  for name, tensor in pairs(state) do
    local sum = tensor:dtype() == "float32" and tensor:sum():item() or 0
    if sum - sum ~= 0 then
      error(("mt.train: '%s' holds NaN or an infinity after epoch %d (learning rate %.6g): a smaller rate may help")
        :format(name, row.epoch, row.lr), 0)
    end
  end
end

local function measure(row, model, o)
  if not o.val then return nil end
  local measured = evaluate(model, o.val, selection.measuring(o.train, o.val, o.groups))
  row.val_loss, row.val_accuracy = measured.loss, measured.accuracy
  row.val_worst_class, row.val_worst_group = measured.worst_class, measured.worst_group
  if row.val_loss - row.val_loss ~= 0 then
    error(("mt.train: the validation loss is %s after epoch %d (learning rate %.6g): a smaller rate may help"):format(
      row.val_loss, row.epoch, row.lr), 0)
  end
  return measured
end

--- Keeps the weights of this epoch where they are the best so far (of equals the first).
local function keep_best(run, row, last, o, measured)
  local score = selection.score(o.select, row, measured)
  if score <= run.best.score then return end
  run.best = {
    epoch = row.epoch,
    score = score,
    accuracy = row.val_accuracy or row.train_accuracy,
    model = last.model,
    optimizer = last.optimizer,
  }
end

--- Trains for an epoch: its row of the history, and the states it ends with.
local function run_epoch(run, model, batches, o)
  local started = core.clock()
  run.epoch = run.epoch + 1
  run.lr = o.schedule:lr(run.epoch)
  o.optimizer:set_lr(run.lr)
  local loss, accuracy, bar = ranks.epoch(model, o, run.epoch, train_epoch, run, model, batches, o)
  local row = { epoch = run.epoch, train_loss = loss, train_accuracy = accuracy }
  row.lr = run.lr
  local last = { model = model:state_dict(), optimizer = o.optimizer:state_dict() }
  check_weights(last.model, row)
  local measured = measure(row, model, o)
  if bar then
    bar:finish { loss = row.train_loss, accuracy = row.train_accuracy, validation = row.val_accuracy }
  end
  row.seconds = core.clock() - started
  run.history[run.epoch] = row
  keep_best(run, row, last, o, measured)
  return row, last
end

--- The state to go on from; where there is none to be, the file is removed.
local function saved_or_removed(o, settings)
  if o.resume and core.file_exists(o.checkpoint) then return (checkpoint.load(o.checkpoint, settings)) end
  core.remove_file(o.checkpoint)
end

--- Whether the best epoch is as long ago as `patience` allows.
local function out_of_patience(run, o)
  return o.patience and run.epoch > 0 and run.epoch - run.best.epoch >= o.patience
end

--- Where the run stands: from its checkpoint, or at the beginning.
local function start(model, o, settings)
  core.manual_seed(o.seed)
  local run = new_run()
  run.total_steps = 0
  if not o.checkpoint then return run end
  local saved = dist.from_first(saved_or_removed, o, settings)
  if not saved then return run end
  run = restored_run(saved, model, o)
  if o.progress then progress.note("%s: resumed from epoch %d of %d", o.label, run.epoch, o.epochs) end
  return run
end

local function loader_of(o)
  local left = left_over(o)
  if left > 0 and dist.world() == 1 then
    notice.say("%s: 1 of %d images is left out of each epoch (batches of %d would leave it alone, and batch "
      .. "normalisation needs two)", o.label, o.sampler:size(o.train), o.batch)
  elseif left > 0 then
    notice.say("%s: %d of %d images are left out of each epoch (too few for a last batch over %d ranks)", o.label, left,
      o.sampler:size(o.train), dist.world())
  end
  return loader {
    dataset = o.train, batch = o.batch, sampler = o.sampler, seed = o.seed, drop_last = left > 0, augment = o.augment,
    deal = "images",
  }
end

--- Trains, from checked options.
local function run_epochs(model, o)
  ranks.check(o)
  o.optimizer = optimizers.new(model, o, o.schedule:lr(1))
  local settings = o.checkpoint and run_settings(o)
  local run = start(model, o, settings)
  run.exchange = ranks.start(model, o)
  local batches, last = loader_of(o), nil
  while run.epoch < o.epochs and not out_of_patience(run, o) do
    local row
    row, last = run_epoch(run, model, batches, o)
    if o.checkpoint then dist.on_first(checkpoint.save, o.checkpoint, saved_state(run, last, o), settings) end
    watch.tell("epoch", { label = o.label, epochs = o.epochs, history = run.history })
    if o.on_epoch then o.on_epoch(row, run.history) end
  end
  return {
    history = history.named(run.history),
    best = run.best,
    last = last or { model = model:state_dict(), optimizer = o.optimizer:state_dict() },
    state = run.state,
    lr = run.history[run.epoch].lr,
    waited = run.exchange and run.exchange.waited,
  }
end

local train = { schema = schema }

--- Trains a model. It ends with the last epoch's weights, in train mode.
-- An epoch shows what the sampler says, by default every image once in an order of its own; where a single image is
-- left for the last batch, it is left out (batch normalisation needs two), and that is said.
-- @function train
-- @tparam Module model images {N,H,W,C} float32 -> logits {N,k}
-- @tparam table options
--
-- * `train`: data set; `val`: data set, evaluated after every epoch (optional); `epochs`; `batch` (128)
-- * `micro_batch`: at most so many images at once, in parts whose gradients are added up before the step (memory for
--   time). The result is that of the whole batch but for rounding, except that batch normalisation normalises over each
--   part alone, and that a loss that divides by weights does so within each part
-- * `sampler` (every image once, shuffled): as from mt.data.samplers; `augment`: random changes of the training images,
--   as from mt.data.augment
-- * `objective`: what is minimised: a function (model, batch, run) -> loss, logits (optional: for the training
--   accuracy), as from mt.losses; or the name of a loss there. By default cross-entropy, with `class_weights` (list or
--   tensor {k}), `label_smoothing` (0) and `ignore_index` (a label that does not count): PyTorch's values.
--   `batch` is the loader's record; `run` has `epoch`, `step` (within the epoch), `total_steps`, `lr`, and `state`, a
--   table of the method's own (tensors, numbers, strings, tables of them), which the checkpoint keeps
-- * `optimizer` ("sgd"; "adam", "adamw"; a function (parameters, lr) -> optimiser; or an optimiser), `momentum` (0.9),
--   `weight_decay` (1e-4); `lr` (0.01), `schedule` (lr halved after each quarter of the epochs): anything with
--   `lr(self, epoch)`, and `step_lr(self, step, steps)` where the rate changes within an epoch
-- * `patience`: training ends when the best epoch is so many epochs ago (left out: never before `epochs`)
-- * `clip_grad_norm`: gradients are scaled down to this norm; `before_step`, `after_step`: functions (model, batch,
--   run) around the optimiser's step
-- * `select` ("accuracy" on validation; "worst_class", "balanced", "auroc", "auprc", "loss", "brier", "ece"; with the
--   labels of groups "worst_group", "balanced_group", "weighted" by the training set's groups; "last", or a function
--   (row of the history, result of mt.evaluate) -> number): which epoch is the best; `groups` ("group"): the
--   field with the groups
-- * `seed` (1); `on_epoch`: called with each new row of the history and the whole history
-- * `checkpoint`: path of a file written after every epoch; `resume` (false): go on from that file if it is there, else
--   it is removed and the run starts anew; `settings`: further name -> value that must be equal when a run is resumed
--   (what the model is, say); `attached`: name -> further objects with state_dict and load_state_dict (a second net,
--   its optimiser) that the checkpoint keeps
-- * `progress` (true), `label` of the progress bar
-- * on several ranks (masktune.dist) each takes its part of every batch: `batch` is that of all together, so that the
--   same options mean the same training (a larger batch may want a larger rate: that is yours to say), `micro_batch`
--   is a rank's. `sync_batch_norm` (false): batch norm's statistics are those of the whole batch, and the result is one
--   process's but for rounding; else each rank's own, and the running ones are averaged after an epoch. `bucket_mb`
--   (4): gradients are summed in parts of so many MiB
-- @treturn table `history`: per epoch `epoch`, `lr`, `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy`,
-- `val_worst_class`, `val_worst_group` (accuracies in [0, 1]; those of the training set as seen during the epoch),
-- `seconds`; `best`: `epoch`, `score`, `accuracy`, `model` and `optimizer` (state dicts) of the epoch that `select`
-- prefers (the first of equals; the last epoch where there is no validation set); `last`: `model` and `optimizer`;
-- `state`: the run's; `lr`: the last rate; on several ranks `waited`: seconds that this one has stood still for
-- gradients of others
-- @raise when a loss is NaN or infinite, naming epoch and step; when an image is, naming it, before anything changed;
-- when weights are after an epoch; when the checkpoint belongs to other settings
function train.run(model, options)
  check.argument("mt.train", "model", model, { type = "module" })
  local o = check.options("mt.train", options, schema)
  check_sets(model, o)
  resolve(o)
  check_content(o)
  return dist.guarded(run_epochs, model, o)
end

return setmetatable(train, { __call = function(_, model, options) return train.run(model, options) end })
