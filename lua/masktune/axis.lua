--- An axis of a plot: where it ends, its ticks at round numbers, and where a number lies on it.
-- @module masktune.axis
local axis = {}

--- The smallest of 1, 2 or 5 times a power of ten that gives at most `most` steps over a range.
local function round_step(range, most)
  local power = 10.0 ^ math.floor(math.log(range / most, 10))
  for _, factor in ipairs { 1, 2, 5 } do
    if range / (factor * power) <= most * (1 + 1e-9) then return factor * power end
  end
  return 10 * power
end

--- The smallest and the largest number of all series' lists of these names.
-- @tparam {table,...} series
-- @tparam {string,...} names
-- @treturn number infinity where there is no number
-- @treturn number minus infinity
function axis.range(series, names)
  local low, high = math.huge, -math.huge
  for _, line in ipairs(series) do
    for _, name in ipairs(names) do
      for _, value in ipairs(line[name] or {}) do
        low, high = math.min(low, value), math.max(high, value)
      end
    end
  end
  return low, high
end

--- Makes one.
-- @tparam table o `min`, `max` (ends that are given; else round numbers beyond the data), `label`
-- @number low the smallest and
-- @number high the largest number on it
-- @number first_pixel where it begins and
-- @number last_pixel ends
-- @tparam integer most ticks are at most so many steps apart
-- @treturn table `label`; `ticks`: list of `value`, `text`; `place`: number -> pixel
function axis.new(o, low, high, first_pixel, last_pixel, most)
  low, high = o.min or low, o.max or high
  if low >= high then low, high = o.min and low or low - 0.5, low + 0.5 end
  local step = round_step(high - low, most)
  if not o.min then low = math.floor(low / step + 1e-9) * step end
  if not o.max then high = math.ceil(high / step - 1e-9) * step end
  local made = { ticks = {}, label = o.label }
  function made.place(value) return first_pixel + (value - low) / (high - low) * (last_pixel - first_pixel) end
  local digits = math.max(0, -math.floor(math.log(step, 10) + 1e-9))
  for number = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) do
    made.ticks[#made.ticks + 1] = { value = number * step, text = ("%." .. digits .. "f"):format(number * step) }
  end
  return made
end

return axis
