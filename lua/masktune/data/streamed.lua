--- Images that are read when they are looked at: from their files, decoded, or from a tensor; masked, and added to
-- each other on the way. To a loader, and to what asks for `narrow`, `batch` or single images, they are what the uint8
-- tensor {N,H,W,C} would be: the same values, bit for bit.
--
-- An image whose file cannot be read is an error that names the file; with `on_error = "skip"` a loader leaves it out,
-- and everything else sees a black image.
-- @classmod masktune.StreamedImages
local cache = require "masktune.data.cache"
local check = require "masktune.check"
local core = require "masktune.core"
local encoded = require "masktune.data.encoded"
local notice = require "masktune.notice"

local Streamed = {}
local methods = {}
Streamed.__name, Streamed.streams = "masktune.StreamedImages", true

-- A part is one origin's share: `origin` (what all views of it have in common: `source`, of the core; `files`, a list
-- with their `sizes`, or `tensor`), and of the view's images `positions` there (int32 tensor; nil: all in order),
-- `masks` (of one bit a pixel: core.data.masks) and `dim` (shares, float32 {N,H,W}).

local function core_part(part)
  return {
    source = part.origin.source, positions = part.positions, masks = part.masks, dim = part.dim,
  }
end

local function of(parts, image, on_error)
  local core_parts = {}
  for i, part in ipairs(parts) do
    core_parts[i] = core_part(part)
  end
  local first = parts[1]
  return setmetatable({
    parts = parts, image = image, on_error = on_error, view = core.data.view(core_parts),
    count = first.positions and #first.positions or first.origin.count,
  }, Streamed)
end

