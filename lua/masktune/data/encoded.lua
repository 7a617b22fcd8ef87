--- Images as the frozen first part of a net sees them: computed once for each image, and kept in memory. To what masks
-- and pastes, they are the streamed images they are made of (masktune.data.streamed), with these shapes; a loader, and
-- what makes heatmaps, gets the first part's outputs instead, for the rest of the net.
-- @classmod masktune.EncodedImages
local core = require "masktune.core"

local Encoded = { __name = "masktune.EncodedImages" }
local methods = {}

local MOST_AT_ONCE = 64 -- images in a forward pass
local KEPT_BYTES = 1 << 30 -- of outputs that no set uses any more: the next one may be made of the same images

--- How many bytes outputs take.
local function bytes_of(store) return 4 * store.values:numel() end

--- Keeps the latest outputs, as many as there is room for.
local function keep_latest(encoder, store)
  table.insert(encoder.latest, 1, store)
  local bytes, last = 0, 0
  for i, one in ipairs(encoder.latest) do
    bytes = bytes + bytes_of(one)
    if i == 1 or bytes <= KEPT_BYTES then last = i end
  end
  for i = #encoder.latest, last + 1, -1 do
    encoder.latest[i] = nil
  end
end

--- Makes them of pixels.
local function of(pixels, encoder) return setmetatable({ pixels = pixels, encoder = encoder }, Encoded) end

--- The outputs for some images in a forward pass.
local function encode(self, positions)
  local images = self.pixels:batch(positions)
  return core.no_grad(function() return self.encoder.first(self.encoder.prepare(images)) end)
end

--- Where outputs are kept: those of equal images are the same, whoever made the set.
local function store_of(self)
  if self.store then return self.store end
  local encoder = self.encoder
  local key = encoder.digest { images = self.pixels }
  local store = encoder.stores[key]
  if not store then
    local shape = encode(self, core.tensor({ 1 }, { dtype = "int32" })):shape()
    store = { values = core.zeros({ #self.pixels, table.unpack(shape, 2) }), there = {} }
    encoder.stores[key] = store
    keep_latest(encoder, store)
  end
  self.store = store
  return store
end

--- Computes those of some positions that are not there yet.
local function fill(self, positions)
  local store, missing = store_of(self), {}
  for _, position in ipairs(positions) do
    if not store.there[position] then missing[#missing + 1] = position end
  end
  for first = 1, #missing, MOST_AT_ONCE do
    local some = table.move(missing, first, math.min(first + MOST_AT_ONCE - 1, #missing), 1, {})
    local values = encode(self, core.tensor(some, { dtype = "int32" }))
    for i, position in ipairs(some) do
      store.values[position] = values[i]
      store.there[position] = true
    end
  end
  return store.values
end

function Encoded:__len() return #self.pixels end

--- The pixels of an image {H,W,C} for a number, else a method.
function Encoded:__index(key)
  if math.type(key) == "integer" then return self.pixels[key] end
  return methods[key]
end

function methods.dtype() return "float32" end

function methods:shape() return self.pixels:shape() end

function methods:size(axis) return self.pixels:size(axis) end

--- The first part's outputs for some images: float32 {B,h,w,c}.
function methods:batch(indices) return fill(self, indices:totable()):index(indices) end

--- The same for images one after the other.
function methods:narrow(_, first, count)
  return self:batch(core.arange(first, first + count, "int32"))
end

function methods:index(positions) return of(self.pixels:index(positions), self.encoder) end

function methods:masked(keep) return of(self.pixels:masked(keep), self.encoder) end

--- Other images through the same first part.
-- @tparam StreamedImages pixels
function methods:of_pixels(pixels) return of(pixels, self.encoder) end

function methods:plus(added) return of(self.pixels:plus(added.pixels), self.encoder) end

function methods.is_in_memory() return true end

function methods.has_to_be_read() return false end

function methods:digest(tensor_digest)
  return ("%s after %s"):format(self.encoder.name, self.pixels:digest(tensor_digest))
end

local encoded = {
  --- Whether a value is such images.
  is = function(value) return getmetatable(value) == Encoded end,
}

--- A function that makes such images of streamed ones.
-- @tparam Module first the first part of a net; frozen
-- @tparam function prepare what images go through before the net sees them
-- @string name that tells it from other first parts
-- @tparam function digest of a table of tensors (masktune.checkpoint)
-- @treturn function (StreamedImages) -> EncodedImages
function encoded.by(first, prepare, name, digest)
  local encoder = {
    first = first, prepare = prepare, name = name, digest = digest, latest = {},
    stores = setmetatable({}, { __mode = "v" }),
  }
  first:eval()
  return function(pixels) return of(pixels, encoder) end
end

return encoded
