-- Training on real photos beside PyTorch, from the same weights and in the same order: for who has Waterbirds and the
-- published weights of EfficientNet-Lite0, where MASKTUNE_WATERBIRDS and MASKTUNE_EFFICIENTNET_LITE0 name them.
local mt = require "masktune"
local process = require "support.process"

local python = process.quoted(os.getenv("MASKTUNE_PYTHON") or "python3")
local root, weights = os.getenv("MASKTUNE_WATERBIRDS"), os.getenv("MASKTUNE_EFFICIENTNET_LITE0")

local STEPS, BATCH, SIZE, LR = 50, 16, 96, 1e-4 -- the rate is the paper's

--- The first batches of an epoch as uint8, for PyTorch.
local function save_batches(set, path)
  local order = mt.data.samplers.shuffled():order(set, 1, 1)
  local images, labels = {}, {}
  for step = 1, STEPS do
    local indices = order:narrow(1, (step - 1) * BATCH + 1, BATCH)
    local images_of_step = set.images:index(indices)
    images[step] = images_of_step:narrow(1, 1, BATCH)
    labels[step] = set.labels:index(indices)
  end
  mt.save(path, { images = mt.stack(images, 1), labels = mt.stack(labels, 1) })
end

--- Our losses: an epoch of mt.train over as many images.
local function our_losses(model, set)
  local losses = {}
  local order = mt.data.samplers.shuffled():order(set, 1, 1):narrow(1, 1, STEPS * BATCH)
  mt.train(model, {
    train = mt.data.subset(set, order), sampler = mt.data.samplers.sequential(), epochs = 1, batch = BATCH, seed = 1,
    schedule = mt.schedule.constant { lr = LR }, progress = false,
    objective = function(net, batch)
      local logits = net(batch.images)
      local loss = mt.cross_entropy(logits, batch.labels)
      losses[#losses + 1] = loss:item()
      return loss, logits
    end,
  })
  return losses
end

describe("training on Waterbirds #nosan", function()
  it("has PyTorch's losses, step by step", function()
    if not (root and weights) then
      return pending("MASKTUNE_WATERBIRDS and MASKTUNE_EFFICIENTNET_LITE0 do not name the photos and the weights")
    end
    if not process.run(python .. " -c 'import torch, safetensors, efficientnet_lite_pytorch'") then
      return pending("no python with torch, safetensors and efficientnet-lite-pytorch (MASKTUNE_PYTHON names one)")
    end
    process.with_folder(function(folder)
      mt.manual_seed(1)
      local model = mt.models.efficientnet_lite0 { classes = 2, pretrained = weights, dropout = 0 }
      mt.save(folder .. "/start.safetensors", model:state_dict())
      local set = mt.data.waterbirds { root = root, size = SIZE }
      save_batches(set, folder .. "/batches.safetensors")
      local ok, output = process.run(("%s -B spec/oracle/waterbirds_case.py %s %g"):format(python,
        process.quoted(folder), LR))
      assert.is_true(ok, output)
      local ours, step = our_losses(model, set), 0
      for line in output:gmatch("[^\n]+") do
        step = step + 1
        assert.is_true(math.abs(ours[step] - tonumber(line)) < 1e-3, ("step %d: ours %.6f, PyTorch's %s"):format(step,
          ours[step], line))
      end
      assert.equal(STEPS, step)
    end)
  end)
end)
