--- The names in a table, in an order that does not change from run to run.
-- @module masktune.names
local names = {}

--- The keys of a table, sorted.
-- @tparam table map with keys that can be compared, as `pairs` gives them
-- @tparam[opt] function wanted (key, value) -> whether it is among them; all are without it
-- @treturn list
function names.sorted(map, wanted)
  local list = {}
  for key, value in pairs(map) do
    if not wanted or wanted(key, value) then list[#list + 1] = key end
  end
  table.sort(list)
  return list
end

return names
