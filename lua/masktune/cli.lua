--- Command lines of programs: options described once give the parser, the checks and the help.
-- @module masktune.cli
local core = require "masktune.core"
local dist = require "masktune.dist"
local interrupt = require "masktune.interrupt"
local registry = require "masktune.registry"
local suggestion = require("masktune.words").suggestion
local watch = require "masktune.watch"

local cli = {}

local Usage = {}
Usage.__index = Usage
Usage.__tostring = function(self) return self.message end

local function fail(...) error(setmetatable({ message = (...):format(select(2, ...)) }, Usage), 0) end

--- Tells the user something on standard error, in a line.
-- @string format as in string.format
-- @param ...
function cli.say(format, ...)
  local line = format:format(...)
  if dist.rank() == 0 then io.stderr:write(line, "\n") end
  watch.tell("note", line)
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

--- The weights a net starts from: "published" (true), "none" (false), or the path of a file.
function cli.kinds.weights(text)
  if text == "published" then return true end
  if text == "none" then return false end
  return text
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

--- How much is masked: "2" (mean + 2 standard deviations), "mean", "soft", "top:16"; a table `rule`, `k`, `top`.
function cli.kinds.threshold(text)
  local k = tonumber(text)
  if k and k >= 0 and k < math.huge then return { rule = "sigma", k = k } end
  if text == "mean" then return { rule = "global_mean" } end
  if text == "soft" then return { rule = "soft" } end
  local count = math.tointeger(tonumber(text:match("^top:(%d+)$")))
  if count and count > 0 then return { rule = "topk", top = count } end
  return nil, "number of standard deviations >= 0, mean, soft or top:COUNT"
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

--- Where to listen: an address and a port, as masktune.live reads them.
function cli.kinds.address(text)
  local host, expected = require("masktune.live").address(text)
  if host then return text end
  return nil, expected
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
    default = "paper", default_text = "paper", help = "how heatmaps become masks: paper or reference" },
  threshold = { name = "threshold", value = "RULE", kind = cli.kinds.threshold, default = { rule = "sigma", k = 2 },
    default_text = "2",
    help = "mask where heat is this many standard deviations above its mean; or mean, soft, top:COUNT" },
  threads = { name = "threads", value = "N", kind = cli.kinds.integer(1), help = "threads",
    default_text = "all cores" },
  overwrite = { name = "overwrite", help = "remove what an earlier run left in --out, and start anew" },
  resume = { name = "resume", help = "go on with the run in --out; the end is the same to the bit" },
  help = { name = "help", help = "this text" },
  serve = { name = "serve", value = "ADDRESS:PORT", kind = cli.kinds.address,
    help = "show a browser what goes on meanwhile, such as 127.0.0.1:8080; a port alone is one of this machine only" },
  export = { name = "export", value = "DIR", kind = cli.kinds.text,
    help = "write the training images as MaskTune masked them: DIR/seed-N/*.png" },
}

local function key_of(name) return (name:gsub("%-", "_")) end

local function left_side(option) return "--" .. option.name .. (option.value and " " .. option.value or "") end

--- What of the command line is no option, as the usage line has it.
local function arguments_text(program)
  local argument = program.argument
  if not argument then return "" end
  local text = argument.name .. (argument.many and "..." or "")
  return " " .. (argument.optional and "[" .. text .. "]" or text)
end

