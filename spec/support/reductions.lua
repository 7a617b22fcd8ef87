--- What every differentiable reduction over any axes is checked for.
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local reductions = {}

local cases = {
  { { 5 }, nil }, { { 3, 4 }, nil }, { { 3, 4 }, 1 }, { { 3, 4 }, 2 }, { { 3, 4 }, -1 }, { { 2, 3, 4 }, 2 },
  { { 2, 3, 4 }, { 1, 3 } }, { { 2, 3, 4 }, { 3, 1, 2 } }, { { 2, 1, 3, 2, 1, 2 }, { 2, 4, 6 } },
  { { 3, 2, 2, 3, 2, 2 }, { 1, 3, 5 } }, { { 2, 3, 4, 5 }, { 2, 3 } },
}

local function all_axes(shape)
  local axes = {}
  for i = 1, #shape do axes[i] = i end
  return axes
end

--- What a spec says about comparing a reduction, values and gradients, with its definition: a list of { text, f }.
-- @string name what they call it
-- @tparam function ours (tensor, axes, options with keepdim) -> tensor
-- @tparam function plain list of numbers -> number
-- @tparam[opt] table settings `one_axis`: no tables of several axes; `low`, `high`: of the inputs (-3, 3)
function reductions.cases(name, ours, plain, settings)
  settings = settings or {}
  local list = {}
  for _, case in ipairs(cases) do
    local shape, axes = case[1], case[2]
    local listed = type(axes) == "number" and { axes < 0 and #shape + 1 + axes or axes } or axes or all_axes(shape)
    for _, keepdim in ipairs(settings.one_axis and type(axes) == "table" and {} or { false, true }) do
      local text = ("%s of {%s} over {%s}%s matches the reference, values and gradients"):format(name,
        table.concat(shape, ","), table.concat(listed, ","), keepdim and ", keepdim" or "")
      list[#list + 1] = { text, function()
        gradcheck.check{
          ours = function(x) return ours(x, axes, { keepdim = keepdim }) end,
          reference = function(x) return reference.reduce(x, listed, plain, keepdim) end,
          inputs = { { shape = shape, low = settings.low or -3, high = settings.high or 3 } },
        }
      end }
    end
  end
  return list
end

return reductions
