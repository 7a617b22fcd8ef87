--- Progress of long work: a bar on a terminal, now and then a plain line elsewhere (a pipe, a log file).
-- @usage local bar = mt.progress{total = 60000, label = "epoch 3/20", unit = "images"}
-- bar:update(128, {loss = 0.31, accuracy = 0.9}); bar:finish()
-- @module masktune.progress
local check = require "masktune.check"
local core = require "masktune.core"
local dist = require "masktune.dist"

local Progress = {}
Progress.__index = Progress
Progress.__name = "masktune.Progress"

local SECONDS_BETWEEN_REDRAWS = 0.1
local SECONDS_BETWEEN_LINES = 5
local WIDEST_BAR, NARROWEST_BAR = 30, 5

local function duration(seconds)
  local whole = math.floor(seconds + 0.5)
  local hours, minutes = whole // 3600, whole // 60 % 60
  if hours > 0 then return ("%d:%02d:%02d"):format(hours, minutes, whole % 60) end
  return ("%d:%02d"):format(minutes, whole % 60)
end

local function terminal_width()
  local columns = math.tointeger(tonumber(os.getenv("COLUMNS")))
  return columns and columns > 0 and columns or 80
end

local function rate_text(self, elapsed)
  if elapsed <= 0 then return nil end
  local rate = self.done / elapsed
  return (rate < 10 and "%.1f %s/s" or "%.0f %s/s"):format(rate, self.unit)
end

--- What is known so far, as a list of texts, the most important first.
local function facts(self, elapsed, finished)
  local list = { ("%d/%d"):format(self.done, self.total) }
  local metrics = self.metrics
  if metrics.loss then list[#list + 1] = ("loss %.4f"):format(metrics.loss) end
  if metrics.accuracy then list[#list + 1] = ("accuracy %.2f%%"):format(100 * metrics.accuracy) end
  list[#list + 1] = rate_text(self, elapsed)
  if finished then
    list[#list + 1] = duration(elapsed)
  elseif self.done > 0 then
    list[#list + 1] = duration(elapsed / self.done * (self.total - self.done)) .. " left"
  end
  return list
end

local function bar_text(self, width)
  local filled = self.total > 0 and math.floor(width * self.done / self.total) or width
  return "[" .. ("#"):rep(filled) .. ("."):rep(width - filled) .. "]"
end

--- One line without a newline, at most `width` long: the bar takes what the texts leave, and goes first.
local function bar_line(self, elapsed, finished, width)
  local text = table.concat(facts(self, elapsed, finished), "  ")
  local label = self.label ~= "" and self.label .. " " or ""
  local room = math.min(width - #label - #text - 3, WIDEST_BAR)
  local line = label .. (room >= NARROWEST_BAR and bar_text(self, room) .. " " or "") .. text
  return #line > width and line:sub(1, width) or line
end

local function write(self, text)
  self.stream:write(text)
  self.stream:flush()
end

local function draw(self, now, finished)
  local elapsed = now - self.started
  if self.terminal then
    local width = terminal_width() - 1 -- a full last column would wrap on some terminals
    local line = bar_line(self, elapsed, finished, width)
    write(self, "\r" .. line .. (" "):rep(self.drawn - #line) .. (finished and "\n" or ""))
    self.drawn = #line
  else
    local label = self.label ~= "" and self.label .. ": " or ""
    write(self, label .. table.concat(facts(self, elapsed, finished), ", ") .. "\n")
  end
  self.last_drawn = now
end

--- Says how much is done. Cheap: most calls draw nothing.
-- @tparam integer done of `total`, counted from the start of the work
-- @tparam[opt] table metrics `loss`, and `accuracy` as a fraction
function Progress:update(done, metrics)
  self.done = check.argument("progress:update", "done", done, { type = "integer", min = 0, max = self.total })
  if metrics then
    self.metrics = check.options("progress:update", metrics, {
      loss = { type = "any", optional = true },
      accuracy = { type = "any", optional = true },
    })
  end
  local now = self.clock()
  local pause = self.terminal and SECONDS_BETWEEN_REDRAWS or SECONDS_BETWEEN_LINES
  if now - self.last_drawn >= pause then draw(self, now, false) end
end

--- Draws the last state and ends the line. A second call does nothing.
-- @tparam[opt] table metrics as in update
function Progress:finish(metrics)
  if self.finished then return end
  if metrics then self.metrics = metrics end
  self.finished = true
  draw(self, self.clock(), true)
end

local progress = {}

--- Starts the progress of some work.
-- @tparam table options `total` (integer), `label` (""), `unit` of the rate ("items"), `stream` (io.stderr),
-- `terminal` (whether the stream is one; asked of the system for io.stderr, else false),
-- `clock` (a function that gives seconds; mt.clock)
-- @treturn Progress
function progress.new(options)
  local o = check.options("mt.progress", options, {
    total = { type = "integer", min = 0 },
    label = { type = "string", default = "" },
    unit = { type = "string", default = "items" },
    stream = { type = "any", default = io.stderr },
    terminal = { type = "boolean", optional = true },
    clock = { type = "function", default = core.clock },
  })
  if o.terminal == nil then o.terminal = o.stream == io.stderr and core.is_terminal() end
  o.done, o.metrics, o.drawn = 0, {}, 0
  o.started = o.clock()
  o.last_drawn = o.started
  return setmetatable(o, Progress)
end

--- The progress of work that the ranks of masktune.dist do a part each of: rank 0's, which is taken to be that of all.
-- @param wanted whether there is to be one
-- @tparam table options as of progress.new; `total` is that of all ranks
-- @treturn ?table with `update` (which is told what this rank has done) and `finish`; nil on the other ranks
function progress.of_ranks(wanted, options)
  if not wanted or dist.rank() > 0 then return nil end
  local bar, world = progress.new(options), dist.world()
  if world == 1 then return bar end
  return {
    update = function(_, done, metrics) bar:update(math.min(done * world, options.total), metrics) end,
    finish = function() bar:finish() end,
  }
end

return setmetatable(progress, { __call = function(_, options) return progress.new(options) end })
