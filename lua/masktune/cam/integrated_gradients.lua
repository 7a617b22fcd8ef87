--- Integrated gradients: the map `sum_c (x_c - b_c) mean g_c`, the mean of the gradients on the straight line from a
-- baseline b to the image, by Gauss-Legendre quadrature. Over all pixels the map sums to the difference of the target's
-- logit between the two ends.
-- Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks". Gives max(0, map): the pixels that speak
-- for the class, float32 {N,H,W}. Options: `steps` (50), `baseline` (0: black; a number, or a tensor that broadcasts to
-- {N,H,W,C}).
-- @module masktune.cam.integrated_gradients
local check = require "masktune.check"
local core = require "masktune.core"

--- The value and the slope of the n-th Legendre polynomial.
local function legendre(n, x)
  local before, value = 1, x
  for k = 2, n do
    before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
  end
  return value, n * (x * value - before) / (x * x - 1)
end

--- Points in (0,1) and weights that sum to 1: exact for polynomials up to degree 2 n - 1.
local function gauss_legendre(n)
  local points, weights = {}, {}
  for i = 1, n do
    local x = math.cos(math.pi * (i - 0.25) / (n + 0.5))
    for _ = 1, 10 do -- Newton's steps; three are enough
      local value, slope = legendre(n, x)
      x = x - value / slope
    end
    local _, slope = legendre(n, x)
    points[i], weights[i] = (1 - x) / 2, 1 / ((1 - x * x) * slope * slope)
  end
  return points, weights
end

local function baseline_of(context)
  local baseline, images = context.options.baseline, context.images
  if type(baseline) == "number" then return core.full(images:shape(), baseline) end
  local ok, expanded = pcall(function() return baseline:to("float32"):expand(images:shape()) end)
  if not check.is_tensor(baseline) or not ok then
    local got = check.is_tensor(baseline) and "{" .. table.concat(baseline:shape(), ",") .. "}"
    check.fail("mt.cam.integrated_gradients: option 'baseline': number or tensor that broadcasts to {%s} expected, "
      .. "got %s", table.concat(images:shape(), ","), got or check.describe(baseline))
  end
  return expanded
end

return {
  summary = "the image times its gradient, averaged on the way from a black image",
  paper = "Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks",
  input = true,
  gradient = false,
  options = {
    steps = { type = "integer", min = 1, max = 1000, default = 50 },
    baseline = { type = "any", default = 0 },
  },
  rule = function(tap, context)
    local baseline = baseline_of(context)
    local way, mean = tap.value - baseline, nil
    local points, weights = gauss_legendre(context.options.steps)
    for i, point in ipairs(points) do
      local gradient = context:input_gradient(baseline + way * point) * weights[i]
      mean = mean and mean + gradient or gradient
    end
    return (way * mean):sum(4)
  end,
}
