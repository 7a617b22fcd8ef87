--- A learning rate for these images and this net: a few steps with each of some.
-- @module masktune.command.parts.rates
local data = require "masktune.data"
local evaluate = require "masktune.evaluate"
local progress = require "masktune.progress"
local train = require "masktune.train"

local rates = {}

local STEPS, VAL_IMAGES = 16, 200
local CANDIDATES = { pretrained = { 0.003, 0.01, 0.03 }, scratch = { 0.01, 0.03, 0.1 } }

local function few(set, count)
  if data.size(set) <= count then return set end
  return (select(2, data.split(set, { count = count, seed = 0 })))
end

--- The rate with which the validation loss falls most in a few steps; a rate at which training breaks down loses.
-- @tparam Module model stays as it is
-- @tparam table sets
-- @tparam table o `batch`, `pretrained`, `seed`
-- @treturn number
function rates.search(model, sets, o)
  local some, val = few(sets.train, STEPS * o.batch), few(sets.val, VAL_IMAGES)
  local best, least
  for _, rate in ipairs(CANDIDATES[o.pretrained and "pretrained" or "scratch"]) do
    local trial = model:clone()
    trial.preprocess = model.preprocess
    local sound, loss = pcall(function()
      train(trial, {
        train = some, epochs = math.max(1, STEPS * o.batch // data.size(some)), batch = o.batch, lr = rate,
        seed = o.seed, progress = false,
      })
      return evaluate(trial, val).loss
    end)
    if not sound and type(loss) ~= "string" then error(loss, 0) end -- stopped by the user
    progress.note("rate %g: %s", rate, sound and ("validation loss %.4f after a few steps"):format(loss) or loss)
    if sound and loss == loss and (not least or loss < least) then best, least = rate, loss end
  end
  if not best then error("no learning rate is sound with these images: --lr RATE gives one", 0) end
  return best
end

return rates
