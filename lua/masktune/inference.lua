--- What evaluation and prediction have in common.
-- @module masktune.inference
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local dist = require "masktune.dist"

local inference = {}

--- The arguments of a function (model, set, options), checked.
-- @string where the public function
-- @param model
-- @param set a data set of one image or more
-- @tparam ?table options
-- @tparam table schema of the options
-- @treturn table options
-- @treturn table the set as the model wants it
function inference.arguments(where, model, set, options, schema)
  check.argument(where, "model", model, { type = "module" })
  dataset.check(where, "argument 'dataset'", set)
  local o = check.options(where, options, schema)
  set = dataset.for_model(set, model)
  if dataset.count(set) == 0 then check.fail(where .. ": argument 'dataset': 1 image or more expected, got 0") end
  return o, set
end

--- The modes of a model's parts, parents first; a table of the user's own has one. What is frozen needs none.
local function modes_of(model)
  if not core.is_module(model) then return { { part = model, training = model:is_training() } } end
  local modes = {}
  for _, part in model:modules() do
    if not part:is_frozen() then modes[#modes + 1] = { part = part, training = part:is_training() } end
  end
  return modes
end

local function in_eval_mode(run, model, ...)
  local modes = modes_of(model)
  model:eval()
  local results = table.pack(pcall(core.no_grad, run, model, ...))
  for _, mode in ipairs(modes) do
    mode.part:train(mode.training)
  end
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

--- Calls run(model, ...) with the model in eval mode and without recording gradients; the modes of all its parts are
-- put back afterwards, whatever happens.
-- @return what run returns
function inference.run(run, model, ...) return dist.guarded(in_eval_mode, run, model, ...) end

return inference
