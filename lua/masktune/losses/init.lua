--- Losses, found by name (`mt.losses.focal { gamma = 2 }`). One file each; a new one needs its file and nothing else
-- (masktune.registry): it returns `{summary =, schema = options, new = function(options) -> objective}`.
-- An objective is what mt.train minimises: a function (model, batch, run) -> loss (a tensor of one number), logits
-- (optional: {B,k}, for the training accuracy). Every loss prints as its name and options, which is how a resumed run
-- tells it from another.
-- @module masktune.losses
local check = require "masktune.check"
local registry = require "masktune.registry"

local Objective = { __name = "masktune.Objective" }
Objective.__index = Objective

function Objective:__call(model, batch, run) return self.compute(model, batch, run) end

local function option_text(value)
  if check.is_tensor(value) then value = value:totable() end
  if type(value) ~= "table" then return tostring(value) end
  local texts = {}
  for i, item in ipairs(value) do
    texts[i] = tostring(item)
  end
  return "{" .. table.concat(texts, ", ") .. "}"
end

function Objective:__tostring()
  local texts = {}
  for name, value in pairs(self.options) do
    texts[#texts + 1] = name .. " = " .. option_text(value)
  end
  table.sort(texts)
  return ("%s(%s)"):format(self.name, table.concat(texts, ", "))
end

local Loss = { __name = "masktune.Loss" }

--- A loss with its options: an objective.
function Loss:__call(options)
  local o = check.options("mt.losses." .. self.name, options, self.schema)
  return setmetatable({ name = self.name, options = o, compute = self.new(o) }, Objective)
end

return registry.new("masktune.losses", {
  kind = "loss",
  accept = function(value, name, module)
    local good = type(value) == "table" and check.is_callable(value.new) and type(value.summary) == "string"
    if not good then
      error(("%s: loss expected, {summary = text, schema = options, new = function}, got %s"):format(
        module or "mt.losses." .. name, check.describe(value)), 0)
    end
    return setmetatable({ name = name, summary = value.summary, schema = value.schema or {}, new = value.new }, Loss)
  end,
})
