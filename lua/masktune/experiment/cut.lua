--- A net in two: what is up to and with one of its parts, and the rest.
-- @module masktune.experiment.cut
local nn = require("masktune.core").nn

--- The parts of a Sequential before and after the one that a path names, which is itself cut where the path goes on.
local function split(model, path, whole)
  if model:class() ~= "Sequential" then
    error(("--freeze '%s': only a chain of parts can be cut, and this is a %s"):format(whole, model:class()), 0)
  end
  local name, inner = path:match("^([^.]+)%.?(.*)$")
  local first, rest, found = {}, {}, false
  for child_name, child in model:children() do
    if child_name == name and inner ~= "" then
      local head, tail = split(child, inner, whole)
      first[#first + 1], rest[#rest + 1] = { name, head }, { name, tail }
    else
      table.insert(found and rest or first, { child_name, child })
    end
    found = found or child_name == name
  end
  return nn.Sequential(first), nn.Sequential(rest)
end

--- Cuts a net. The parts keep their names; the two share them with the net.
-- @tparam Module model a Sequential
-- @string path of a part ("layer2", "_blocks.10")
-- @treturn Module what is up to and with that part
-- @treturn Module the rest
return function(model, path)
  model:get(path) -- names what is there where this is not
  return split(model, path, path)
end
