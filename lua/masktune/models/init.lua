--- The networks, one file per family, loaded when first used.
-- @module masktune.models

--- Model -> the Lua module that defines it.
local families = {
  small_cnn = "masktune.models.small_cnn",
}

return setmetatable({}, {
  __index = function(self, name)
    local family = families[name]
    if not family then return nil end
    local value = require(family)
    rawset(self, name, value)
    return value
  end,
})
