--- Base64 (RFC 4648).
-- @module masktune.base64
local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local PART = 3 << 10 -- bytes at a time: a table's worth of strings

local digits = {} -- of twelve bits each
for value = 0, 4095 do
  local high, low = value >> 6, value & 63
  digits[value] = DIGITS:sub(high + 1, high + 1) .. DIGITS:sub(low + 1, low + 1)
end

local base64 = {}

--- Bytes as text.
-- @string bytes
-- @treturn string
function base64.encode(bytes)
  local parts, pieces = {}, {}
  for from = 1, #bytes, PART do
    local count = 0
    for at = from, math.min(from + PART, #bytes + 1) - 1, 3 do
      local a, b, c = bytes:byte(at, at + 2)
      local bits = a << 16 | (b or 0) << 8 | (c or 0)
      pieces[count + 1], pieces[count + 2] = digits[bits >> 12], digits[bits & 4095]
      count = count + 2
    end
    parts[#parts + 1] = table.concat(pieces, "", 1, count)
  end
  local text, left = table.concat(parts), #bytes % 3
  return left == 0 and text or text:sub(1, left - 4) .. ("="):rep(3 - left)
end

return base64
