--- Data: reading, building, splitting and batching data sets (what one is: masktune.data.dataset).
-- One file a data set, in masktune/data/sets; a new one needs its file and nothing else (masktune.registry). A file
-- returns the function that reads the set.
-- @module masktune.data
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local registry = require "masktune.registry"

local sets = registry.new("masktune.data.sets", { kind = "data set" })

local tools = {
  --- The registry of data sets: `print(mt.data.sets)` lists them.
  sets = sets,
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
  samplers = require "masktune.data.samplers",
  augment = require "masktune.data.augment",
  preprocess = require "masktune.data.preprocess",
}

return setmetatable(tools, {
  __index = sets,
  __tostring = function() return "data sets and tools: mt.data.NAME\n" .. tostring(sets) end,
})
