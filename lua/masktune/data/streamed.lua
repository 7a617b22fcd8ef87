--- Images that stay in their files and are decoded whenever they are looked at.
-- To a loader, and to what asks for `narrow`, `batch` or single images, they are what the uint8 tensor {N,H,W,C} would
-- be: the same values, bit for bit.
-- @classmod masktune.StreamedImages
local check = require "masktune.check"
local core = require "masktune.core"
local fill = require "masktune.data.fill"

local Streamed = {}
local methods = {}
Streamed.__name = "masktune.StreamedImages"

local function of(fields) return setmetatable(fields, Streamed) end

--- Makes them.
-- @tparam {string,...} paths
-- @tparam {integer,integer,integer} size height, width, channels
-- @string fit as in image.read_files
local function streamed(paths, size, fit) return of { paths = paths, image = size, fit = fit } end

--- The tensor of some images.
local function decode(self, positions)
  local paths = {}
  for i, position in ipairs(positions) do
    paths[i] = self.paths[position]
  end
  local images = core.zeros({ #paths, table.unpack(self.image) }, "uint8")
  local _, message = next(core.image.read_files(paths, images, { fit = self.fit }))
  if message then error("a file can no longer be read: " .. message, 0) end
  if self.keep then images = fill(images, self.keep:index(positions), self.fill) end
  return self.added and (images + decode(self.added, positions)):to("uint8") or images
end

local function range(first, count)
  local positions = {}
  for i = 1, count do
    positions[i] = first + i - 1
  end
  return positions
end

function Streamed:__len() return #self.paths end

--- An image as a tensor {H,W,C} for a number, else a method.
function Streamed:__index(key)
  if math.type(key) ~= "integer" then return methods[key] end
  if key < 1 or key > #self.paths then check.fail("image %d, expected 1 to %d", key, #self.paths) end
  return decode(self, { key })[1]
end

--- "uint8"
function methods.dtype() return "uint8" end

--- {N,H,W,C}
function methods:shape() return { #self.paths, table.unpack(self.image) } end

--- The length of one axis, or the shape.
function methods:size(axis)
  local shape = self:shape()
  if axis == nil then return shape end
  return shape[axis]
end

--- Some of the images, still streamed.
-- @tparam {integer,...}|Tensor positions from 1
-- @treturn StreamedImages
function methods:index(positions)
  if type(positions) == "userdata" then positions = positions:totable() end
  local paths = {}
  for i, position in ipairs(positions) do
    paths[i] = self.paths[position]
  end
  return of {
    paths = paths, image = self.image, fit = self.fit, fill = self.fill,
    keep = self.keep and self.keep:index(positions),
    added = self.added and self.added:index(positions),
  }
end

--- Images one after the other, decoded.
-- @tparam integer axis 1
-- @tparam integer first
-- @tparam integer count
-- @treturn Tensor uint8 {count,H,W,C}
function methods:narrow(axis, first, count)
  if axis ~= 1 or first < 1 or count < 0 or first + count - 1 > #self.paths then
    check.fail("streamed images: narrow(%s, %s, %s), expected a range of axis 1 in 1..%d", axis, first, count,
      #self.paths)
  end
  return decode(self, range(first, count))
end

--- A batch for a net.
-- @tparam Tensor indices int32 {B}, from 1
-- @treturn Tensor float32 {B,H,W,C} in [0,1]
function methods:batch(indices)
  local images = decode(self, indices:totable())
  return core.image.batch(images, core.arange(1, #images + 1, "int32"))
end

--- The images with masks, which are put on when an image is decoded.
-- @tparam Tensor keep as in mask.apply, one mask for each image
-- @string[opt="zero"] how what takes the place of what is hidden, as in masktune.data.fill
-- @treturn StreamedImages
function methods:masked(keep, how)
  if #keep ~= #self.paths then
    check.fail("streamed images: %d masks, expected %d (one per image)", #keep, #self.paths)
  end
  local both = keep
  if self.keep then
    local hard = self.keep:dtype() == "uint8" and keep:dtype() == "uint8"
    both = (self.keep * keep):to(hard and "uint8" or "float32")
  end
  return of {
    paths = self.paths, image = self.image, fit = self.fit, keep = both, fill = how or self.fill,
    added = self.added and self.added:masked(keep),
  }
end

--- The images with others added to them when they are decoded; 255 is the most a pixel can be.
-- @tparam StreamedImages added as many, of the same size
-- @treturn StreamedImages
function methods:plus(added)
  if #added ~= #self.paths then
    check.fail("streamed images: %d images to add, expected %d (one per image)", #added, #self.paths)
  end
  return of {
    paths = self.paths, image = self.image, fit = self.fit, keep = self.keep, fill = self.fill,
    added = self.added and self.added:plus(added) or added,
  }
end

return setmetatable({
  --- Whether a value is streamed images.
  is = function(value) return getmetatable(value) == Streamed end,
}, { __call = function(_, ...) return streamed(...) end })
