#!/usr/bin/env lua5.4
-- CelebA (Liu et al. 2015; the paper's Table 1): the colour of hair, which a net reads off the gender. A part of the
-- images will do: it is counted, and said.
--
--   lua5.4 examples/celeba.lua --data celeba --dry-run      what was found, and how long a run takes
--   lua5.4 examples/celeba.lua --data celeba --seeds 1,2,3  the paper's settings
--   lua5.4 examples/celeba.lua --help

dofile((arg[0]:match("^.*/") or "") .. "checkout.lua")

local mt = require "masktune"
local text = mt.cli.kinds.text

os.exit(mt.experiment.run({
  name = "celeba.lua",
  title = "CelebA",
  about = "ERM, controls and MaskTune on faces: the colour of hair, and a shortcut to it.",
  data_help = "folder with CelebA's img_align_celeba and list_attr_celeba.txt",
  folders = { "celeba", "CelebA" },
  marker = "img_align_celeba",
  out = "out/celeba",
  defaults = { net = "resnet50", size = 224, epochs = 20, batch = 512, lr = 1e-4, schedule = "constant" },
  options = {
    { name = "attributes", value = "FILE", kind = text, help = "the table of attributes",
      default_text = "list_attr_celeba.txt or .csv in --data" },
    { name = "partition", value = "FILE", kind = text, help = "the official split",
      default_text = "list_eval_partition.txt or .csv in --data, else by image number" },
    { name = "target", value = "NAME", kind = text, default = "Blond_Hair", default_text = "Blond_Hair",
      help = "the attribute that is the class" },
    { name = "shortcut", value = "NAME", kind = text, default = "Male", default_text = "Male",
      help = "the attribute that makes the groups" },
  },
  open = function(o, root, split)
    return mt.data.celeba {
      root = root, split = split, size = o.size, attributes = o.attributes, partition = o.partition, target = o.target,
      attribute = o.shortcut, cache = o.cache,
    }
  end,
  columns = mt.experiment.measures.by_group.columns,
  measure = mt.experiment.measures.by_group.measure,
}, arg), true)
