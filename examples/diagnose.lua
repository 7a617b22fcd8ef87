#!/usr/bin/env lua5.4
-- A table of verdicts: nets that lean on something known, and nets that lean on nothing, as mt.diagnose sees them.
--
--   lua5.4 examples/diagnose.lua --count 10000 --epochs 3 --seeds 1,2
--   lua5.4 examples/diagnose.lua --photos waterbirds --root DIR --net efficientnet_lite0 --weights FILE
--   lua5.4 examples/diagnose.lua --help
--
-- Digits (MNIST where it is on disk, else drawn ones) with a square, two squares, a coloured background, a coloured
-- foreground, and without any; in two classes and in ten. Every net is trained here; the diagnosis sees validation
-- images of the training kind, and no group labels. With --photos a net that is trained already, on photos.

dofile((arg[0]:match("^.*/") or "") .. "checkout.lua")

local experiment_sets = require "masktune.experiment.sets"
local mt = require "masktune"
local pretrained = require "masktune.models.parts.pretrained"
local kinds, with = mt.cli.kinds, mt.tables.merged

--- Case -> options of mt.data.biased_mnist, and what is expected: part of the verdict.
local CASES = {
  { name = "square", options = { bias = "square" }, expected = "top-left corner (blue)" },
  { name = "two squares", options = { bias = "square", squares = 2 }, expected = "corner (blue)" },
  { name = "background", options = { bias = "background" }, expected = "colour wherever it lies" },
  { name = "foreground", options = { bias = "foreground" }, expected = "colour wherever it lies" },
  { name = "none", options = { split = "original" }, expected = "no sign of one cue" },
  { name = "none, ten classes", options = { split = "original" }, ten = true, expected = "no sign of one cue" },
}

local function digits_of(o)
  local folder = not o.synthetic and mt.data.find_mnist(o.data)
  if not folder and o.data then error(("--data: MNIST's four files are not in '%s'"):format(o.data), 0) end
  if not folder then return mt.data.synthetic_digits { count = o.count, seed = 1 } end
  local all = mt.data.mnist { root = folder, split = "train" }
  return mt.data.subset(all, math.min(o.count, mt.data.size(all)))
end

local function set_of(case, digits, seed)
  local set = mt.data.biased_mnist(with({ source = digits, seed = seed }, case.options))
  if not case.ten then return set end
  return with(set, { labels = (digits.digits:to("int32") + 1):to("int32"), classes = 10 })
end

--- Trains a net on a case and diagnoses it: a row of the table.
local function row_of(case, digits, seed, o)
  local set = set_of(case, digits, seed)
  local train, val = mt.data.split(set, { share = 0.2, seed = seed })
  mt.manual_seed(seed)
  local model = mt.models.small_cnn { classes = set.classes }
  mt.train(model, {
    train = train, val = val, epochs = o.epochs, seed = seed, label = ("%s, seed %d"):format(case.name, seed),
  })
  local found = mt.diagnose(model, val, { progress = false, seed = seed })
  local right = found.verdict:find(case.expected, 1, true) ~= nil
  return { case.name, seed, ("%.3f"):format(found.score), right and "yes" or "NO", found.verdict }, right
end

-- ---- photos ----

--- Data -> its validation images (those of a folder, all).
local PHOTOS = {
  folder = function(options) return mt.data.image_folder(options) end,
  waterbirds = function(options) return mt.data.waterbirds(with(options, { split = "val" })) end,
  celeba = function(options) return mt.data.celeba(with(options, { split = "val" })) end,
}

local function diagnose_photos(o)
  if not (o.root and o.weights and o.net) then error("--photos: --root, --net and --weights expected too", 0) end
  local set = experiment_sets.limited(PHOTOS[o.photos] { root = o.root, size = o.size }, o.count, 1)
  if o.normalize then set.preprocess = mt.data.preprocess { with({ "normalize" }, pretrained.imagenet) } end
  local model = mt.models[o.net] { classes = set.classes }
  model:load_state_dict(mt.load(o.weights))
  print(("%s, %d images, %s of %s"):format(set.name, mt.data.size(set), o.net, o.weights))
  for _, seed in ipairs(o.seeds) do
    local found = mt.diagnose(model, set, { layer = o.layer, images = o.images, progress = false, seed = seed })
    print(("\nseed %d: score %.3f\n%s"):format(seed, found.score, found))
  end
end

-- ---- the program ----

local function diagnose_digits(o)
  local digits, rows, wrong = digits_of(o), {}, 0
  for _, case in ipairs(CASES) do
    for _, seed in ipairs(o.seeds) do
      local row, right = row_of(case, digits, seed, o)
      rows[#rows + 1], wrong = row, wrong + (right and 0 or 1)
    end
  end
  print(("%s, %d images, %d epochs"):format(digits.name, mt.data.size(digits), o.epochs))
  for _, row in ipairs(rows) do
    row[5] = #row[5] > 60 and row[5]:sub(1, 57) .. "..." or row[5]
  end
  print(mt.report.table({ "case", "seed", "score", "as expected", "verdict" }, rows))
  print(("%d of %d verdicts are as expected"):format(#rows - wrong, #rows))
end

local function main(o)
  if o.threads then mt.set_num_threads(o.threads) end
  if o.photos then diagnose_photos(o) else diagnose_digits(o) end
end

os.exit(mt.cli.run({
  name = "diagnose.lua",
  about = "Verdicts of mt.diagnose on nets that lean on something known, or on nothing.",
  main = main,
  options = {
    { name = "data", value = "DIR", kind = kinds.text, help = "folder with MNIST's four files",
      default_text = "$MASKTUNE_DATA, ./data, the cache folder; else drawn digits" },
    { name = "synthetic", help = "use drawn digits instead of MNIST" },
    { name = "count", value = "N", kind = kinds.integer(100), default = 10000, default_text = "10000",
      help = "images, of which a fifth is diagnosed with" },
    { name = "epochs", value = "N", kind = kinds.integer(1), default = 3, default_text = "3",
      help = "epochs of training" },
    { name = "photos", value = "NAME", kind = kinds.choice { "folder", "waterbirds", "celeba" },
      help = "a net that is trained already, on photos: folder (one folder for each class), waterbirds, celeba" },
    { name = "root", value = "DIR", kind = kinds.text, help = "photos: their folder" },
    { name = "net", value = "NAME", kind = kinds.text, help = "photos: the net" },
    { name = "weights", value = "FILE", kind = kinds.text, help = "photos: its weights" },
    { name = "size", value = "N", kind = kinds.integer(16), default = 160, default_text = "160",
      help = "height and width of photos" },
    { name = "layer", value = "NAME", kind = kinds.text, help = "photos: the layer heatmaps are made at",
      default_text = "the net's" },
    { name = "images", value = "N", kind = kinds.integer(2), default = 400, default_text = "400",
      help = "photos: at most so many of each class" },
    { name = "normalize", help = "photos: by ImageNet's mean and deviation, where the net does not say how" },
    mt.cli.options.seeds,
    mt.cli.options.threads,
    mt.cli.options.help,
  },
}, arg), true)
