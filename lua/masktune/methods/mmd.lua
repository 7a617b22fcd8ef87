--- MMD (Li et al. 2018) between the groups: the maximum mean discrepancy of their features under a sum of Gaussian
-- kernels exp(-gamma d^2) with gamma = 0.001 to 1000.
local alignment = require "masktune.recipe.alignment"
local core = require "masktune.core"

local GAMMAS = { 0.001, 0.01, 0.1, 1, 10, 100, 1000 }

--- The mean of the kernel over all pairs. Distances come from differences: |x|^2 + |y|^2 - 2xy, as published, leaves
-- rounding errors that the sharpest kernels take for distances.
local function kernel(x, y)
  local squared = ((x:reshape(#x, 1, -1) - y:reshape(1, #y, -1)) ^ 2):sum(3)
  local sum = core.zeros(1)
  for _, gamma in ipairs(GAMMAS) do
    sum = sum + (squared * -gamma):exp():mean()
  end
  return sum
end

return alignment.method {
  name = "mmd",
  title = "MMD",
  summary = "pulls the distributions of the groups' features together",
  paper = "Li et al. 2018",
  least = 1,
  distance = function(x, y) return kernel(x, x) + kernel(y, y) - kernel(x, y) * 2 end,
}
