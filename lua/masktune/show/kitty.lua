--- Pictures by kitty's graphics protocol: a PNG file in base64, in parts of at most 4096 characters
-- (https://sw.kovidgoyal.net/kitty/graphics-protocol/).
-- @module masktune.show.kitty
local PART = 4096
local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function digit(value) return DIGITS:sub(value + 1, value + 1) end

--- Base64 (RFC 4648).
local function base64(bytes)
  local parts = {}
  for at = 1, #bytes, 3 do
    local a, b, c = bytes:byte(at, at + 2)
    local bits = a << 16 | (b or 0) << 8 | (c or 0)
    parts[#parts + 1] = digit(bits >> 18) .. digit(bits >> 12 & 63) .. (b and digit(bits >> 6 & 63) or "=")
      .. (c and digit(bits & 63) or "=")
  end
  return table.concat(parts)
end

--- @param _ the picture
-- @tparam table options `png`: the picture as a PNG file's bytes
-- @treturn string
return function(_, options)
  local text, parts = base64(options.png), {}
  for at = 1, #text, PART do
    local keys = at == 1 and "a=T,f=100," or ""
    parts[#parts + 1] = ("\27_G%sm=%d;%s\27\\"):format(keys, at + PART <= #text and 1 or 0, text:sub(at, at + PART - 1))
  end
  return table.concat(parts) .. "\n"
end
