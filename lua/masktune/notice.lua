--- What a user should know though nothing failed: what was left out, guessed, or looks wrong. One line each on standard
-- error, and each text once in a process; of several ranks (masktune.dist), who all have the same to say, rank 0 does.
-- @usage mt.notice.to(function(line) log[#log + 1] = line end)   -- elsewhere than on standard error
-- @module masktune.notice
local check = require "masktune.check"
local dist = require "masktune.dist"
local watch = require "masktune.watch"

local notice = {}

local said = {}
local function standard_error(line)
  if dist.rank() == 0 then io.stderr:write("masktune: ", line, "\n") end
end
local receiver = standard_error

--- Says something.
-- @string format as in string.format
-- @param ...
function notice.say(format, ...)
  local line = check.argument("mt.notice.say", "format", format, { type = "string" }):format(...)
  if said[line] then return end
  said[line] = true
  receiver(line)
  watch.tell("note", line)
end

--- Sends notices to a function of one line instead of standard error; texts said before are said again.
-- @tparam ?function f nil: standard error
-- @treturn function where they went before
function notice.to(f)
  check.argument("mt.notice.to", "f", f, { type = "function", optional = true })
  local before = receiver
  receiver, said = f or standard_error, {}
  return before
end

return notice
