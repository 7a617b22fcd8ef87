--- Heatmaps by a method that is named, or given: `heat, predicted = mt.explain(model, images, options)`.
-- @module masktune.explain
local cams = require "masktune.cam"
local check = require "masktune.check"
local engine = require "masktune.explain.engine"
local method = require "masktune.explain.method"
local registry = require "masktune.registry"
local tables = require "masktune.tables"

local explain = {}

--- The method that is meant by a name, a rule or a table; an error lists the names.
-- @param cam the name of one of mt.cam, a function (tap, context) as masktune.cam describes it, or a table with one
-- @string where the public function, for the message
-- @treturn table
function explain.method(cam, where)
  if type(cam) == "function" or type(cam) == "table" then return method.make(cam, "function") end
  return registry.get(cams, cam, where, "option 'cam'")
end

--- Heatmaps of images.
-- @function masktune.explain
-- @tparam Module model gives logits {N,k}
-- @tparam Tensor images {N,H,W,C}, float32 or uint8
-- @tparam[opt] table options `cam` ("xgradcam"): a name or a rule as explain.method takes; all else is the method's,
-- see masktune.cam: `layer`, `layers`, `target`, `batch`, ...
-- @treturn Tensor heat, float32 {N,h,w}, >= 0
-- @treturn Tensor the most probable classes, int32 {N}
-- @usage local heat = mt.explain(model, images, {cam = function(tap) return tap.gradient:mean{2, 3} end})
local function run(_, model, images, options)
  options = check.argument("mt.explain", "options", options, { type = "table", default = {} })
  local cam, own = options.cam or "xgradcam", tables.without(options, { "cam" })
  return engine.run(explain.method(cam, "mt.explain"), "mt.explain", model, images, own)
end

return setmetatable(explain, { __call = run })
