--- What a heatmap method is: a table with a rule, or the rule alone.
-- @module masktune.explain.method
local check = require "masktune.check"
local engine = require "masktune.explain.engine"
local tables = require "masktune.tables"

local method = {}

--- The fields of a method.
--
-- - `rule`: function (tap, context) -> map {n,h,w} or channel weights {n,C}; runs without recording gradients. `tap` is
--   `{name =, module =, value =, gradient =}`; see masktune.explain.context
-- - `summary`, `paper`: lines for people
-- - `gradient` (true): false where the rule needs no gradient; then no backward pass runs and `tap.gradient` is nil
-- - `input` (false): true for a method that looks at the image itself: `tap` is the image {n,H,W,C}, and there is no
--   option `layer`
-- - `layers`: with `input`, function (model) -> names of layers that are captured too, as `context.taps`
-- - `score`: function (logits {n,k}, context) -> what to differentiate instead of the targets' logits: any
--   differentiable tensor of them, summed
-- - `options`: the method's own options, as masktune.check describes them; the rule finds them in `context.options`. A
--   method that draws random numbers has one called `generator`; without a value it is mt.generator(1)
-- - `native`: function (model, images, {layer =, target =, batch =}) -> heat, predicted: the whole method in C, for one
--   layer
method.schema = {
  rule = { type = "function" },
  summary = { type = "string", default = "" },
  paper = { type = "string", optional = true },
  gradient = { type = "boolean", default = true },
  input = { type = "boolean", default = false },
  layers = { type = "function", optional = true },
  score = { type = "function", optional = true },
  options = { type = "table", default = {} },
  native = { type = "function", optional = true },
}

local Method = { __name = "masktune.Cam" }

--- heat, predicted = method(model, images, options)
function Method.__call(self, model, images, options)
  return engine.run(self, "mt.cam." .. self.name, model, images, options)
end

function Method.__tostring(self) return "mt.cam." .. self.name .. ": " .. self.summary end

--- Makes a method of what a file or a user gives.
-- @param value a function (the rule), a table with the fields above, or a method
-- @string name
-- @string[opt] where for messages: the Lua module it comes from
-- @treturn table callable: (model, images, options) -> heat, predicted
function method.make(value, name, where)
  if getmetatable(value) == Method then return value end
  where = ("CAM '%s'%s"):format(name, where and " (" .. where .. ")" or "")
  if type(value) == "function" then value = { rule = value } end
  if type(value) ~= "table" then
    check.fail("%s: function or table with a rule expected, got %s", where, check.describe(value))
  end
  local made = check.options(where, value, method.schema)
  made.name = name
  made.schema = tables.merged(made.input and engine.input_schema or engine.layer_schema, made.options)
  return setmetatable(made, Method)
end

return method
