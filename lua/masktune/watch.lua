--- Who looks on while work goes on: progress bars, trainings and notes tell here what they have to tell, and one
-- watcher (masktune.live) hears it. Without one, telling costs a comparison.
-- @module masktune.watch
local watch = {}

local watcher

--- Sets the watcher.
-- @tparam ?function f (kind, what): "progress" with the bar (masktune.progress); "epoch" with {label =, epochs =,
-- history =} after an epoch of a training; "note" with a line of text
-- @treturn ?function the one before
function watch.by(f)
  local before = watcher
  watcher = f
  return before
end

--- Tells the watcher, where there is one.
-- @string kind
-- @param what
function watch.tell(kind, what)
  if watcher then watcher(kind, what) end
end

return watch
