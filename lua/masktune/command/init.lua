--- The command `masktune`: from a folder of photos to an answer, without a line of Lua.
-- One subcommand a file of this folder, found by name (masktune.registry): `masktune/command/NAME.lua` anywhere on
-- package.path makes `masktune NAME`. A file returns
--
-- * `summary`: a line; `about`: what the help says beyond it
-- * `options`, `argument`, `example`: as masktune.cli has them
-- * `run`: function (values) -> result, text: what --json prints, and what is printed without it (nil: nothing)
--
-- Answers go to standard output, everything else (progress, notices, errors) to standard error. Exit status: 0; 1 where
-- the work failed; 2 where the command line is wrong; 128 + the signal's number where one ended it.
-- @module masktune.command
local check = require "masktune.check"
local cli = require "masktune.cli"
local core = require "masktune.core"
local json = require "masktune.json"
local registry = require "masktune.registry"
local suggestion = require("masktune.words").suggestion

local schema = {
  summary = { type = "string" },
  about = { type = "string", default = "" },
  options = { type = "table", default = {} },
  argument = { type = "table", optional = true },
  example = { type = "string" },
  run = { type = "function" },
}

local commands = registry.new("masktune.command", {
  kind = "command",
  accept = function(value, name, module) return check.options(module or "command " .. name, value, schema) end,
  describe = function(entry) return entry.summary end,
})

local command = {
  --- The registry of subcommands.
  entries = commands,
}

local common = {
  { name = "json", help = "print the result as JSON" },
  cli.options.threads,
  cli.options.help,
}

--- A subcommand as masktune.cli runs it.
-- @string name
-- @treturn table
function command.program(name)
  local entry = registry.get(commands, name, "masktune", "command")
  local options = table.move(entry.options, 1, #entry.options, 1, {})
  table.move(common, 1, #common, #options + 1, options)
  return {
    name = "masktune " .. name,
    about = entry.summary .. (entry.about ~= "" and "\n" .. entry.about or ""),
    options = options, argument = entry.argument, example = entry.example,
    main = function(values)
      if values.threads then core.set_num_threads(values.threads) end
      local result, text = entry.run(values)
      if values.json then text = json.encode(result or {}, 2) end
      if text then io.stdout:write(text, text:find("\n$") and "" or "\n") end
    end,
  }
end

local function help()
  return ("usage: masktune COMMAND [options]\n%s\n\n%s\n\n%s\n"):format(
    "Does an image classifier lean on a shortcut? Finds out, and makes it stop.", tostring(commands),
    "masktune COMMAND --help says what a command takes. First of all:\n  masktune run --data FOLDER")
end

--- Runs a command line.
-- @tparam {string,...} arguments
-- @treturn integer exit status
function command.run(arguments)
  local name = arguments[1]
  if name == "--version" then
    io.stdout:write(require("masktune")._VERSION, "\n")
    return 0
  end
  if name == nil or name == "--help" or name == "help" then
    (name and io.stdout or io.stderr):write(help())
    return name and 0 or 2
  end
  if commands[name] == nil then
    io.stderr:write(("masktune: no command '%s'%s (masktune --help lists them)\n"):format(name,
      suggestion(name, registry.names(commands))))
    return 2
  end
  return cli.run(command.program(name), table.move(arguments, 2, #arguments, 1, {}))
end

--- Name -> program, of all subcommands: for completion.
function command.programs()
  local programs = {}
  for _, name in ipairs(registry.names(commands)) do
    programs[name] = command.program(name)
  end
  return programs
end

return command
