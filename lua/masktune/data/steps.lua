--- Lists of image operations as users write them, `{{"affine", degrees = 15}, {"horizontal_flip"}}`: checking them and
-- showing them as text. What the steps do is the business of masktune.data.augment and masktune.data.preprocess.
-- @module masktune.data.steps
local check = require "masktune.check"
local sorted_names = require("masktune.names").sorted

local steps = {}

local MOST_STEPS = 16
local MOST_PIXELS = 65536

-- ---- options that are one number or two ----

local function refuse(where, name, expected, value)
  local got = type(value) == "table" and "{" .. table.concat(value, ", ") .. "}" or check.describe(value)
  error(("%s: option '%s': %s expected, got %s"):format(where, name, expected, got), 0)
end

--- A list of two numbers in [low, high]; one number is made a list by `expand`.
function steps.two_numbers(low, high, expand, expected)
  return function(where, name, value)
    local list = type(value) == "number" and expand(value) or value
    local good = type(list) == "table" and #list == 2
    for i = 1, good and 2 or 0 do
      good = good and type(list[i]) == "number" and list[i] >= low and list[i] <= high
    end
    if not good then refuse(where, name, expected, value) end
    return { list[1], list[2] }
  end
end

--- {low, high}, where a number d stands for middle - d to middle + d, cut off at `least`.
function steps.range(middle, least, most)
  local pair = steps.two_numbers(least, most, function(d)
    return d >= 0 and { math.max(middle - d, least), middle + d } or nil
  end, ("number >= 0 or {low, high} in [%g, %g]"):format(least, most))
  return function(where, name, value)
    local ends = pair(where, name, value)
    if ends[1] > ends[2] then refuse(where, name, "{low, high} with low <= high", value) end
    return ends
  end
end

--- A number as a list of two.
function steps.twice(value) return { value, value } end

--- {height, width} of whole numbers.
function steps.sides(least)
  local pair = steps.two_numbers(least, MOST_PIXELS, steps.twice,
    ("integer in [%d, %d] or {height, width}"):format(least, MOST_PIXELS))
  return function(where, name, value)
    local list = pair(where, name, value)
    local height, width = math.tointeger(list[1]), math.tointeger(list[2])
    if not (height and width) then refuse(where, name, "integer or {height, width}", value) end
    return { height, width }
  end
end

--- A step with all its options checked and numbers expanded.
local function checked_step(prefix, kinds, step, place)
  local kind = type(step) == "table" and kinds[step[1]]
  if not kind then
    local got = check.describe(type(step) == "table" and step[1] or step)
    error(("%s: step %d: {kind, option = value, ...} with a kind of %s expected, got %s"):format(prefix, place,
      table.concat(sorted_names(kinds), ", "), got), 0)
  end
  local options = {}
  for name, value in pairs(step) do
    if name ~= 1 then options[name] = value end
  end
  local where = ("%s: step %d (%s)"):format(prefix, place, step[1])
  local checked = check.options(where, options, kind.schema)
  for name, expand in pairs(kind.expand or {}) do
    if checked[name] ~= nil then checked[name] = expand(where, name, checked[name]) end
  end
  if kind.check then kind.check(checked, function(name, expected) refuse(where, name, expected, checked[name]) end) end
  checked[1] = step[1]
  return checked
end

--- A list of steps, checked.
-- @string where the public function
-- @tparam table list steps and further named options, which are left to the caller
-- @tparam table kinds kind -> `schema` of its options; `expand`: option -> function that turns it into two numbers;
-- `check`: function (options, refuse(name, expected))
-- @treturn {table,...}
function steps.checked(where, list, kinds)
  check.argument(where, "steps", list, { type = "list", of = { type = "table" } })
  if #list > MOST_STEPS then
    check.fail("%s: %d steps, expected at most %d", where, #list, MOST_STEPS)
  end
  local result = {}
  for i, step in ipairs(list) do
    result[i] = checked_step(where, kinds, step, i)
  end
  return result
end

local function option_text(value)
  return type(value) == "table" and "{" .. table.concat(value, ", ") .. "}" or tostring(value)
end

--- Checked steps as one line of text, for settings and reports.
-- @treturn string
function steps.text(list, kinds)
  local texts = {}
  for i, step in ipairs(list) do
    local options = {}
    for _, name in ipairs(sorted_names(kinds[step[1]].schema)) do
      if step[name] ~= nil then options[#options + 1] = name .. " = " .. option_text(step[name]) end
    end
    texts[i] = ("%s(%s)"):format(step[1], table.concat(options, ", "))
  end
  return table.concat(texts, ", ")
end

return steps