--- Help: a usage line, one aligned line per option, and the example where there is one.
-- @tparam table program `name`, `about`, `options`, and `argument`, `example` where it has them
-- @treturn string
function cli.help(program)
  local lines, widest, argument = {}, 0, program.argument
  local rows = argument and { { argument.name, argument } } or {}
  for _, option in ipairs(program.options) do
    rows[#rows + 1] = { left_side(option), option }
  end
  for _, row in ipairs(rows) do
    widest = math.max(widest, #row[1])
  end
  lines[1] = ("usage: %s%s [options]"):format(program.name, arguments_text(program))
  lines[2] = program.about .. "\n"
  for _, row in ipairs(rows) do
    local default = row[2].default_text and (" (default %s)"):format(row[2].default_text) or ""
    lines[#lines + 1] = ("  %-" .. widest .. "s  %s%s"):format(row[1], row[2].help, default)
  end
  if program.example then lines[#lines + 1] = "\nexample:\n  " .. program.example:gsub("\n", "\n  ") end
  return table.concat(lines, "\n") .. "\n"
end

local function by_name(program)
  local options = {}
  for _, option in ipairs(program.options) do
    options["--" .. option.name] = option
  end
  return options
end

local function convert(name, option, text)
  if not text then fail("%s: %s expected, got nothing", name, option.value) end
  local value, expected = option.kind(text)
  if value == nil then fail("%s: %s expected, got '%s'", name, expected, text) end
  return value
end

local function refuse_unknown(options, name)
  local names = {}
  for known in pairs(options) do
    names[#names + 1] = known
  end
  fail("unknown option '%s'%s (--help lists them)", name, suggestion(name, names))
end

--- Takes what is no option.
local function take_argument(program, result, text)
  local argument = program.argument
  if not argument then fail("unknown option '%s' (--help lists them)", text) end
  local key, value = argument.key, convert(argument.name, argument, text)
  if argument.many then
    table.insert(result[key], value)
  elseif result[key] ~= nil then
    fail("one %s expected, got '%s' as well", argument.name, text)
  else
    result[key] = value
  end
end

local function defaults(program)
  local result = {}
  for _, option in ipairs(program.options) do
    result[key_of(option.name)] = option.default
    if not option.value then result[key_of(option.name)] = false end
  end
  if program.argument and program.argument.many then result[program.argument.key] = {} end
  return result
end

--- Reads a command line; raises on anything unknown or wrong.
-- An option is `name`, `help`, and for those with a value `value` (its name in the help), `kind` (text -> value, or nil
-- and what was expected) and `default`; without `value` it is a switch. `default_text` is what the help says of the
-- default. Behind "--" nothing is an option.
-- @tparam table program `name`, `about` and `options`; `argument`, where something beside options is taken: `name`,
-- `key` (its place in the result), `kind`, `help`, `many` (a list of them), `optional`
-- @tparam {string,...} arguments "--name value", "--name=value" or "--switch"
-- @treturn table name (with _ for -) -> value
function cli.parse(program, arguments)
  local options, result, i, only = by_name(program), defaults(program), 1, false
  while i <= #arguments do
    local name, text = arguments[i]:match("^(%-%-[^=]+)=(.*)$")
    name = name or arguments[i]
    local option = options[name]
    if arguments[i] == "--" and not only then
      only = true
    elseif only or not name:find("^%-") then
      take_argument(program, result, arguments[i])
    elseif not option then
      refuse_unknown(options, name)
    elseif not option.value then
      if text then fail("--%s takes no value, got '%s'", option.name, text) end
      result[key_of(option.name)] = true
    else
      if not text then
        i = i + 1
        text = arguments[i]
      end
      result[key_of(option.name)] = convert("--" .. option.name, option, text)
    end
    i = i + 1
  end
  local argument = program.argument
  local given = argument and result[argument.key]
  if argument and not argument.optional and (given == nil or argument.many and #given == 0) then
    fail("%s expected (--help says what it is)", argument.name .. (argument.many and "..." or ""))
  end
  return result
end

-- ---- folders ----

local LOCK = ".masktune.lock"
cli.locks = {} -- held until the process ends

--- Takes the folder for this process alone.
local function lock(folder)
  local path = folder .. "/" .. LOCK
  local held = core.lock_file(path)
  if not held then error(("--out: another process is at work in '%s'"):format(folder), 0) end
  cli.locks[path] = held
end

--- The names in a folder, but for the lock and what file systems make.
local function names_in(folder)
  local names = {}
  for _, name in ipairs(core.list_directory(folder)) do
    if name ~= LOCK and name ~= "lost+found" then names[#names + 1] = name end
  end
  return names
end

local function take_folder(folder, o, clear)
  if o.resume and o.overwrite then error("--resume goes on with a run, --overwrite removes it: one of them", 0) end
  local kind = core.path_kind(folder)
  if kind and kind ~= "folder" then error(("--out: '%s' is no folder"):format(folder), 0) end
  core.make_directory(folder)
  lock(folder)
  local names = names_in(folder)
  if #names == 0 or o.resume then return end
  if not o.overwrite then
    error(("--out: '%s' is not empty ('%s'%s): --resume goes on with the run in it, --overwrite starts anew, another "
      .. "--out leaves it as it is"):format(folder, names[1], #names > 1 and ", ..." or ""), 0)
  end
  clear()
end

--- Makes the folder of a run and locks it against a second process (of several ranks, rank 0 does). What is there
-- already stays: a run goes on with it (`resume`), or takes its place (`overwrite`), or is refused.
-- @string folder
-- @tparam table o `resume`, `overwrite`
-- @tparam function clear removes what an earlier run left there; called where `overwrite` says so
function cli.open_out(folder, o, clear) dist.on_first(take_folder, folder, o, clear) end

--- Where the run of a seed keeps what it has.
-- @tparam table o `out`
-- @tparam integer seed
-- @treturn string
function cli.seed_folder(o, seed) return ("%s/seed-%d"):format(o.out, seed) end

--- Removes the files of a folder whose names match a pattern.
-- @string folder
-- @string pattern
function cli.remove_files(folder, pattern)
  for _, name in ipairs(core.list_directory(folder)) do
    if name:find(pattern) then core.remove_file(folder .. "/" .. name) end
  end
end

--- Makes the folder of a program's runs, and in it one for each seed, as cli.open_out does. What takes the place of an
-- earlier run is mixed with none of it: the results, and of every seed the stages and the final models are gone then.
-- @tparam table o `out`, `seeds`, `resume`, `overwrite`
-- @tparam {string,...} results names of the files that the program writes into o.out
-- @tparam function clear (folder): removes what an earlier run of a seed left there beside the final models
function cli.open_seeds(o, results, clear)
  cli.open_out(o.out, o, function()
    for _, name in ipairs(results) do
      core.remove_file(o.out .. "/" .. name)
    end
    for _, name in ipairs(core.list_directory(o.out)) do
      if name:find "^seed%-%d+$" then
        clear(o.out .. "/" .. name)
        cli.remove_files(o.out .. "/" .. name, "^final%-.+%.safetensors$")
      end
    end
  end)
  for _, seed in ipairs(o.seeds) do
    core.make_directory(cli.seed_folder(o, seed))
  end
end

-- ---- running ----

--- Whether a program has an option.
local function has(program, name)
  for _, option in ipairs(program.options) do
    if option.name == name then return true end
  end
  return false
end

--- A message without the line of the script that it begins with: the user of a program did not write that.
local function without_place(problem)
  local text, script = tostring(problem), arg and arg[0] .. ":" or ":"
  return text:sub(1, #script) == script and text:sub(#script + 1):match("^%d+: (.*)$") or text
end

--- Says what went wrong; the exit status.
local function failed(program, problem)
  io.stderr:write(("%s: %s\n"):format(program.name, without_place(problem)))
  if not interrupt.is(problem) then return 1 end
  if has(program, "resume") then
    io.stderr:write("What was finished is saved: the same command with --resume goes on from there.\n")
  end
  return problem.status
end

--- Calls a program's main, with a page for browsers (masktune.live) where the command line wants one.
local function work(program, values, arguments)
  if not values.serve then return program.main(values) end
  local title = program.name .. " " .. table.concat(arguments, " ")
  local opened, page = pcall(require "masktune.live", values.serve, title)
  if not opened then error("--serve: " .. (tostring(page):match "serve: (.*)$" or tostring(page)), 0) end
  local ended <close> = page
  cli.say("Live page: %s", ended.url)
  program.main(values)
end

--- Runs a program: reads the command line, prints the help where it is asked for, and reports errors in one line.
-- Ctrl-C and SIGTERM end it between two batches, with everything that is finished saved; a second one ends it at once.
-- @tparam table program as in parse; `main` is called with the values
-- @tparam {string,...} arguments
-- On several ranks (masktune.dist) all run it, with the same results, and rank 0 alone prints and writes files.
-- @treturn integer exit status: 0, 1 where main failed, 2 where the command line is wrong, 128 + the signal's number
-- where one ended it
function cli.run(program, arguments)
  for _, argument in ipairs(arguments) do
    if argument == "--" then break end
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
  core.catch_signals()
  local done, problem = pcall(work, program, values, arguments)
  if not done and dist.world() > 1 then dist.fail(("%s: %s"):format(program.name, problem)) end
  return done and 0 or failed(program, problem)
end

return cli
