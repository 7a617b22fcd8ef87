--- Masks of one bit a pixel, in memory or in a file. To whoever asks for `index`, `narrow`, `to`, `bytes` or single
-- masks they are what the uint8 tensor {N,H,W} would be, 1 = keep.
-- @classmod masktune.BitMasks
local check = require "masktune.check"
local core = require "masktune.core"

local BitMasks = {}
local methods = {}
BitMasks.__name = "masktune.BitMasks"

local function of(bits) return setmetatable({ bits = bits }, BitMasks) end

function BitMasks:__len() return #self.bits end

--- A mask as a tensor {H,W} for a number, else a method.
function BitMasks:__index(key)
  if math.type(key) ~= "integer" then return methods[key] end
  if key < 1 or key > #self then check.fail("mask %d, expected 1 to %d", key, #self) end
  return self.bits:unpack(key, 1)[1]
end

--- "uint8"
function methods.dtype() return "uint8" end

--- {N,H,W}
function methods:shape() return self.bits:shape() end

--- The length of one axis, or the shape.
function methods:size(axis)
  local shape = self:shape()
  if axis == nil then return shape end
  return shape[axis]
end

--- Masks one after the other, as bytes.
-- @tparam integer axis 1
-- @tparam integer first
-- @tparam integer count
-- @treturn Tensor uint8 {count,H,W}
function methods:narrow(axis, first, count)
  if axis ~= 1 then check.fail("masks: narrow(%s, ...), expected a range of axis 1", axis) end
  return self.bits:unpack(first, count)
end

--- All masks as a tensor of an element type.
-- @string dtype
-- @treturn Tensor {N,H,W}
function methods:to(dtype) return self.bits:unpack():to(dtype) end

--- All values as a string, as Tensor:bytes gives it.
function methods:bytes() return self.bits:unpack():bytes() end

--- Some of the masks.
-- @tparam {integer,...}|Tensor positions from 1
-- @treturn BitMasks
function methods:index(positions)
  if type(positions) == "table" then positions = core.tensor(positions, { dtype = "int32" }) end
  return of(self.bits:pick(positions))
end

--- What both keep.
-- @tparam BitMasks other
-- @treturn BitMasks
function methods:both(other) return of(self.bits:both(other.bits)) end

--- What these do not keep.
-- @treturn BitMasks
function methods:complement() return of(self.bits:complement()) end

--- For each mask the share of its pixels that it keeps.
-- @treturn {number,...}
function methods:kept_shares()
  local shape, shares = self:shape(), self.bits:counts():totable()
  for i, count in ipairs(shares) do
    shares[i] = count / (shape[2] * shape[3])
  end
  return shares
end

local MOST_MASKS = 4096 -- unpacked at once

--- A text that is the same for the same masks.
-- @treturn string
function methods:digest()
  local sums = {}
  for first = 1, #self, MOST_MASKS do
    sums[#sums + 1] = core.md5(self:narrow(1, first, math.min(MOST_MASKS, #self - first + 1)):bytes())
  end
  return core.md5(table.concat(sums, " "))
end

return {
  --- Whether a value is masks of one bit a pixel.
  is = function(value) return getmetatable(value) == BitMasks end,

  --- Makes them of bytes.
  -- @tparam Tensor keep uint8 {N,H,W}: 0 masks, anything else keeps
  -- @treturn BitMasks
  pack = function(keep) return of(core.data.pack(keep)) end,

  --- Those in a whole file of masktune.data.row_file.
  -- @tparam userdata file
  -- @tparam integer height
  -- @tparam integer width
  -- @treturn BitMasks
  in_file = function(file, height, width) return of(core.data.masks_in(file, height, width)) end,
}
