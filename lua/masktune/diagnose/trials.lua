--- What a net answers when a window is hidden, or shown in an image of another class.
-- @module masktune.diagnose.trials
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local inference = require "masktune.inference"
local interrupt = require "masktune.interrupt"
local loader = require "masktune.data.loader"
local masks = require "masktune.recipe.masks"
local tables = require "masktune.tables"
local windows = require "masktune.windows"

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

--- An order of an image's pixels, row by row, in which its pieces of `size` x `size` pixels have changed places; what
-- makes no whole piece stays.
local function pieces_order(height, width, size, generator)
  local down, across, order = height // size, width // size, {}
  local from = generator:permutation(down * across):totable()
  for row = 0, height - 1 do
    for column = 0, width - 1 do
      local i, j = row // size, column // size
      local r, c = row, column
      if i < down and j < across then
        local piece = from[i * across + j + 1] - 1
        r, c = piece // across * size + row % size, piece % across * size + column % size
      end
      order[#order + 1] = r * width + c + 1
    end
  end
  return order
end

--- Probabilities when pieces of each image are shuffled, in all images alike: the colours stay, shapes go.
-- @tparam integer size of a piece, in pixels: 1 leaves nothing but colours
function trials.shuffled(model, set, batch, generator, size)
  local shape = dataset.inputs(set):shape()
  local pixels = dataset.inputs(set):reshape(shape[1], shape[2] * shape[3], shape[4]):permute(2, 1, 3)
  local order = pieces_order(shape[2], shape[3], size, generator)
  local images = pixels:index(order):permute(2, 1, 3):reshape(table.unpack(shape))
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
