#!/usr/bin/env lua5.4
-- ImageNet-9 and the Background Challenge (Xiao et al. 2021; the paper's Table 3): nine classes, tested with their
-- backgrounds exchanged or gone.
--
--   lua5.4 examples/background_challenge.lua --data bg_challenge --train-data in9l --dry-run
--   lua5.4 examples/background_challenge.lua --data bg_challenge --train-data in9l --seeds 1,2,3
--   lua5.4 examples/background_challenge.lua --help

dofile((arg[0]:match("^.*/") or "") .. "checkout.lua")

local mt = require "masktune"

local VARIANTS = { "original", "mixed_same", "mixed_rand", "only_fg" }

os.exit(mt.experiment.run({
  name = "background_challenge.lua",
  title = "Background Challenge",
  about = "ERM, controls and MaskTune on ImageNet-9, tested with exchanged backgrounds.",
  data_help = "folder with the challenge's original, mixed_same, mixed_rand, only_fg",
  folders = { "bg_challenge", "background_challenge" },
  marker = "mixed_rand",
  out = "out/background_challenge",
  defaults = { net = "resnet50", size = 224, epochs = 100, batch = 1024, lr = 1e-4, schedule = "30:0.1" },
  options = {
    { name = "train-data", value = "DIR", kind = mt.cli.kinds.text, help = "folder with the training images, "
      .. "in9l's train/00_dog and so on", default_text = "original/train in --data" },
  },
  open = function(o, root, split)
    return mt.data.background_challenge { root = o.train_data or root, split = split, size = o.size, cache = o.cache }
  end,
  validation_share = 0.1,
  tests = function(o, root)
    local tests = {}
    for i, variant in ipairs(VARIANTS) do
      tests[i] = {
        name = variant,
        set = mt.data.background_challenge { root = root, variant = variant, size = o.size, cache = o.cache },
      }
    end
    return tests
  end,
  figure_test = 3,
  columns = VARIANTS,
  measure = mt.experiment.measures.by_test.measure,
}, arg), true)
