--- Batches of a data set, shuffled anew every epoch.
-- The order is a pure function of (seed, epoch): a run that is resumed at an epoch sees the images in the order in
-- which an uninterrupted run would have seen them.
-- @module masktune.data.loader
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local streamed = require "masktune.data.streamed"

local Loader = {}
Loader.__index = Loader
Loader.__name = "masktune.Loader"

--- The number of batches in an epoch.
-- @treturn integer
function Loader:batches()
  local size = #self.dataset.images
  return self.drop_last and size // self.batch or (size + self.batch - 1) // self.batch
end

--- The number of images in an epoch.
-- @treturn integer
function Loader:images()
  return math.min(#self.dataset.images, self:batches() * self.batch)
end

--- The generator of one epoch's order. The seeds of the streams are far apart, so that epoch 1 of seed 2 is not
-- epoch 2 of seed 1.
local function epoch_generator(seed, epoch) return core.generator(seed ~ epoch * 0x9E3779B97F4A7C15) end

local function float_batch(images, indices)
  if streamed.is(images) then return images:batch(indices) end
  if images:dtype() == "uint8" then return core.image.batch(images, indices) end
  return images:index(indices)
end

--- Iterates over the batches of an epoch.
-- @usage for images, labels, indices in loader:epoch(e) do ... end
-- @tparam integer epoch from 1; only the order and the augmentation depend on it
-- @treturn function giving images float32 {B,H,W,C} in [0,1] (uint8 divided by 255), labels int32 {B}, and the
-- positions in the data set, int32 {B} from 1
function Loader:epoch(epoch)
  epoch = check.argument("loader:epoch", "epoch", epoch, { type = "integer", min = 0 })
  local set, size = self.dataset, #self.dataset.images
  local order = self.shuffle and epoch_generator(self.seed, epoch):permutation(size) or nil
  local batch, batches = 0, self:batches()
  return function()
    if batch == batches then return nil end
    local first = batch * self.batch + 1
    local count = math.min(self.batch, size - first + 1)
    batch = batch + 1
    local indices = order and order:narrow(1, first, count) or core.arange(first, first + count, "int32")
    local images, labels = float_batch(set.images, indices), set.labels:index(indices)
    if self.augment then images = self.augment(images, labels, indices, epoch, self.seed) end
    if self.transform then images = self.transform(images, labels, indices) end
    return images, labels, indices
  end
end

--- Makes a loader.
-- @tparam table options `dataset`; `batch` (128); `shuffle` (true); `seed` (0); `drop_last` (false: the last batch may
-- be smaller); `augment`: random changes, as from mt.data.augment: a function (images, labels, indices, epoch, seed) ->
-- images; `transform`: a function (images, labels, indices) -> images; both applied to every batch, in this order
-- @treturn Loader
local function loader(options)
  local o = check.options("mt.data.loader", options, {
    dataset = { type = "table" },
    batch = { type = "integer", min = 1, default = 128 },
    shuffle = { type = "boolean", default = true },
    seed = { type = "integer", default = 0 },
    drop_last = { type = "boolean", default = false },
    augment = { type = "function", optional = true },
    transform = { type = "function", optional = true },
  })
  dataset.check("mt.data.loader", "option 'dataset'", o.dataset)
  return setmetatable(o, Loader)
end

return loader
