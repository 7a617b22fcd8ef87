--- Objectives: what mt.train minimises. A function (model, batch, run) -> loss (a tensor of one number), logits
-- (optional: {B,k}, for the training accuracy) does; one made here prints as its name and options, which is how a
-- resumed run tells it from another.
-- @module masktune.objective
local check = require "masktune.check"

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

--- Makes an objective.
-- @string name
-- @tparam table options name -> number, string, boolean, list or tensor: all that the values depend on
-- @tparam function compute (model, batch, run) -> loss, logits
-- @treturn table
return function(name, options, compute)
  return setmetatable({ name = name, options = options, compute = compute }, Objective)
end
