--- Runs a method: what all of them have in common, from checking the options to what a result holds.
-- @module masktune.recipe.run
local check = require "masktune.check"
local dataset = require "masktune.data.dataset"
local dist = require "masktune.dist"
local erm = require "masktune.recipe.erm"
local optimizers = require "masktune.train.optimizer"
local schedules = require "masktune.schedule"
local sorted_names = require("masktune.names").sorted
local stages = require "masktune.recipe.stages"
local tables = require "masktune.tables"

local DEFAULT_LR = 0.01

--- What every method takes.
local common = tables.merged(erm.schema, { initial = { type = "table", optional = true } })

local function clone_with(model, state)
  local clone = model:clone()
  clone:load_state_dict(state)
  return clone
end

--- The result of ERM: made, resumed, or given (the result of mt.masktune.erm, or a state dict).
local function initial_of(model, o, folder)
  if not o.initial then
    return erm.run(model, tables.merged(tables.picked(o, erm.schema), { checkpoint = folder:path("erm") }))
  end
  if o.initial.last then return o.initial end
  local state = { model = o.initial }
  local schedule = o.schedule or schedules.quarters(o.lr or DEFAULT_LR, o.epochs)
  return { history = {}, best = state, last = state, lr = schedule:lr(o.epochs) }
end

--- What a result says of the ERM it came from.
local function base_result(model, first, which)
  local seconds = 0
  for _, row in ipairs(first.history) do
    seconds = seconds + row.seconds
  end
  return {
    history = first.history,
    best_epoch = first.best.epoch,
    seconds = { erm = seconds },
    initial = clone_with(model, first[which].model),
    best = clone_with(model, first.best.model),
  }
end

--- What a method is given to work with:
--
-- * `erm()`: the result of ERM, trained, resumed or given
-- * `result(first, which)`: the beginning of a result: `history`, `best_epoch`, `seconds`, `initial` (the ERM model
--   with the weights `which`: "best" or "last"), `best`
-- * `stages`: the folder of finished stages (masktune.recipe.stages)
-- * `where`: the public function's name
-- * `check(what, options, schema)`, `refuse(message, ...)`: errors in the public function's name
local function context_of(where, model, o)
  local folder, first = stages.open(o.checkpoint, o.resume), nil
  return {
    stages = folder,
    where = where,
    erm = function()
      first = first or initial_of(model, o, folder)
      return first
    end,
    result = function(from, which) return base_result(model, from, which) end,
    check = function(what, options, schema) return check.options(("%s: %s"):format(where, what), options, schema) end,
    refuse = function(message, ...) error(("%s: "):format(where) .. message:format(...), 0) end,
  }
end

local Result = { __name = "masktune.Result" }

--- What a method did, in lines.
function Result.__tostring(self)
  local fine = self.finetune
  local lines = { ("ERM of %d epochs, the best is %s"):format(#self.history, self.best_epoch or "given") }
  for i, mask in ipairs(self.masks or {}) do
    lines[#lines + 1] = ("masks %d: hide %.1f %% of the pixels, nothing of %d images"):format(i, 100 * mask.fraction,
      mask.empty)
  end
  if fine then
    lines[#lines + 1] = ("fine-tuned at rate %.4g, %d iteration%s, %d candidate%s"):format(fine.lr, fine.iterations,
      fine.iterations == 1 and "" or "s", #fine.candidates, #fine.candidates == 1 and "" or "s")
  end
  local names = sorted_names(self)
  lines[#lines + 1] = "fields: " .. table.concat(names, ", ")
  return table.concat(lines, "\n")
end

--- Runs a method.
-- @tparam table method as in masktune.methods
-- @string where the public function, for messages
-- @tparam Module model ends with the final weights
-- @tparam table options
-- @treturn table what the method says, and `final` (`model`)
return function(method, where, model, options)
  check.argument(where, "model", model, { type = "module" })
  local o = check.options(where, options, tables.merged(common, method.schema))
  dataset.check(where, "option 'train'", o.train)
  if o.val then dataset.check(where, "option 'val'", o.val) end
  o.train, o.val = dataset.for_model(o.train, model), o.val and dataset.for_model(o.val, model)
  optimizers.refuse_made(where, o)
  model:clone() -- what cannot be copied is refused now, not after the training
  local result = dist.guarded(method.run, model, o, context_of(where, model, o))
  result.final = model
  return setmetatable(result, Result)
end
