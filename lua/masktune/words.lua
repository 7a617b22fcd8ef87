--- Words in messages and files: those that were perhaps meant, and names of files in any encoding.
-- @module masktune.words
local core = require "masktune.core"

local words = {}

--- What a message adds where a word is near one that there is: "; did you mean 'epochs'?"; else "".
-- @param word
-- @tparam {string,...} list
-- @treturn string
function words.suggestion(word, list)
  local nearest = type(word) == "string" and core.nearest_name(word, list)
  return nearest and ("; did you mean '%s'?"):format(nearest) or ""
end

--- A name as UTF-8: as it is where it is that, else with its other bytes as "\\xE9".
-- @string text
-- @treturn string
function words.readable(text)
  if utf8.len(text) then return text end
  return (text:gsub("[\128-\255]", function(byte) return ("\\x%02X"):format(byte:byte()) end))
end

return words
