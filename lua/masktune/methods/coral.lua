--- Deep CORAL (Sun and Saenko 2016) between the groups: the mean squared difference of their features' means, and that
-- of their covariances.
local alignment = require "masktune.recipe.alignment"

--- Mean {1,D} and covariance {D,D} (n - 1 below the line).
local function moments(x)
  local mean = x:mean(1, { keepdim = true })
  local centred = x - mean
  return mean, centred:transpose(1, 2):matmul(centred) / (x:size(1) - 1)
end

return alignment.method {
  name = "coral",
  title = "CORAL",
  summary = "pulls means and covariances of the groups' features together",
  paper = "Sun and Saenko 2016",
  least = 2,
  distance = function(x, y)
    local mean_x, covariance_x = moments(x)
    local mean_y, covariance_y = moments(y)
    return ((mean_x - mean_y) ^ 2):mean() + ((covariance_x - covariance_y) ^ 2):mean()
  end,
}
