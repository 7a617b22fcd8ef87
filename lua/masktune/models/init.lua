--- The networks, one file per family, loaded when first used.
-- @module masktune.models

--- Model -> the Lua module that defines it: a function, or a table of functions by name.
local families = { small_cnn = "masktune.models.small_cnn", vgg16_bn = "masktune.models.vgg" }
for _, depth in ipairs { 20, 32, 44, 56, 110 } do
  families["resnet" .. depth] = "masktune.models.resnet_cifar"
end
for _, depth in ipairs { 18, 34, 50, 101 } do
  families["resnet" .. depth] = "masktune.models.resnet"
end

return setmetatable({}, {
  __index = function(self, name)
    local family = families[name]
    if not family then return nil end
    local value = require(family)
    if type(value) == "table" then value = value[name] end
    rawset(self, name, value)
    return value
  end,
})
