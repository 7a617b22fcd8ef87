--- Data: reading, building, splitting and batching data sets (what one is: masktune.data.dataset).
-- One file per data set; a new one needs its file and a line here.
-- @module masktune.data
local cifar10 = require "masktune.data.cifar10"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local mnist = require "masktune.data.mnist"
local svhn = require "masktune.data.svhn"

return {
  -- data sets
  mnist = mnist.read,
  find_mnist = mnist.find,
  download_mnist = mnist.download,
  biased_mnist = require "masktune.data.biased_mnist",
  synthetic_digits = require "masktune.data.synthetic_digits",
  cifar10 = cifar10.read,
  download_cifar10 = cifar10.download,
  svhn = svhn.read,
  download_svhn = svhn.download,
  cats_dogs = require "masktune.data.cats_dogs",
  image_folder = require "masktune.data.image_folder",
  -- files
  read_idx = require("masktune.data.idx").read,
  read_mat = core.read_mat,
  -- choosing
  size = dataset.size,
  subset = dataset.subset,
  concat = dataset.concat,
  split = require "masktune.data.split",
  -- batching
  loader = require "masktune.data.loader",
  augment = require "masktune.data.augment",
}
