--- Pictures by kitty's graphics protocol: a PNG file in base64, in parts of at most 4096 characters
-- (https://sw.kovidgoyal.net/kitty/graphics-protocol/).
-- @module masktune.show.kitty
local base64 = require "masktune.base64"

local PART = 4096
--- @param _ the picture
-- @tparam table options `png`: the picture as a PNG file's bytes
-- @treturn string
return function(_, options)
  local text, parts = base64.encode(options.png), {}
  for at = 1, #text, PART do
    local keys = at == 1 and "a=T,f=100," or ""
    parts[#parts + 1] = ("\27_G%sm=%d;%s\27\\"):format(keys, at + PART <= #text and 1 or 0, text:sub(at, at + PART - 1))
  end
  return table.concat(parts) .. "\n"
end
