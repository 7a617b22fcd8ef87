-- What ranks do together, checked on each of them: together.lua FOLDER. Rank 0 leaves results in the folder.
local mt = require "masktune"
local dist, folder = mt.dist, arg[1]
local rank, world = dist.rank(), dist.world()

local function same(got, expected, what)
  if got ~= expected then error(("%s: %s, expected %s"):format(what, got, expected), 2) end
end

-- Sums, of sizes that take one round and two, and that do not divide among the ranks.
for _, count in ipairs { 1, 3, 1000, 100003 } do
  local sum = dist.all_reduce(mt.full({ count }, rank + 1.0))
  same(sum:min():item(), world * (world + 1) / 2, "sum of " .. count)
  same(sum:max():item(), world * (world + 1) / 2, "sum of " .. count)
end
same(dist.all_reduce(mt.full({ 3 }, rank, "int32"), "max")[2]:item(), world - 1, "max")
same(dist.all_reduce(mt.full({ 3 }, rank, "int32"), "min")[2]:item(), 0, "min")
same(dist.all_reduce(mt.full({ 70000 }, 2.0 * rank), "mean")[70000]:item(), world - 1, "mean")

-- In the order of the ranks: (1e8 + 1) - 1e8 is 0 in float32, 1e8 - 1e8 + 1 would be 1.
local order = dist.all_reduce(mt.full({ 50000 }, ({ [0] = 1e8, 1, -1e8 })[rank] or 0))
local expected = mt.zeros(1)
for other = 0, world - 1 do
  expected = expected + (({ [0] = 1e8, 1, -1e8 })[other] or 0)
end
same(order[49999]:item(), expected[1]:item(), "order of sums")

local table_of_ranks = dist.broadcast(mt.full({ 2, 3 }, rank, "int32"), world - 1)
same(table_of_ranks[2]:sum():item(), 3 * (world - 1), "broadcast")
local gathered = dist.gather(mt.full({ rank, 2 }, rank, "uint8")) -- rank 0 has no rows
same(#gathered, world * (world - 1) // 2, "gather")
if world > 1 then same(gathered[#gathered]:sum():item(), 2 * (world - 1), "gather") end
local value = dist.from_first(function() return { t = mt.full({ 2 }, 7), list = { 1, 2.5, "x" }, yes = true } end)
same(value.t[2]:item() + value.list[2], 9.5, "value of the first")
same(dist.from_first(function() return nil end), nil, "nil of the first")
dist.barrier()
same(dist.alone(function() return dist.world() end), 1, "world alone")

-- Training with batch norm over all, of a net without jumps (where rounding is not amplified); and in parts, of one
-- that does not look at the rest of the batch.
local function net_of_seed(norm)
  mt.manual_seed(3)
  norm = norm or mt.nn.BatchNorm2d
  return mt.nn.Sequential {
    mt.nn.Conv2d(3, 8, 3, { stride = 2 }), norm(8), mt.nn.SiLU(), mt.nn.Conv2d(8, 8, 3, { stride = 2 }), norm(8),
    mt.nn.Tanh(), mt.nn.GlobalAvgPool2d(), mt.nn.Linear(8, 2),
  }
end

local set = mt.data.biased_mnist { source = mt.data.synthetic_digits { count = 405, seed = 5 }, seed = 1 }
local function train(net, options)
  local result = mt.train(net, mt.tables.merged({
    train = set, val = set, epochs = 1, batch = 20, lr = 0.05, seed = 2, progress = false, sync_batch_norm = true,
    bucket_mb = 0.001,
  }, options or {}))
  if rank == 0 then
    local state = net:state_dict()
    for name, tensor in pairs(state) do
      if tensor:dtype() ~= "float32" then state[name] = nil end
    end
    return state, result
  end
  return {}, result
end

local net = net_of_seed()
local trained, result = train(net)
local even = mt.data.subset(set, 400)
local apart = train(net_of_seed(), { train = even, sync_batch_norm = false })
local parts = train(net_of_seed(mt.nn.InstanceNorm2d), {
  train = even, micro_batch = 3, batch = 40, sync_batch_norm = false,
})

-- Shares of an epoch: every image once, and each batch that of one process.
local seen, loader = {}, mt.data.loader { dataset = set, batch = 20, seed = 4, deal = "images" }
for batch in loader:epoch(1) do
  local all = dist.gather(batch.indices)
  same(#all, batch.total, "images of a batch")
  for _, position in ipairs(all:totable()) do
    same(seen[position], nil, "image seen before")
    seen[position] = true
  end
end
same(#seen, 405, "images seen")

-- Inference, on the same weights everywhere: the same bits as one process's.
net = net_of_seed()
net:eval()
net.cam_layer = "3"
local small = mt.data.subset(set, 100)
local measured = mt.evaluate(net, set, { batch = 64, predictions = true })
local heat, predicted = mt.masktune.explain(net, small, { layer = "3", progress = false })
local probabilities = mt.selective.predict(net, set, { batch = 64 })
local inference = {
  heat = heat, predicted = predicted, loss = mt.tensor { measured.loss, measured.brier, measured.ece },
  predictions = mt.tensor(measured.predictions, { dtype = "int32" }), probabilities = mt.tensor(probabilities),
}

-- One file of heatmaps and one of masks, of which each rank fills its part.
local masks = require "masktune.recipe.masks"
local rules = { protocol = "paper", rule = "sigma", k = 1, empty = "keep" }
masks.explain_into(net, small, { layer = "3", progress = false }, folder .. "/heat.safetensors", { of = "small" })
local keep = masks.keep_in("spec", folder .. "/masks.safetensors", { of = "small" }, small, "cam", rules,
  function() return heat end, 1)
local alone = mt.mask.threshold(heat, { protocol = "paper", k = 1, size = { 28, 28 } })
same(keep:narrow(1, 1, 100):ne(alone):sum():item(), 0, "differing pixels of masks")

if rank == 0 then
  for name, state in pairs { trained = trained, apart = apart, parts = parts, inference = inference } do
    mt.save(("%s/%s.safetensors"):format(folder, name), state)
  end
  mt.save(folder .. "/history.safetensors", {
    loss = mt.tensor { result.history[1].train_loss }, val_loss = mt.tensor { result.history[1].val_loss },
    accuracy = mt.tensor { result.history[1].train_accuracy },
  })
end
