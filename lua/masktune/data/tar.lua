--- tar archives (POSIX ustar and GNU), as far as downloads need them: the plain files in one.
-- @module masktune.data.tar
local tar = {}

local BLOCK = 512

local function fail(name, message, ...) error(("'%s': " .. message):format(name, ...), 0) end

--- A number as tar writes it: octal digits, then spaces or zero bytes.
local function number(content, from, length)
  local digits = content:sub(from, from + length - 1):match("^ *([0-7]*)[ %z]*$")
  return digits and tonumber(digits == "" and "0" or digits, 8)
end

--- The sum of a header's bytes with spaces in place of the sum itself.
local function checksum(header)
  local sum = 8 * 32
  for position = 1, BLOCK do
    if position < 149 or position > 156 then sum = sum + header:byte(position) end
  end
  return sum
end

--- Iterates over the plain files of an archive.
-- @string content of the archive
-- @string name of the archive, for messages
-- @treturn function giving a file's name, and the positions of its first and last byte in `content`
-- @raise naming the archive when it is damaged or truncated
function tar.files(content, name)
  local at = 1
  return function()
    while true do
      local header = content:sub(at, at + BLOCK - 1)
      if #header < BLOCK then fail(name, "the archive is truncated") end
      if not header:find("[^%z]") then return nil end
      local size = number(header, 125, 12)
      if not size or number(header, 149, 8) ~= checksum(header) then
        fail(name, "the archive is damaged (header at byte %d)", at - 1)
      end
      local first = at + BLOCK
      if first + size - 1 > #content then fail(name, "the archive is truncated") end
      at = first + (size + BLOCK - 1) // BLOCK * BLOCK
      local kind = header:sub(157, 157)
      if kind == "0" or kind == "\0" then return header:sub(1, 100):match("^%Z*"), first, first + size - 1 end
    end
  end
end

return tar
