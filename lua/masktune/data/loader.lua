--- Batches of a data set.
-- A batch is a record: what a net is given (`images`, or the set's own input), `labels`, `indices` (positions in the
-- data set) and every other per-image tensor of the set (`group`, `weight`, ...) under its own name. Which images come,
-- and in which order, is the sampler's; it follows from (seed, epoch) alone.
-- @module masktune.data.loader
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local dist = require "masktune.dist"
local samplers = require "masktune.data.samplers"
local streamed = require "masktune.data.streamed"

local Loader = {}
Loader.__index = Loader
Loader.__name = "masktune.Loader"

--- The number of batches in an epoch.
-- @treturn integer
function Loader:batches()
  local size = self.sampler:size(self.dataset)
  return self.drop_last and size // self.batch or (size + self.batch - 1) // self.batch
end

--- The number of images in an epoch.
-- @treturn integer
function Loader:images()
  return math.min(self.sampler:size(self.dataset), self:batches() * self.batch)
end

--- Some of a set's inputs as a net takes them: uint8 images as float32 in [0,1], the rest as it is.
local function float_batch(images, indices)
  if streamed.is(images) then return images:batch(indices) end
  if images:dtype() == "uint8" then return core.image.batch(images, indices) end
  return images:index(indices)
end

--- The record of some images, before anything is done to them.
local function record(set, indices)
  local input = dataset.input(set)
  local batch = { input = input, indices = indices, [input] = float_batch(set[input], indices) }
  for name, value in pairs(set) do
    if name ~= input and check.is_tensor(value) then batch[name] = value:index(indices) end
  end
  return batch
end

--- This rank's part of a batch: every world-th place of it, so that the parts have no place in common, are the batch
-- together, and differ by one image at most.
local function own_places(places)
  local own = {}
  for place = dist.rank() + 1, #places, dist.world() do
    own[#own + 1] = place
  end
  return places:index(core.tensor(own, { dtype = "int32" }))
end

--- Iterates over the batches of an epoch.
-- @usage for batch in loader:epoch(e) do local logits = model(batch.images) ... end
-- @tparam integer epoch from 1; only the order and the augmentation depend on it
-- @treturn function giving records: `images` float32 {B,H,W,C} (uint8 divided by 255, augmented and preprocessed; under
-- the name of the set's `input`), `labels` int32 {B}, `indices` int32 {B} from 1, `input` (the inputs' name), and the
-- set's other per-image tensors; `total`: the images of the batch on all ranks, where it is dealt over them
-- @raise where an image holds NaN or an infinity: which one, and its file
function Loader:epoch(epoch)
  epoch = check.argument("loader:epoch", "epoch", epoch, { type = "integer", min = 0 })
  local set = self.dataset
  local order = self.sampler:order(set, self.seed, epoch)
  local batch, batches = 0, self:batches()
  if self.deal == "batches" then
    batch, batches = dist.part(batches)
    batch = batch - 1
  end
  return function()
    if batch == batches then return nil end
    local first = batch * self.batch + 1
    local places = order:narrow(1, first, math.min(self.batch, #order - first + 1))
    local total = #places
    if self.deal == "images" and dist.world() > 1 then places = own_places(places) end
    local made = record(set, places)
    made.total = self.deal == "images" and total or nil
    batch = batch + 1
    dataset.check_finite(set, made[made.input], made.indices)
    if self.augment then made[made.input] = self.augment(made[made.input], made, epoch, self.seed) end
    if set.preprocess then made[made.input] = set.preprocess(made[made.input]) end
    return self.transform and self.transform(made) or made
  end
end

--- The sampler that the options ask for.
local function sampler_of(o)
  if o.sampler == nil then return o.shuffle == false and samplers.sequential() or samplers.shuffled() end
  if o.shuffle ~= nil then check.fail("mt.data.loader: option 'shuffle': not together with 'sampler'") end
  return samplers.check("mt.data.loader", o.sampler)
end

--- Makes a loader. The images go through `augment` (random changes of pixels in [0,1]), then through the set's
-- `preprocess`; `transform` sees the whole record last.
-- @tparam table options `dataset`; `batch` (128); `sampler` (as from mt.data.samplers), or `shuffle` (true; false: in
-- order); `seed` (0); `drop_last` (false: the last batch may be smaller); `augment`: as from mt.data.augment, or a
-- function (images, batch, epoch, seed) -> images; `transform`: a function (batch) -> batch; `deal`: what the ranks of
-- masktune.dist share out, the "images" of each batch or whole "batches" (runs of them, in order; left out: nothing)
-- @treturn Loader
local function loader(options)
  local o = check.options("mt.data.loader", options, {
    dataset = { type = "table" },
    batch = { type = "integer", min = 1, default = 128 },
    sampler = { type = "table", optional = true },
    shuffle = { type = "boolean", optional = true },
    seed = { type = "integer", default = 0 },
    drop_last = { type = "boolean", default = false },
    augment = { type = "function", optional = true },
    transform = { type = "function", optional = true },
    deal = { choices = { "images", "batches" }, optional = true },
  })
  dataset.check("mt.data.loader", "option 'dataset'", o.dataset)
  o.sampler = sampler_of(o)
  return setmetatable(o, Loader)
end

return loader
