--- Data: reading, building, splitting and batching data sets (what one is: masktune.data.dataset).
-- One file per data set; a new one needs its file and a line here.
-- @module masktune.data
local dataset = require "masktune.data.dataset"
local mnist = require "masktune.data.mnist"

return {
  -- data sets
  mnist = mnist.read,
  find_mnist = mnist.find,
  download_mnist = mnist.download,
  biased_mnist = require "masktune.data.biased_mnist",
  synthetic_digits = require "masktune.data.synthetic_digits",
  -- files
  read_idx = require("masktune.data.idx").read,
  -- choosing
  size = dataset.size,
  subset = dataset.subset,
  concat = dataset.concat,
  split = require "masktune.data.split",
  -- batching
  loader = require "masktune.data.loader",
}
