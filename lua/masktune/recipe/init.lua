--- The whole recipe, `mt.masktune(model, options)`, and its steps one by one: `mt.masktune.erm`, `.explain`,
-- `.mask_dataset`, `.finetune`.
-- A stage (ERM, heatmaps and fine-tuning of an iteration) depends on nothing but its settings and the weights it starts
-- from, random numbers included; so a stage can be skipped when its result is on disk, and repeated when it is not, and
-- the final weights are the same bits.
-- @module masktune.recipe
local check = require "masktune.check"
local erm = require "masktune.recipe.erm"
local finetune = require "masktune.recipe.finetune"
local masks = require "masktune.recipe.masks"
local methods = require "masktune.methods"
local registry = require "masktune.registry"
local run = require "masktune.recipe.run"
local stages = require "masktune.recipe.stages"
local tables = require "masktune.tables"

--- Trains, masks and fine-tunes.
-- @tparam Module model ends with the final weights
-- @tparam table options those of mt.train (`train`, `val`, `epochs` (100), `batch`, `lr`, `schedule`, `optimizer`,
-- `objective`, `augment` (also of the masked images), `seed`, `on_epoch`, `settings`, `progress`, ...), and
--
-- * `method` ("masktune"; another of mt.methods: `print(mt.methods)` lists them). What follows is what methods that
--   mask take; `randmask` also `random` ("square"; "area")
-- * `cam` ("xgradcam"; another of mt.cam, or a rule as masktune.cam describes it), `layer` (model.cam_layer) or
--   `layers`
-- * `protocol`, `rule`, `k`, `top`, `empty`, `fill`: as in mt.masktune.mask_dataset
-- * `mask_from` ("best" on validation; "last"), `finetune_from` ("last"; "best"): which ERM weights
-- * `finetune_lr` ("last": the schedule's last rate; a number; "auto": the last rate times each of auto.factors, of
--   which the one with the best score on the validation split is kept, among those that are still sound on it as it is.
--   The score needs no group labels: masktune.recipe.judges)
-- * `finetune_schedule`: "constant", or "cosine": the rate falls to zero over the epoch ("cosine" with "auto", whose
--   larger rates would leave noise behind; else "constant", as in the paper)
-- * `finetune_steps` (1): fine-tuning is an epoch, or as many whole epochs as this many steps need
-- * `exchange` (false): fine-tune on the images as they are and on exchanged ones too, not on masked ones alone
--   (masktune.recipe.exchange says why); for images in memory
-- * `auto`: `factors` ({1, 4, 16, 32}; {1, 2, 4, 8} where the rate is constant), `k` and `iterations` (lists to choose
--   from as well; not done without them; how: masktune.recipe.search); `by` ("judges": masktune.recipe.judges;
--   "masked": accuracy on the masked validation split; or, on that split as it is, any of mt.train's `select`, of which
--   "worst_group", "balanced_group" and "weighted" use the labels of its groups, or a function (row, result of
--   mt.evaluate) -> number): what rate and k are chosen by
-- * `iterations` (1 to 3), `accumulate` (false: later iterations mask the original images; true: the masked ones)
-- * `carry_momentum` (true)
-- * `initial`: skip ERM; a result of mt.masktune.erm, or a state dict
-- * `checkpoint`: a folder for finished stages; `resume` (false): skip what is finished there. Runs with other methods,
--   masks and rates may share the folder, and then share the ERM
-- @treturn table `initial` (model that was fine-tuned), `best` (ERM model, best by `select`), `final` (`model`);
-- `history` (of ERM, as in mt.train), `best_epoch`; `finetune`: `lr`, `k`, `iterations` chosen, `options`: the rate as
-- options, for a control at the same one; `candidates` (`lr`, `k`, `iteration`; `judged`: scores on the validation
-- split masked with each k, and their mean `score`: that of `val_accuracy` on masked and `exchanged_accuracy` on
-- exchanged images; `unmasked_accuracy` on the split as it is, `problem` where the candidate is not sound; `val_loss`,
-- `train_loss`, `train_accuracy`, `seconds`); `masks`: per iteration `keep` (of the training images, as from
-- mt.masktune.mask_dataset), `fraction` hidden, `empty`: images of which nothing is, `chosen` candidate, and `judged`
-- where the number of iterations was chosen: scores on the validation split as each iteration masked it; `seconds`:
-- `erm`, `mask`, `finetune`
-- @raise where candidates are to be chosen from and none is sound, with the reason for each
-- @function masktune
local function masktune(model, options)
  check.argument("mt.masktune", "options", options, { type = "table" })
  local name = options.method or "masktune"
  local method = registry.get(methods, name, "mt.masktune", "option 'method'")
  return run(method, "mt.masktune", model, tables.without(options, { "method" }))
end

return setmetatable({
  erm = erm.run,
  explain = masks.explain,
  mask_dataset = masks.mask_dataset,
  finetune = finetune.run,
  export = masks.export,
  clear = stages.clear,
}, { __call = function(_, model, options) return masktune(model, options) end })
