#!/usr/bin/env lua5.4
-- Writes MNIST as a folder of PNG files, DIR/train/DIGIT/N.png and DIR/test/DIGIT/N.png: images for selective.lua.
--
--   lua5.4 examples/mnist_folder.lua --out out/MNIST
--   lua5.4 examples/selective.lua --dataset folder --data out/MNIST --size 28 --epochs 4

dofile((arg[0]:match("^.*/") or "") .. "checkout.lua")

local mt = require "masktune"
local kinds = mt.cli.kinds

--- The first `count` images of a split, each into the folder of its digit.
local function write_split(set, count, folder)
  count = math.min(count, mt.data.size(set))
  local digits = set.digits:totable()
  for digit = 0, 9 do
    mt.make_directory(("%s/%d"):format(folder, digit))
  end
  local bar = mt.progress { total = count, label = folder, unit = "images" }
  for n = 1, count do
    mt.image.write_png(("%s/%d/%05d.png"):format(folder, digits[n], n), set.images[n])
    bar:update(n)
  end
  bar:finish()
end

local function main(o)
  local root = mt.data.find_mnist(o.data)
  if not root and o.data then error(("--data: MNIST's four files are not in '%s'"):format(o.data), 0) end
  root = root or mt.data.download_mnist()
  mt.cli.open_out(o.out, o, function() end)
  write_split(mt.data.mnist { root = root, split = "train" }, o.train, o.out .. "/train")
  write_split(mt.data.mnist { root = root, split = "test" }, o.test, o.out .. "/test")
end

os.exit(mt.cli.run({
  name = "mnist_folder.lua",
  about = "Writes MNIST as a folder of PNG files, one folder for each digit.",
  main = main,
  options = {
    { name = "data", value = "DIR", kind = kinds.text, help = "folder with MNIST's four files",
      default_text = "$MASKTUNE_DATA, ./data, the cache folder" },
    { name = "train", value = "N", kind = kinds.integer(1), default = 20000, default_text = "20000",
      help = "training images" },
    { name = "test", value = "N", kind = kinds.integer(1), default = 5000, default_text = "5000",
      help = "test images" },
    { name = "out", value = "DIR", kind = kinds.text, default = "out/MNIST", default_text = "out/MNIST",
      help = "folder to write" },
    { name = "overwrite", help = "write into --out though it is not empty" },
    mt.cli.options.help,
  },
}, arg), true)
