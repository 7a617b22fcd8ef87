--- Arguments checked at the door.
-- Every public Lua function describes its options once, in a schema; missing ones get their defaults, unknown ones and
-- wrong values are refused with the option's name, what was expected and what came. Errors point at the line of the
-- user's that led here, never at one of masktune's own.
-- @module masktune.check
local sorted_names = require("masktune.names").sorted
local words = require "masktune.words"

local check = {}

--- The beginning of the paths of masktune's own files, as debug.getinfo gives them.
local own_files = debug.getinfo(1, "S").source:match("^(.*)check%.lua$")

--- Raises an error at the first line on the stack that is no line of masktune's.
-- @string format as in string.format
-- @param ...
function check.fail(format, ...)
  local message, level = select("#", ...) > 0 and format:format(...) or format, 2
  local info = debug.getinfo(level, "Sl")
  while info and (info.what == "C" or info.source:sub(1, #own_files) == own_files) do
    level = level + 1
    info = debug.getinfo(level, "Sl")
  end
  error(message, info and level or 0)
end

local function type_name(value)
  local meta = getmetatable(value)
  local name = type(meta) == "table" and rawget(meta, "__name")
  return type(name) == "string" and name or type(value)
end

--- What a value is, for messages: its value where that is short, else its type.
-- @treturn string
function check.describe(value)
  local kind = type(value)
  if kind == "string" then return #value <= 60 and "'" .. value .. "'" or "a string of " .. #value .. " bytes" end
  if kind == "number" or kind == "boolean" or kind == "nil" then return tostring(value) end
  return type_name(value)
end

--- Whether a value is a tensor.
-- @treturn boolean
function check.is_tensor(value) return type(value) == "userdata" and type_name(value) == "masktune.Tensor" end

--- Whether a value can be called.
-- @treturn boolean
function check.is_callable(value)
  local meta = getmetatable(value)
  return type(value) == "function" or type(meta) == "table" and meta.__call ~= nil
end

--- Whether a value runs as a module: one of the core's, or a Lua table with a `forward`.
-- @treturn boolean
function check.is_module(value)
  if type(value) == "userdata" then return type_name(value) == "masktune.Module" end
  return type(value) == "table" and check.is_callable(value.forward)
end

local function in_range(value, rule)
  return value == value and (not rule.min or value >= rule.min) and (not rule.max or value <= rule.max)
    and (not rule.above or value > rule.above)
end

local function range_text(rule)
  local low = rule.above and "> " .. rule.above or rule.min and ">= " .. rule.min
  if rule.max and rule.min then return (" in [%s, %s]"):format(rule.min, rule.max) end
  if rule.max and rule.above then return (" in (%s, %s]"):format(rule.above, rule.max) end
  if rule.max then return " <= " .. rule.max end
  return low and " " .. low or ""
end

--- Kind -> {accept(value, rule) -> the value as it will be used, or nil; text(rule) -> what is expected}.
local kinds = {}

local function plain_kind(name, test, text)
  kinds[name] = {
    accept = function(value) if test(value) then return value end end,
    text = function() return text or name end,
  }
end

plain_kind("boolean", function(value) return type(value) == "boolean" end)
plain_kind("string", function(value) return type(value) == "string" end)
plain_kind("table", function(value) return type(value) == "table" end)
plain_kind("function", check.is_callable)
plain_kind("tensor", check.is_tensor)
plain_kind("module", check.is_module, "module (or table with a forward)")
plain_kind("any", function(value) return value ~= nil end, "value")

kinds.integer = {
  accept = function(value, rule)
    local exact = type(value) == "number" and math.tointeger(value)
    if exact and in_range(exact, rule) then return exact end
  end,
  text = function(rule) return "integer" .. range_text(rule) end,
}

kinds.number = {
  accept = function(value, rule) if type(value) == "number" and in_range(value, rule) then return value end end,
  text = function(rule) return "number" .. range_text(rule) end,
}

local function is_choice(value, rule)
  for _, choice in ipairs(rule.choices or {}) do
    if value == choice then return true end
  end
  return false
end

--- What a rule expects, in words.
local function expectation(rule)
  local parts = {}
  for i, choice in ipairs(rule.choices or {}) do
    parts[i] = check.describe(choice)
  end
  if rule.type then parts[#parts + 1] = kinds[rule.type].text(rule) end
  return table.concat(parts, " or ")
end

--- The value a rule makes of `value`; nil when it is refused (false stays a value of its own).
local function accepted(value, rule)
  if is_choice(value, rule) then return value end
  return rule.type and kinds[rule.type].accept(value, rule)
end

kinds.list = {
  accept = function(value, rule)
    if type(value) ~= "table" or #value < (rule.min_length or 0) then return nil end
    local list = {}
    for i = 1, #value do
      list[i] = accepted(value[i], rule.of or { type = "any" })
      if list[i] == nil then return nil end
    end
    return list
  end,
  text = function(rule)
    local length = rule.min_length and " of " .. rule.min_length .. " or more" or ""
    return "list" .. length .. (rule.of and (length == "" and " of " or ", each ") .. expectation(rule.of) or "")
  end,
}

--- One value against one rule, with the default for nil.
local function resolve(rule, value, prefix)
  if value == nil then
    if rule.default ~= nil then return rule.default end
    if rule.optional then return nil end
  end
  local result = accepted(value, rule)
  if result == nil then
    check.fail("%s: %s expected, got %s", prefix, expectation(rule), check.describe(value))
  end
  return result
end

--- Checks a table of options.
-- A rule is a table: `type` ("integer", "number", "boolean", "string", "tensor", "module", "function", "table",
-- "list", "any") and/or `choices` (a list of literal values); numbers take `min`, `max`, `above` (an open lower
-- bound), lists take `of` (a rule) and `min_length`; `default`, or `optional = true` where nil is allowed. Without
-- either it is required.
-- @usage local o = check.options("mt.train", options, {epochs = {type = "integer", min = 1, default = 100}})
-- @string where the public function's name, which begins every message
-- @tparam ?table options nil counts as {}
-- @tparam table schema option name -> rule
-- @treturn table a new table with every option of the schema
function check.options(where, options, schema)
  if options == nil then options = {} end
  if type(options) ~= "table" then
    check.fail("%s: table of options expected, got %s", where, check.describe(options))
  end
  for name in pairs(options) do
    if not schema[name] then
      local names = sorted_names(schema)
      check.fail("%s: unknown option %s, expected one of: %s%s", where, check.describe(name), table.concat(names, ", "),
        words.suggestion(name, names))
    end
  end
  local result = {}
  for _, name in ipairs(sorted_names(schema)) do
    result[name] = resolve(schema[name], options[name], ("%s: option '%s'"):format(where, name))
  end
  return result
end

--- Checks one positional argument against a rule.
-- @string where the public function's name
-- @string name the argument's name
-- @param value
-- @tparam table rule as in check.options
-- @return the value, or the rule's default
function check.argument(where, name, value, rule)
  return resolve(rule, value, ("%s: argument '%s'"):format(where, name))
end

return check
