--- Words that were perhaps meant, in messages.
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

return words
