--- Work that a user stops: programs that ask for it (masktune.cli) are told of Ctrl-C and SIGTERM between two batches,
-- as an error that says where the work stood; files and checkpoints are whole then.
-- @module masktune.interrupt
local core = require "masktune.core"

local interrupt = {}

local Interrupted = { __name = "masktune.Interrupted" }

function Interrupted:__tostring() return ("stopped by %s in %s"):format(self.cause, self.place) end

local causes = { SIGINT = "Ctrl-C", SIGTERM = "SIGTERM" }

--- Raises where a signal came since mt.catch_signals was called.
-- @string place where the work stands, for the message, as in string.format
-- @param ...
function interrupt.check(place, ...)
  local name, number = core.caught_signal()
  if not name then return end
  error(setmetatable({ cause = causes[name], place = place:format(...), status = 128 + number }, Interrupted), 0)
end

--- Whether an error is one of these: a table with `status`, the exit status a shell expects.
-- @treturn boolean
function interrupt.is(problem) return getmetatable(problem) == Interrupted end

return interrupt
