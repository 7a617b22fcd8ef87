--- What a net answers when a window is hidden, or shown in an image of another class.
-- @module masktune.diagnose.trials
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local inference = require "masktune.inference"
local interrupt = require "masktune.interrupt"
local loader = require "masktune.data.loader"
local masks = require "masktune.recipe.masks"
local tables = require "masktune.tables"
local windows = require "masktune.diagnose.windows"

local trials = {}

local function answers_of(model, set, batch)
  local found = {}
  for part in loader { dataset = set, batch = batch, shuffle = false }:epoch(1) do
    found[#found + 1] = model(part[part.input]):softmax(2)
    interrupt.check("the diagnosis")
  end
  return core.cat(found, 1)
end

--- Probabilities of all images, float32 {N,k}.
function trials.probabilities(model, set, batch) return inference.run(answers_of, model, set, batch) end

local function size_of(set)
  local shape = dataset.inputs(set):shape()
  return shape[2], shape[3]
end

--- Probabilities when a window of each image is hidden.
function trials.hidden(model, set, list, batch)
  return trials.probabilities(model, masks.apply(set, windows.keep(list, size_of(set))), batch)
end

--- Probabilities when the pixels of each image are shuffled, in all images alike: the colours stay, all shapes go.
function trials.shuffled(model, set, batch, generator)
  local shape = dataset.inputs(set):shape()
  local pixels = dataset.inputs(set):reshape(shape[1], shape[2] * shape[3], shape[4]):permute(2, 1, 3)
  local images = pixels:index(generator:permutation(#pixels)):permute(2, 1, 3):reshape(table.unpack(shape))
  return trials.probabilities(model, tables.merged(set, { images = images }), batch)
end

--- Answers of hosts in which the windows of donors are shown, where they were.
-- @tparam Module model
-- @tparam table set data set
-- @tparam {integer,...} hosts positions
-- @tparam {integer,...} donors positions, as many
-- @tparam table list a window for each donor
-- @tparam integer batch
-- @treturn {integer,...} classes
function trials.pasted(model, set, hosts, donors, list, batch)
  local keep = windows.keep(list, size_of(set))
  local pasted = masks.paste(dataset.subset(set, hosts), dataset.subset(set, donors), keep)
  return trials.probabilities(model, pasted, batch):argmax(2):totable()
end

return trials