--- Images that stay in their files.
-- @tparam {string,...} paths
-- @tparam {integer,integer,integer} size height, width, channels
-- @tparam[opt] table options `fit` as in image.read_files; `on_error` ("fail"; "skip"); `sizes` of the files in bytes,
-- where they are known; `cache`: a folder for the decoded images (masktune.data.cache), and `where`, the public
-- function
local function of_files(paths, size, options)
  local o = options or {}
  local origin = { count = #paths, files = paths, sizes = o.sizes, fit = o.fit }
  if o.cache and #paths > 0 then
    origin.sizes = origin.sizes or core.data.file_sizes(paths)
    origin.cache = cache.open(o.where, o.cache, paths, origin.sizes, size, o.fit or "stretch")
  end
  origin.source = core.data.files(paths, size, { fit = o.fit, cache = origin.cache })
  return of({ { origin = origin } }, size, o.on_error or "fail")
end

--- The images of a tensor, which is not copied.
-- @tparam Tensor images uint8 {N,H,W,C}
local function of_tensor(images)
  local shape = images:shape()
  local origin = { source = core.data.images(images), count = shape[1], tensor = images }
  return of({ { origin = origin } }, { shape[2], shape[3], shape[4] }, "fail")
end

--- The message for images that cannot be read.
-- @tparam table problems place in a batch -> message
-- @treturn string
local function describe(problems)
  local count, first = 0, math.huge
  for place in pairs(problems) do
    count, first = count + 1, math.min(first, place)
  end
  return ("a file can no longer be read: %s%s"):format(problems[first], count > 1 and
    (" (and %d more)"):format(count - 1) or "")
end

local function decode(self, positions)
  local images, problems = self.view:read(positions)
  if next(problems) and self.on_error == "fail" then error(describe(problems), 0) end
  return images
end

function Streamed:__len() return self.count end

--- An image as a tensor {H,W,C} for a number, else a method.
function Streamed:__index(key)
  if math.type(key) ~= "integer" then return methods[key] end
  if key < 1 or key > self.count then check.fail("image %d, expected 1 to %d", key, self.count) end
  return decode(self, core.tensor({ key }, { dtype = "int32" }))[1]
end

--- "uint8"
function methods.dtype() return "uint8" end

--- {N,H,W,C}
function methods:shape() return { self.count, table.unpack(self.image) } end

--- The length of one axis, or the shape.
function methods:size(axis)
  local shape = self:shape()
  if axis == nil then return shape end
  return shape[axis]
end

--- All values as a string, as Tensor:bytes gives it.
function methods:bytes() return self:narrow(1, 1, self.count):bytes() end

--- Some of the images, still to be read.
-- @tparam {integer,...}|Tensor positions from 1
-- @treturn StreamedImages
function methods:index(positions)
  if type(positions) == "table" then positions = core.tensor(positions, { dtype = "int32" }) end
  local parts = {}
  for i, part in ipairs(self.parts) do
    parts[i] = {
      origin = part.origin,
      positions = part.positions and part.positions:index(positions) or positions:clone(),
      masks = part.masks and part.masks:index(positions),
      dim = part.dim and part.dim:index(positions),
    }
  end
  return of(parts, self.image, self.on_error)
end

--- Images one after the other.
-- @tparam integer axis 1
-- @tparam integer first
-- @tparam integer count
-- @treturn Tensor uint8 {count,H,W,C}
function methods:narrow(axis, first, count)
  if axis ~= 1 or first < 1 or count < 0 or first + count - 1 > self.count then
    check.fail("streamed images: narrow(%s, %s, %s), expected a range of axis 1 in 1..%d", axis, first, count,
      self.count)
  end
  return decode(self, core.arange(first, first + count, "int32"))
end

--- A batch for a net.
-- @tparam Tensor indices int32 {B}, from 1
-- @treturn Tensor float32 {B,H,W,C} in [0,1]
function methods:batch(indices)
  local images = decode(self, indices)
  return core.image.batch(images, core.arange(1, #images + 1, "int32"))
end

--- Whether nothing has to be read or decoded.
-- @treturn boolean
function methods:is_in_memory()
  for _, part in ipairs(self.parts) do
    if not part.origin.tensor then return false end
  end
  return true
end

--- Whether a loader has to read images of which every one must be there.
-- @treturn boolean
function methods:has_to_be_read() return not self:is_in_memory() and self.on_error == "fail" end

--- Two masks as one: masks stay bits as long as nothing is dimmed.
local function both(part, keep)
  local hard, masks, dim = core.data.is_masks(keep), part.masks, part.dim
  if hard and not dim then return masks and masks:both(keep) or keep, nil end
  local shares = hard and keep:to("float32") or keep
  if masks then shares = shares * masks:to("float32") end
  return nil, dim and dim * shares or shares
end

--- The images with masks, which are put on when an image is read.
-- @tparam Masks|Tensor keep as in mask.apply, one mask for each image
-- @treturn StreamedImages
function methods:masked(keep)
  if #keep ~= self.count then
    check.fail("streamed images: %d masks, expected %d (one per image)", #keep, self.count)
  end
  if check.is_tensor(keep) and keep:dtype() == "uint8" then
    keep = core.data.masks(core.data.pack(keep), self.image[1], self.image[2])
  end
  local parts = {}
  for i, part in ipairs(self.parts) do
    local masks, dim = both(part, keep)
    parts[i] = { origin = part.origin, positions = part.positions, masks = masks, dim = dim }
  end
  return of(parts, self.image, self.on_error)
end

--- The images with others added to them when they are read; 255 is the most a pixel can be.
-- @tparam StreamedImages added as many, of the same size
-- @treturn StreamedImages
function methods:plus(added)
  if #added ~= self.count then
    check.fail("streamed images: %d images to add, expected %d (one per image)", #added, self.count)
  end
  return of(table.move(added.parts, 1, #added.parts, #self.parts + 1, table.move(self.parts, 1, #self.parts, 1, {})),
    self.image, self.on_error)
end

--- The core's batches of an epoch, made ahead in threads.
-- @tparam Tensor order
-- @tparam table options as of the core's data.batches
-- @treturn userdata
function methods:batches(order, options) return core.data.batches(self.view, order, options) end

--- Says once what is wrong with the cache.
function methods:check_cache()
  for _, part in ipairs(self.parts) do
    local origin = part.origin
    local problem = not origin.tensor and not origin.has_warned and origin.source:cache_problem()
    if problem then
      origin.has_warned = true
      notice.say("the cache of decoded images is left as it is, and images are decoded each time: %s", problem)
    end
  end
end

-- ---- what tells them from others ----

--- Looking at what is in files would take longer than an epoch.
local function files_digest(origin)
  origin.sizes = origin.sizes or core.data.file_sizes(origin.files)
  return (origin.fit or "stretch") .. " " .. cache.files_digest(origin.files, origin.sizes)
end

local MOST_MASKS = 4096 -- unpacked at once

local function masks_digest(masks)
  local sums = {}
  for first = 1, #masks, MOST_MASKS do
    sums[#sums + 1] = core.md5(masks:narrow(1, first, math.min(MOST_MASKS, #masks - first + 1)):bytes())
  end
  return core.md5(table.concat(sums, " "))
end

--- A text that is the same for the same images.
-- @tparam function tensor_digest (tensor) -> text
-- @treturn string
function methods:digest(tensor_digest)
  local texts = { table.concat(self:shape(), ",") }
  for _, part in ipairs(self.parts) do
    local origin = part.origin
    origin.digest = origin.digest or origin.files and files_digest(origin) or tensor_digest(origin.tensor)
    texts[#texts + 1] = origin.digest
    texts[#texts + 1] = part.positions and tensor_digest(part.positions) or "all"
    texts[#texts + 1] = part.masks and masks_digest(part.masks) or "unmasked"
    texts[#texts + 1] = part.dim and tensor_digest(part.dim) or "undimmed"
  end
  return core.md5(table.concat(texts, " "))
end

return setmetatable({
  --- Whether a value is read when it is looked at: streamed images, masktune.data.rows, or what a frozen first part of
  -- a net makes of images.
  is = function(value)
    local meta = getmetatable(value)
    return type(meta) == "table" and meta.streams == true or encoded.is(value)
  end,
  of_tensor = of_tensor,
  describe = describe,
}, { __call = function(_, ...) return of_files(...) end })
