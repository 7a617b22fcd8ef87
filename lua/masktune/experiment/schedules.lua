--- Learning rates by a word on the command line.
-- @module masktune.experiment.schedules
local schedules = require "masktune.schedule"

local words = {
  constant = function(lr) return schedules.constant { lr = lr } end,
  quarters = function(lr, epochs) return schedules.quarters(lr, epochs) end,
  cosine = function(lr, epochs) return schedules.cosine { lr = lr, epochs = epochs } end,
}

return {
  help = "how the rate falls: constant, quarters (halved after each quarter), cosine, or EVERY:FACTOR",

  --- Text -> a function (lr, epochs) that makes the schedule; or nil and what was expected.
  kind = function(text)
    if words[text] then return words[text] end
    local every, factor = text:match("^(%d+):([%d.]+)$")
    every, factor = math.tointeger(tonumber(every)), tonumber(factor)
    if every and every > 0 and factor and factor > 0 then
      return function(lr) return schedules.step { lr = lr, every = every, factor = factor } end
    end
    return nil, "constant, quarters, cosine or EVERY:FACTOR such as 30:0.1"
  end,
}
