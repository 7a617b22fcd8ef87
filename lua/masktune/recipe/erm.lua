--- Step 1: empirical risk minimisation (paper, equation 1).
-- @module masktune.recipe.erm
local check = require "masktune.check"
local tables = require "masktune.tables"
local train = require "masktune.train"

--- mt.train's options; `epochs` need not be given.
local schema = tables.merged(train.schema, {
  epochs = { type = "integer", min = 1, default = 100 },
  label = { type = "string", default = "ERM" },
})

--- Trains a model from where it stands.
-- @tparam Module model
-- @tparam table options as of mt.train; `epochs` (100)
-- @treturn table as from mt.train
local function erm(model, options)
  return train(model, check.options("mt.masktune.erm", options, schema))
end

return { run = erm, schema = schema }
