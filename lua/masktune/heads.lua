--- The last linear layer of a net, its head, and what it is given: the features.
-- @module masktune.heads
local check = require "masktune.check"
local core = require "masktune.core"

local heads = {}

--- Finds the head: the last Linear of the net's modules, or the one that is named.
-- @string where the public function, for messages
-- @tparam Module model
-- @tparam[opt] string name
-- @treturn table `name`, `module`, `inputs` and `outputs` (numbers of features and logits)
function heads.find(where, model, name)
  if type(model) ~= "userdata" then
    check.fail("%s: a net of modules expected (its last Linear is the head), got %s", where, check.describe(model))
  end
  local found
  for path, part in model:modules() do
    local fits = part:class() == "Linear" and path ~= "" and (not name or name == path)
    if fits then found = { name = path, module = part } end
  end
  if not found then
    check.fail("%s: the net has no %s", where, name and ("Linear called '%s'"):format(name) or "Linear inside")
  end
  local parent, key = found.name:match("^(.*)%.([^.]+)$")
  found.parent, found.key = parent and model:get(parent) or model, key or found.name
  found.outputs, found.inputs = found.module.weight:size(1), found.module.weight:size(2)
  return found
end

--- Puts another module in the head's place.
-- @tparam table head as found
-- @tparam Module module
function heads.replace(head, module) head.parent[head.key] = module end

--- What the head is given: the net runs with nothing in the head's place. Gradients flow as they do through the net.
-- @tparam Module model
-- @tparam table head
-- @tparam Tensor images
-- @treturn Tensor {B,inputs}
function heads.features(model, head, images)
  heads.replace(head, core.nn.Identity())
  local ok, features = pcall(model, images)
  heads.replace(head, head.module)
  if not ok then error(features, 0) end
  if #features:shape() ~= 2 or features:size(2) ~= head.inputs then
    error(("the net goes on after its Linear '%s' (without it, it gives {%s}): name the last one with option 'head'")
      :format(head.name, table.concat(features:shape(), ",")), 0)
  end
  return features
end

return heads
