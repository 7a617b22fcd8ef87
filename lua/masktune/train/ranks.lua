--- What training does where it runs on several ranks (masktune.dist): it is data-parallel, each rank takes its part of
-- every batch. A loss is weighted with the part's share of the batch, so that the ranks' gradients add up to that of
-- the whole batch; they are summed in buckets, while backward still runs. With one rank nothing here does anything.
-- @module masktune.train.ranks
local check = require "masktune.check"
local core = require "masktune.core"
local dist = require "masktune.dist"

local ranks = {}

--- The options.
ranks.schema = {
  sync_batch_norm = { type = "boolean", default = false },
  bucket_mb = { type = "number", above = 0, default = 4 },
}

--- The fewest images that a batch must have: each rank needs one, and to normalise over its own alone two.
-- @tparam table o options of mt.train
-- @treturn integer
function ranks.least_batch(o)
  local each = (o.sync_batch_norm or o.batch == 1) and 1 or 2
  return dist.world() == 1 and 1 or dist.world() * each
end

--- Refuses what cannot be dealt, and options that differ between the ranks.
function ranks.check(o)
  if dist.world() == 1 then return end
  local least = ranks.least_batch(o)
  if o.batch < least then
    check.fail("mt.train: option 'batch': %d images over %d ranks, at least %d expected (%s)", o.batch, dist.world(),
      least, least > dist.world() and "batch normalisation needs two on each rank, or sync_batch_norm" or "one on each")
  end
  local numbers = { "batch", "epochs", "micro_batch", "seed" }
  for _, name in ipairs(numbers) do
    local value = o[name] or 0
    local low, high = core.tensor({ value % 2 ^ 24 }), core.tensor({ value % 2 ^ 24 })
    if dist.all_reduce(low, "min")[1]:item() ~= dist.all_reduce(high, "max")[1]:item() then
      check.fail("mt.train: option '%s': %s on rank %d and something else on another: expected the same on all", name,
        o[name], dist.rank())
    end
  end
end

--- Gives all ranks the first one's weights and optimiser state.
local function broadcast(model, optimizer)
  model:load_state_dict(dist.from_first(model.state_dict, model))
  optimizer:load_state_dict(dist.from_first(optimizer.state_dict, optimizer))
end

local Exchange = {}
Exchange.__index = Exchange

--- Before the backward pass that completes a step's gradients.
function Exchange:begin() self.buckets:begin() end

--- After it: the gradients are those of the whole batch then.
function Exchange:finish() self.waited = self.waited + self.buckets:finish() end

--- Makes ready for steps.
-- @treturn ?table what sums the gradients; nil with one rank
function ranks.start(model, o)
  if dist.world() == 1 then return nil end
  broadcast(model, o.optimizer)
  return setmetatable({ buckets = dist.buckets(model:parameters(), { mb = o.bucket_mb }), waited = 0 }, Exchange)
end

--- A number of its own for every rank and epoch, so that no two drop the same units.
local function rank_seed(seed, epoch)
  return seed ~ epoch * 0x9E3779B97F4A7C15 ~ (dist.rank() + 1) * 0x94D049BB133111EB
end

--- Calls f(...), an epoch's steps, with the ranks' random numbers apart and batch norm as the options say. Running
-- statistics that the ranks have gathered apart are averaged.
-- @return what f returns
function ranks.epoch(model, o, epoch, f, ...)
  if dist.world() == 1 then return f(...) end
  core.manual_seed(rank_seed(o.seed, epoch))
  core.dist.sync_batch(o.sync_batch_norm)
  local results = table.pack(f(...))
  core.dist.sync_batch(false)
  if not o.sync_batch_norm then
    for _, buffer in ipairs(model:buffers()) do
      if buffer:dtype() == "float32" then dist.all_reduce(buffer, "mean") end
    end
  end
  return table.unpack(results, 1, results.n)
end

--- The mean loss and the right answers of a step, of all ranks.
-- @number loss this rank's, weighted with its share
-- @tparam ?number right nil: not known
-- @treturn number
-- @treturn ?number
function ranks.sums(loss, right)
  if dist.world() == 1 then return loss, right end
  local whole, answers, known = dist.sums(loss, right or 0, right and 1 or 0)
  return whole, known == dist.world() and answers or nil
end

return ranks
