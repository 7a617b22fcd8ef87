--- idx files, the format of MNIST: a magic number (element type, number of axes), the sizes, the values; big-endian.
-- Every length is checked against the file before a tensor is made of it.
-- @module masktune.data.idx
local check = require "masktune.check"
local core = require "masktune.core"

local idx = {}

local UNSIGNED_BYTES = 0x08
local MOST_VALUES = 1 << 40

local function fail(path, message, ...) error(("mt.data.read_idx: '%s': " .. message):format(path, ...), 0) end

local function check_magic(path, content, axes)
  if #content < 4 then fail(path, "truncated: %d bytes, expected a header of 4 at least", #content) end
  local magic = (">I4"):unpack(content)
  local expected = axes and ("0x%08x"):format(UNSIGNED_BYTES << 8 | axes) or "0x00000801 to 0x00000806"
  local found_axes = magic & 0xff
  if magic >> 8 ~= UNSIGNED_BYTES or found_axes < 1 or found_axes > 6 or axes and found_axes ~= axes then
    fail(path, "wrong magic 0x%08x, expected %s (idx of unsigned bytes, %s)", magic, expected,
      axes and axes .. (axes == 1 and " axis" or " axes") or "1 to 6 axes")
  end
  return found_axes
end

--- The sizes, after a check that exactly their product of bytes follows.
local function check_sizes(path, content, axes)
  local header = 4 + 4 * axes
  if #content < header then fail(path, "truncated: %d bytes, expected a header of %d", #content, header) end
  local shape, product = {}, 1
  for axis = 1, axes do
    shape[axis] = (">I4"):unpack(content, 1 + 4 * axis)
    if shape[axis] > 0 and product > MOST_VALUES // shape[axis] then
      fail(path, "sizes %s... are not plausible", table.concat(shape, " x "))
    end
    product = product * shape[axis]
  end
  local size, sizes = #content - header, table.concat(shape, " x ")
  if size < product then fail(path, "truncated: %d bytes of data, expected %d (%s)", size, product, sizes) end
  if size > product then fail(path, "%d bytes of data, expected %d (%s)", size, product, sizes) end
  return shape, header
end

local function read(path, axes)
  local content = core.read_file(path)
  if content:sub(1, 2) == "\x1f\x8b" then content = core.gunzip(path) end
  axes = check_magic(path, content, axes)
  local shape, header = check_sizes(path, content, axes)
  -- a view past the header: cutting the string would hold the file in memory once more
  local bytes = core.from_bytes(content, "uint8", #content)
  return bytes:narrow(1, header + 1, #content - header):reshape(shape)
end

--- Reads an idx file of unsigned bytes, plain or gzipped.
-- @string path
-- @tparam[opt] integer axes how many axes it must have
-- @treturn Tensor uint8
-- @raise naming the file: missing, wrong magic, truncated, too long, damaged gzip
function idx.read(path, axes)
  check.argument("mt.data.read_idx", "path", path, { type = "string" })
  check.argument("mt.data.read_idx", "axes", axes, { type = "integer", min = 1, max = 6, optional = true })
  return read(path, axes)
end

return idx
