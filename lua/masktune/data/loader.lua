--- Batches of a data set.
-- A batch is a record: what a net is given (`images`, or the set's own input), `labels`, `indices` (positions in the
-- data set) and every other per-image tensor of the set (`group`, `weight`, ...) under its own name. Which images come,
-- and in which order, is the sampler's; it follows from (seed, epoch) alone.
-- @module masktune.data.loader
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local dist = require "masktune.dist"
local notice = require "masktune.notice"
local samplers = require "masktune.data.samplers"
local streamed = require "masktune.data.streamed"

local AHEAD = 2 -- batches that are made before they are asked for
local MOST_STEPS = 16 -- of the core's augmentation

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
-- @tparam table set
-- @tparam Tensor indices
-- @tparam Tensor inputs
local function record(set, indices, inputs)
  local input = dataset.input(set)
  local batch = { input = input, indices = indices, [input] = inputs }
  for name, value in pairs(set) do
    if name ~= input and check.is_tensor(value) then batch[name] = value:index(indices) end
  end
  return batch
end

--- This rank's part of an epoch: positions in their order, and how many make a batch.
--
-- * Of "batches" a run of them, so that the ranks' parts follow each other.
-- * Of "images" every world-th place of each batch: the parts have no place in common, are the batch together, and
--   differ by one image at most.
local function own_part(self, order)
  local size, mine, world = self:images(), dist.rank(), dist.world()
  if self.deal == "batches" then
    local first, last = dist.part(self:batches())
    local before, behind = (first - 1) * self.batch, math.min(last * self.batch, size)
    return order:narrow(1, behind > before and before + 1 or 1, math.max(0, behind - before)), self.batch
  elseif self.deal ~= "images" or world == 1 then
    return order:narrow(1, 1, size), self.batch
  end
  local places = {}
  for before = 0, size - 1, self.batch do
    for place = before + mine + 1, math.min(before + self.batch, size), world do
      places[#places + 1] = place
    end
  end
  return order:index(core.tensor(places, { dtype = "int32" })), (self.batch - mine - 1) // world + 1
end

--- How many images a batch has on all ranks, where its images are dealt; `own` are this one's.
local function total_of(self, number, own)
  if self.deal ~= "images" then return nil end
  if dist.world() == 1 then return own end
  -- Files may be unreadable.
  if streamed.is(dataset.inputs(self.dataset)) then return math.tointeger((dist.sums(own))) end
  return math.min(self.batch, self:images() - (number - 1) * self.batch)
end

--- What becomes of the inputs of a record after they were read, but for what is `done` already.
local function finished(self, made, epoch, done)
  local set, input = self.dataset, made.input
  if self.augment and not done.augment then
    made[input] = self.augment(made[input], made, epoch, self.seed)
  end
  if set.preprocess and not done.preprocess then made[input] = set.preprocess(made[input]) end
  return self.transform and self.transform(made) or made
end

--- Batches of inputs that are in memory, each made when it is asked for, by the pool's threads.
local function batches_at_once(self, order, size, epoch)
  local set = self.dataset
  local done, number = 0, 0
  return function()
    if done == #order then return nil end
    local indices = order:narrow(1, done + 1, math.min(size, #order - done))
    local made = record(set, indices, float_batch(dataset.inputs(set), indices))
    done, number = done + #indices, number + 1
    made.total = total_of(self, number, #indices)
    dataset.check_finite(set, made[made.input], indices)
    return finished(self, made, epoch, {})
  end
end

--- What can be done where images are read: for the core, and which of it that is.
local function core_steps(self)
  local list, done = {}, {}
  local augment, prepare = self.augment, self.dataset.preprocess
  local seed = self.seed
  if type(augment) == "table" and augment.core_steps then
    local steps, own_seed = augment:core_steps()
    table.move(steps, 1, #steps, 1, list)
    seed, done.augment = own_seed or seed, true
  end
  local normalize = type(prepare) == "table" and prepare.only_normalizes and prepare:only_normalizes()
  if normalize and (done.augment or not augment) and #list < MOST_STEPS then
    list[#list + 1] = normalize
    done.preprocess = true
  end
  return list, seed, done
end

--- Leaves images that could not be read out of a batch, or raises the error.
local function without_problems(self, images, indices, problems)
  local set = self.dataset
  if dataset.inputs(set).on_error == "fail" then error(streamed.describe(problems), 0) end
  local good = {}
  for place = 1, #indices do
    if not problems[place] then
      good[#good + 1] = place
    else
      self.left_out = self.left_out + 1
      notice.say("%s: left out of epoch and batch: %s", set.name or "data set", problems[place])
    end
  end
  if #good == 0 then
    if self.deal == "images" and dist.world() > 1 then error(streamed.describe(problems), 0) end
    return nil
  end
  good = core.tensor(good, { dtype = "int32" })
  return images:index(good), indices:index(good)
end

--- Batches of images that have to be read, made ahead by threads of their own.
local function batches_ahead(self, order, size, epoch)
  local set = self.dataset
  local images = dataset.inputs(set)
  local steps, seed, done = core_steps(self)
  local source = images:batches(order, {
    batch = size, ahead = AHEAD, threads = core.get_num_threads(), seed = seed,
    epoch = epoch, steps = steps,
  })
  local first, number, is_over = 1, 0, false
  local function next_batch()
    if is_over then return nil end
    local floats, problems = source:next()
    self.waited = source:waited()
    if not floats then
      is_over = true
      images:check_cache()
      source:close()
      return nil
    end
    local indices = order:narrow(1, first, #floats)
    first = first + #floats
    if problems then floats, indices = without_problems(self, floats, indices, problems) end
    if not floats then return next_batch() end
    local made = record(set, indices, floats)
    number = number + 1
    made.total = total_of(self, number, #indices)
    return finished(self, made, epoch, done)
  end
  return next_batch, source
end

--- Iterates over the batches of an epoch.
-- Images that have to be read (masktune.data.streamed) are read, decoded, masked, augmented and normalised by threads
-- of the loader's own, as many as `mt.get_num_threads()`, two batches ahead of the loop: memory for three batches and,
-- for each thread, for the largest image of the set as it is decoded. Order and pixels are the same at any number of
-- threads. The threads end with the loop, however it ends.
--
-- Where an image's file cannot be read, the set's `on_error` says what happens: an error that names it, or it is left
-- out of its batch, said and counted (`loader.left_out`).
-- @usage for batch in loader:epoch(e) do local logits = model(batch.images) ... end
-- @tparam integer epoch from 1; only the order and the augmentation depend on it
-- @treturn function giving records: `images` float32 {B,H,W,C} (uint8 divided by 255, augmented and preprocessed; under
-- the name of the set's `input`), `labels` int32 {B}, `indices` int32 {B} from 1, `input` (the inputs' name), and the
-- set's other per-image tensors, `total`: the images of the batch on all ranks, where its images are dealt over them;
-- for a `for` loop
-- @raise where an image holds NaN or an infinity: which one, and its file
function Loader:epoch(epoch)
  epoch = check.argument("loader:epoch", "epoch", epoch, { type = "integer", min = 0 })
  local set = self.dataset
  local order, size = own_part(self, self.sampler:order(set, self.seed, epoch))
  self.left_out, self.waited = 0, 0
  local images = dataset.inputs(set)
  if not streamed.is(images) or images:is_in_memory() then
    return batches_at_once(self, order, size, epoch)
  end
  local next_batch, source = batches_ahead(self, order, size, epoch)
  return next_batch, nil, nil, source
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
