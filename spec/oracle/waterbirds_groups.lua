-- The worst group of Waterbirds after a training here and after the same one in PyTorch: EfficientNet-Lite0 from the
-- same weights (published, and a head of the seed), the same pixels in the same order, at the same rates, for as many
-- epochs, with the first eleven blocks frozen as in `examples/waterbirds.lua --freeze _blocks.10`. Without dropout,
-- which would draw other numbers. For who has the photos and the weights:
--
--   MASKTUNE_WATERBIRDS=waterbirds_v1.0 MASKTUNE_EFFICIENTNET_LITE0=efficientnet-lite0-57934424.pth \
--     lua5.4 spec/oracle/waterbirds_groups.lua [EPOCHS (2)] [SEEDS (1,2,3)] [LIMIT (all images)]
--
-- MASKTUNE_PYTHON names a Python with torch, safetensors and efficientnet-lite-pytorch. A line for each seed says the
-- worst group and the plain average of both, and on how many of the test images both give the same answer; the last one
-- the mean and the deviation over the seeds.
local mt = require "masktune"
local cut = require "masktune.experiment.cut"
local encoded = require "masktune.data.encoded"
local streamed = require "masktune.data.streamed"

local EPOCHS, LIMIT = tonumber(arg[1] or "2"), tonumber(arg[3])
local SEEDS = {}
for seed in (arg[2] or "1,2,3"):gmatch "%d+" do
  SEEDS[#SEEDS + 1] = math.tointeger(seed)
end
local SIZE, BATCH, LR, FROZEN = 128, 32, 0.02, "_blocks.10"

mt.set_num_threads(1)

local root = os.getenv "MASKTUNE_WATERBIRDS" or error("MASKTUNE_WATERBIRDS names no folder", 0)
local weights = os.getenv "MASKTUNE_EFFICIENTNET_LITE0" or error("MASKTUNE_EFFICIENTNET_LITE0 names no file", 0)
local python = os.getenv "MASKTUNE_PYTHON" or "python3"

local function quoted(text) return "'" .. text:gsub("'", [['\'']]) .. "'" end

local function images_of(split)
  local set = mt.data.waterbirds { root = root, split = split, size = SIZE }
  if LIMIT and LIMIT < mt.data.size(set) then set = select(2, mt.data.split(set, { count = LIMIT, seed = 1 })) end
  set.images = set.images:narrow(1, 1, mt.data.size(set)) -- decoded once, for both sides
  return set
end

--- What PyTorch is given: pixels, labels, the order of every epoch with its rate.
local function export(folder, seed, model, train, test, schedule)
  mt.save(folder .. "/start.safetensors", model:state_dict())
  local orders, rates = {}, {}
  for epoch = 1, EPOCHS do
    orders[epoch] = mt.data.samplers.shuffled():order(train, seed, epoch)
    rates[epoch] = schedule:lr(epoch)
  end
  mt.save(folder .. "/run.safetensors", {
    train = train.images, labels = train.labels, test = test.images, orders = mt.stack(orders, 1),
    rates = mt.tensor(rates),
  })
end

--- Trains here; the answers to the test images.
local function ours(seed, model, train, test, schedule)
  local first, rest = cut(model, FROZEN)
  local by = encoded.by(first, model.preprocess, "the frozen part", mt.checkpoint.digest)
  local function encode(set)
    return mt.tables.merged(set, { images = by(streamed.of_tensor(set.images)), preprocess = false })
  end
  mt.train(rest, {
    train = encode(train), epochs = EPOCHS, batch = BATCH, seed = seed, schedule = schedule, weight_decay = 1e-4,
    label = ("seed %d"):format(seed),
  })
  return mt.evaluate(rest, encode(test), { predictions = true }).predictions
end

local function theirs(folder)
  local answers = {}
  local pipe = assert(io.popen(("%s -B spec/oracle/waterbirds_groups.py %s %d"):format(quoted(python), quoted(folder),
    BATCH)))
  for line in pipe:lines() do
    answers[#answers + 1] = math.tointeger(tonumber(line))
  end
  assert(pipe:close())
  return answers
end

--- Worst group and average, in per cent.
local function accuracies(answers, set)
  local right = 0
  for i, label in ipairs(set.labels:totable()) do
    if answers[i] == label then right = right + 1 end
  end
  return 100 * mt.metrics.worst_group(answers, set.labels, set.group), 100 * right / #answers
end

local function agreement(a, b)
  local same = 0
  for i, answer in ipairs(a) do
    if b[i] == answer then same = same + 1 end
  end
  return 100 * same / #a
end

local train, test = images_of "train", images_of "test"
local folder = os.tmpname()
os.remove(folder)
mt.make_directory(folder)
local worst = { {}, {} }
for i, seed in ipairs(SEEDS) do
  mt.manual_seed(seed)
  local model = mt.models.efficientnet_lite0 { classes = train.classes, pretrained = weights, dropout = 0 }
  local schedule = mt.schedule.quarters(LR, EPOCHS)
  export(folder, seed, model, train, test, schedule)
  local answers = { ours(seed, model, train, test, schedule), theirs(folder) }
  local averages = {}
  for side = 1, 2 do
    worst[side][i], averages[side] = accuracies(answers[side], test)
  end
  print(("seed %d: worst group %.1f, PyTorch %.1f; average %.1f, PyTorch %.1f; same answer to %.2f %% of %d images")
    :format(seed, worst[1][i], worst[2][i], averages[1], averages[2], agreement(answers[1], answers[2]), #answers[1]))
  io.stdout:flush()
end
print(("worst group %s, PyTorch %s (mean +- std of %d seeds, %d epochs)"):format(mt.report.mean_std(worst[1]),
  mt.report.mean_std(worst[2]), #SEEDS, EPOCHS))
for _, name in ipairs { "start", "run" } do
  os.remove(("%s/%s.safetensors"):format(folder, name))
end
os.remove(folder)
