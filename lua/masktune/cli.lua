--- Command lines of programs: options described once give the parser, the checks and the help.
-- @module masktune.cli
local dist = require "masktune.dist"
local registry = require "masktune.registry"

local cli = {}

local Usage = {}
Usage.__index = Usage
Usage.__tostring = function(self) return self.message end

local function fail(...) error(setmetatable({ message = (...):format(select(2, ...)) }, Usage), 0) end

--- Tells the user something on standard error, in a line.
-- @string format as in string.format
-- @param ...
function cli.say(format, ...)
  if dist.rank() == 0 then io.stderr:write(format:format(...), "\n") end
end

--- Kinds of values: text -> value, or nil and what was expected.
cli.kinds = {}

function cli.kinds.text(text) return text end

--- An integer of at least `min`, and at most `max` where that is given.
function cli.kinds.integer(min, max)
  return function(text)
    local value = text:find("^%d+$") and math.tointeger(tonumber(text))
    if value and value >= min and value <= (max or value) then return value end
    return nil, max and ("integer from %d to %d"):format(min, max) or "integer >= " .. min
  end
end

--- A number above 0.
function cli.kinds.positive(text)
  local value = tonumber(text)
  if value and value > 0 and value < math.huge then return value end
  return nil, "number > 0"
end

--- Integers from `min` up, with commas between them, each once.
function cli.kinds.integers(min)
  return function(text)
    local list, seen = {}, {}
    for piece in (text .. ","):gmatch("([^,]*),") do
      local value = cli.kinds.integer(min)(piece)
      if not value or seen[value] then return nil, ("different integers >= %d such as 1,2,3"):format(min) end
      list[#list + 1], seen[value] = value, true
    end
    return list
  end
end

--- One of the words, or what `other` makes of it.
function cli.kinds.choice(words, other)
  return function(text)
    for _, word in ipairs(words) do
      if text == word then return word end
    end
    local value, expected
    if other then value, expected = other(text) end
    if value ~= nil then return value end
    return nil, table.concat(words, ", ") .. (expected and " or " .. expected or "")
  end
end

--- A name in a registry.
function cli.kinds.registered(entries)
  return function(text)
    if entries[text] ~= nil then return text end
    return nil, "one of " .. table.concat(registry.names(entries), ", ")
  end
end

--- Names in a registry, with commas between them; `more`: further names.
function cli.kinds.registered_list(entries, more)
  local one = cli.kinds.registered(entries)
  return function(text)
    local list = {}
    for name in text:gmatch("[^,]+") do
      if not more[name] and not one(name) then return nil, select(2, one(name)) end
      list[#list + 1] = name
    end
    if #list == 0 then return nil, "names with commas between them" end
    return list
  end
end

--- The option that chooses a heatmap method.
-- @tparam table cams mt.cam
function cli.cam_option(cams)
  return { name = "cam", value = "NAME", kind = cli.kinds.registered(cams), default = "xgradcam",
    default_text = "xgradcam", help = "how heatmaps are made: " .. table.concat(registry.names(cams), ", ") }
end

--- Options that several programs have, by name.
cli.options = {
  seeds = { name = "seeds", value = "LIST", kind = cli.kinds.integers(0), default = { 1 }, default_text = "1",
    help = "seeds, such as 1,2,3: one run each" },
  protocol = { name = "protocol", value = "NAME", kind = cli.kinds.choice { "reference", "paper" },
    default = "reference", default_text = "reference", help = "how heatmaps become masks: reference or paper" },
  threads = { name = "threads", value = "N", kind = cli.kinds.integer(1), help = "threads",
    default_text = "all cores" },
  resume = { name = "resume", help = "go on with the run in --out; the end is the same to the bit" },
  help = { name = "help", help = "this text" },
}

local function key_of(name) return (name:gsub("%-", "_")) end

--- Help: a usage line and one aligned line per option.
-- @tparam table program `name`, `about`, `options`
-- @treturn string
function cli.help(program)
  local lines, widest = {}, 0
  local function left_side(option) return "--" .. option.name .. (option.value and " " .. option.value or "") end
  for _, option in ipairs(program.options) do
    widest = math.max(widest, #left_side(option))
  end
  lines[1] = ("usage: %s [options]"):format(program.name)
  lines[2] = program.about .. "\n"
  for _, option in ipairs(program.options) do
    local default = option.default_text and (" (default %s)"):format(option.default_text) or ""
    lines[#lines + 1] = ("  %-" .. widest .. "s  %s%s"):format(left_side(option), option.help, default)
  end
  return table.concat(lines, "\n") .. "\n"
end

local function by_name(program)
  local options = {}
  for _, option in ipairs(program.options) do
    options["--" .. option.name] = option
  end
  return options
end

local function convert(option, text)
  if not text then fail("--%s: %s expected, got nothing", option.name, option.value) end
  local value, expected = option.kind(text)
  if value == nil then fail("--%s: %s expected, got '%s'", option.name, expected, text) end
  return value
end

--- Reads a command line; raises on anything unknown or wrong.
-- An option is `name`, `help`, and for those with a value `value` (its name in the help), `kind` (text -> value, or nil
-- and what was expected) and `default`; without `value` it is a switch. `default_text` is what the help says of the
-- default.
-- @tparam table program `name`, `about` and `options`
-- @tparam {string,...} arguments "--name value", "--name=value" or "--switch"
-- @treturn table name (with _ for -) -> value
function cli.parse(program, arguments)
  local options, result = by_name(program), {}
  for _, option in ipairs(program.options) do
    result[key_of(option.name)] = option.default
    if not option.value then result[key_of(option.name)] = false end
  end
  local i = 1
  while i <= #arguments do
    local name, text = arguments[i]:match("^(%-%-[^=]+)=(.*)$")
    name = name or arguments[i]
    local option = options[name]
    if not option then fail("unknown option '%s' (--help lists them)", name) end
    if not option.value then
      if text then fail("--%s takes no value, got '%s'", option.name, text) end
      result[key_of(option.name)] = true
    else
      if not text then
        i = i + 1
        text = arguments[i]
      end
      result[key_of(option.name)] = convert(option, text)
    end
    i = i + 1
  end
  return result
end

--- Runs a program: reads the command line, prints the help where it is asked for, and reports errors in one line.
-- @tparam table program as in parse; `main` is called with the values
-- @tparam {string,...} arguments
-- On several ranks (masktune.dist) all run it, with the same results, and rank 0 alone prints and writes files.
-- @treturn integer exit status: 0, 1 where main failed, 2 where the command line is wrong
function cli.run(program, arguments)
  for _, argument in ipairs(arguments) do
    if argument == "--help" then
      io.stdout:write(cli.help(program))
      return 0
    end
  end
  local read, values = pcall(cli.parse, program, arguments)
  if not read then
    cli.say("%s: %s", program.name, values)
    return 2
  end
  dist.mute()
  local done, problem = pcall(program.main, values)
  if not done and dist.world() > 1 then dist.fail(("%s: %s"):format(program.name, problem)) end
  if not done then
    io.stderr:write(("%s: %s\n"):format(program.name, problem))
    return 1
  end
  return 0
end

return cli
