#!/usr/bin/env lua5.4
-- Waterbirds (Sagawa et al. 2020; the paper's Table 2): birds of the water and of the land, which a net tells apart by
-- what is behind them.
--
--   lua5.4 examples/waterbirds.lua --data waterbirds_v1.0 --dry-run      what was found, and how long a run takes
--   lua5.4 examples/waterbirds.lua --data waterbirds_v1.0 --seeds 1,2,3  the paper's settings
--   lua5.4 examples/waterbirds.lua --help

dofile((arg[0]:match("^.*/") or "") .. "checkout.lua")

local mt = require "masktune"

os.exit(mt.experiment.run({
  name = "waterbirds.lua",
  title = "Waterbirds",
  about = "ERM, controls and MaskTune on birds before land or water.",
  data_help = "folder with Waterbirds' metadata.csv",
  folders = { "waterbirds_v1.0", "waterbird_complete95_forest2water2" },
  marker = "metadata.csv",
  out = "out/waterbirds",
  defaults = { net = "resnet50", size = 224, epochs = 100, batch = 128, lr = 1e-4, schedule = "constant" },
  open = function(o, root, split)
    return mt.data.waterbirds { root = root, split = split, size = o.size, cache = o.cache }
  end,
  columns = mt.experiment.measures.by_group.columns,
  measure = mt.experiment.measures.by_group.measure,
}, arg), true)
