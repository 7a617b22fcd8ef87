--- What evaluation and prediction have in common.
-- @module masktune.inference
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"

local inference = {}

--- The arguments of a function (model, set, options), checked.
-- @string where the public function
-- @param model
-- @param set a data set of one image or more
-- @tparam ?table options
-- @tparam table schema of the options
-- @treturn table options
function inference.arguments(where, model, set, options, schema)
  check.argument(where, "model", model, { type = "module" })
  dataset.check(where, "argument 'dataset'", set)
  local o = check.options(where, options, schema)
  if dataset.count(set) == 0 then check.fail(where .. ": argument 'dataset': 1 image or more expected, got 0") end
  return o
end

--- Calls run(model, ...) with the model in eval mode and without recording gradients; its mode is put back afterwards,
-- whatever happens.
-- @return what run returns
function inference.run(run, model, ...)
  local was_training = model:is_training()
  model:eval()
  local results = table.pack(pcall(core.no_grad, run, model, ...))
  model:train(was_training)
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

return inference
