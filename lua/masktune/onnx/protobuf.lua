--- Protocol Buffers' wire format, as much of it as ONNX files need.
-- @module masktune.onnx.protobuf
local protobuf = {}

local VARINT, BYTES, FIXED32 = 0, 2, 5

local function varint(value)
  local bytes = {}
  repeat
    local low = value & 0x7f
    value = value >> 7 -- without the sign: a negative number takes ten bytes, as the format wants it
    bytes[#bytes + 1] = string.char(value ~= 0 and low | 0x80 or low)
  until value == 0
  return table.concat(bytes)
end

local function key(field, wire) return varint(field << 3 | wire) end

--- An integer field (int32, int64, enum).
function protobuf.integer(field, value) return key(field, VARINT) .. varint(value) end

--- A float field.
function protobuf.float(field, value) return key(field, FIXED32) .. string.pack("<f", value) end

--- A string, bytes or message field.
function protobuf.bytes(field, value) return key(field, BYTES) .. varint(#value) .. value end

--- A repeated field of integers, packed.
function protobuf.integers(field, list)
  local parts = {}
  for i, value in ipairs(list) do
    parts[i] = varint(value)
  end
  return protobuf.bytes(field, table.concat(parts))
end

return protobuf
