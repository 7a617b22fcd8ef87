--- Training from scratch with an objective, a sampler or a data set of the method's own: what the methods that do no
-- more than train have in common. Their runs are kept among the stages under the digest of the method's options.
-- @module masktune.recipe.training
local check = require "masktune.check"
local checkpoint = require "masktune.checkpoint"
local dataset = require "masktune.data.dataset"
local erm = require "masktune.recipe.erm"
local objective = require "masktune.objective"
local optimizers = require "masktune.train.optimizer"
local tables = require "masktune.tables"

local training = {}

--- The option of every such method: which weights it ends with.
training.schema = { weights = { choices = { "last", "best" }, default = "last" } }

local function option_text(value)
  if type(value) ~= "table" or getmetatable(value) then return checkpoint.text(value) end
  local texts = {}
  for i, item in ipairs(value) do
    texts[i] = tostring(item)
  end
  return "{" .. table.concat(texts, ", ") .. "}"
end

--- A method's options as settings; and what is known of each training image, found groups among it.
local function settings_of(o, set, schema)
  local known = {}
  for name, value in pairs(set) do
    if check.is_tensor(value) and name ~= dataset.input(set) then known[name] = value end
  end
  local settings = { seed = o.seed, known = checkpoint.digest(known) }
  for name in pairs(schema) do
    if name ~= "weights" then settings[name] = option_text(o[name]) end
  end
  return settings
end

--- An objective that prints as its name and a method's options.
function training.objective(name, o, schema, compute)
  local options = {}
  for option in pairs(schema) do
    options[option] = option_text(o[option])
  end
  return objective(name, options, compute)
end

--- Two hooks one after the other; either may be nil.
function training.both(first, second)
  if not (first and second) then return first or second end
  return function(...)
    first(...)
    second(...)
  end
end

--- A second net or head that is trained beside the model, by an optimiser of the same kind at the same rate.
-- @string name
-- @tparam Module module
-- @tparam table o options of mt.train
-- @treturn table `attached` and `after_step`, for a plan
function training.beside(name, module, o)
  module:train()
  local optimizer = optimizers.new(module, o, 1)
  return {
    attached = { [name] = module, [name .. "_optimizer"] = optimizer },
    after_step = function(_, _, run)
      optimizer:set_lr(run.lr)
      optimizer:step()
      optimizer:zero_grad()
    end,
  }
end

--- Refuses the options that the method settles itself.
-- @tparam table o
-- @tparam table context as in masktune.recipe.run
-- @tparam {string,...} names
function training.refuse(o, context, names)
  for _, name in ipairs(names) do
    if o[name] ~= nil then context.refuse("option '%s': the method has its own, nil expected", name) end
  end
end

--- Trains.
-- @tparam Module model from where it stands; ends with the last epoch's weights
-- @tparam table o options of the method and of mt.train
-- @tparam table context as in masktune.recipe.run
-- @tparam table plan `name` of the stage, `schema` (the method's options), and of mt.train's options those that are the
-- method's own: `train`, `objective`, `sampler`, `epochs`, `schedule`, `attached`, `after_step`, `label`; `settings`
-- @treturn table as from mt.train
function training.train(model, o, context, plan)
  local own = tables.without(plan, { "name", "schema", "settings", "attached", "after_step" })
  local names = {}
  for name in pairs(own) do
    if name == "objective" or name == "sampler" then names[#names + 1] = name end
  end
  training.refuse(o, context, names)
  local settings = tables.merged(settings_of(o, own.train or o.train, plan.schema), plan.settings or {})
  return erm.run(model, tables.merged(tables.picked(o, erm.schema), {
    checkpoint = context.stages:path("train-" .. plan.name, settings),
    attached = tables.merged(o.attached, plan.attached or {}),
    after_step = training.both(plan.after_step, o.after_step),
    label = plan.name,
  }, own))
end

--- The option of methods that begin with a net whose answers show the shortcut.
training.first_schema = { first_epochs = { type = "integer", min = 1, optional = true } }

--- That net: ERM of `first_epochs`, or where that is not given the ERM that methods share. The model stays as it is.
-- @tparam Module model
-- @tparam table o
-- @tparam table context
-- @tparam[opt] integer epochs instead of o.first_epochs
-- @treturn Module
function training.first(model, o, context, epochs)
  epochs = epochs or o.first_epochs
  if epochs then
    local net = model:clone()
    training.train(net, tables.without(o, { "first_epochs" }), context, {
      name = "first", schema = {}, settings = { epochs = epochs }, epochs = epochs,
    })
    return net
  end
  local start, net = model:clone(), model:clone()
  net:load_state_dict(context.erm().last.model)
  model:load_state_dict(start:state_dict())
  return net
end

--- The result of a method that ended with a training.
-- @tparam Module model ends with the weights that `weights` asks for
-- @tparam table o
-- @tparam table context
-- @tparam table trained as from training.train
-- @treturn table as of mt.masktune: `history`, `best_epoch`, `best`, `initial` (what the method ends with), `state`;
-- `seconds`: `train`
function training.result(model, o, context, trained)
  model:load_state_dict(trained[o.weights].model)
  local result = context.result(trained, o.weights)
  result.seconds = { train = result.seconds.erm }
  result.state = trained.state
  return result
end

--- A method that trains once.
-- @tparam table facts of masktune.methods, but for `run`; `name`, and `plan`: function (o, context, model) -> what
-- differs from ERM, as of training.train
-- @treturn table method
function training.method(facts)
  local schema = tables.merged(training.schema, facts.schema or {})
  local told = tables.without(facts, { "name", "plan" })
  return tables.merged({ stages = "training", cost = "the epochs" }, told, {
    schema = schema,
    run = function(model, o, context)
      local plan = tables.merged({ schema = schema, name = facts.name }, facts.plan(o, context, model))
      return training.result(model, o, context, training.train(model, o, context, plan))
    end,
  })
end

return training
