--- Progress of long work: a bar on a terminal, now and then a plain line elsewhere (a pipe, a log file).
-- @usage local bar = mt.progress{total = 60000, label = "epoch 3/20", unit = "images"}
-- bar:update(128, {loss = 0.31, accuracy = 0.9}); bar:finish()
-- @module masktune.progress
local check = require "masktune.check"
local core = require "masktune.core"
local dist = require "masktune.dist"
local duration = require "masktune.duration"
local watch = require "masktune.watch"

local Progress = {}
Progress.__index = Progress
Progress.__name = "masktune.Progress"

local SECONDS_BETWEEN_REDRAWS = 0.1
local SECONDS_BETWEEN_LINES = 5
local WIDEST_BAR, NARROWEST_BAR = 30, 5

--- The terminal's width as it is now; where it does not say, what COLUMNS says.
local function terminal_width()
  local columns = core.terminal_width() or math.tointeger(tonumber(os.getenv("COLUMNS")))
  return columns and columns > 0 and columns or 80
end

--- Images a second, over the time until the last of them was done.
local function rate_text(self)
  local elapsed = self.updated - self.started
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
  if metrics.validation then list[#list + 1] = ("validation %.2f%%"):format(100 * metrics.validation) end
  list[#list + 1] = rate_text(self)
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

--- As many of the texts as fit, and what is left of the width.
local function fitting(texts, width)
  local line = ""
  for i, text in ipairs(texts) do
    local longer = i == 1 and text or line .. "  " .. text
    if #longer > width then return line, width - #line end
    line = longer
  end
  return line, width - #line
end

--- One line without a newline, at most `width` long: the bar takes what the texts leave, and goes first; then whole
-- texts go, the last ones first, and words of the label. No number is ever cut.
local function bar_line(self, elapsed, finished, width)
  local texts = facts(self, elapsed, finished)
  local label = self.label ~= "" and self.label .. " " or ""
  if #label + #texts[1] > width then label = label:match("^%S+ ") end
  if #label + #texts[1] > width then label = "" end
  local text, left = fitting(texts, width - #label)
  local room = math.min(left - 3, WIDEST_BAR)
  return label .. (room >= NARROWEST_BAR and bar_text(self, room) .. " " or "") .. text
end

local function write(self, text)
  self.stream:write(text)
  self.stream:flush()
end

local function draw(self, now, finished)
  local elapsed = now - self.started
  if self.terminal then
    local width = self.width() - 1 -- a full last column would wrap on some terminals
    local line = bar_line(self, elapsed, finished, width)
    local cover = math.min(self.drawn, width) - #line -- the terminal may be narrower than it was
    write(self, "\r" .. line .. (" "):rep(cover) .. (finished and "\n" or ""))
    self.drawn = #line
  else
    local label = self.label ~= "" and self.label .. ": " or ""
    write(self, label .. table.concat(facts(self, elapsed, finished), ", ") .. "\n")
  end
  self.last_drawn = now
end

--- Says how much is done. Cheap: most calls draw nothing.
-- @tparam integer done of `total`, counted from the start of the work
-- @tparam[opt] table metrics `loss`; `accuracy` and `validation` (accuracy) as fractions
function Progress:update(done, metrics)
  self.done = check.argument("progress:update", "done", done, { type = "integer", min = 0, max = self.total })
  if metrics then
    self.metrics = check.options("progress:update", metrics, {
      loss = { type = "any", optional = true },
      accuracy = { type = "any", optional = true },
      validation = { type = "any", optional = true },
    })
  end
  local now = self.clock()
  self.updated = now
  watch.tell("progress", self)
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
  watch.tell("progress", self)
end

--- What is known so far, as the bar shows it.
-- @treturn {string,...} "500/1000", "loss 0.2500", ...
function Progress:facts() return facts(self, self.clock() - self.started, self.finished) end

local progress = {}

--- Starts the progress of some work.
-- @tparam table options `total` (integer), `label` (""), `unit` of the rate ("items"), `stream` (io.stderr),
-- `terminal` (whether the stream is one; asked of the system for io.stderr, else false),
-- `clock` (a function that gives seconds; mt.clock), `width` (a function that gives the terminal's columns)
-- @treturn Progress
-- @function progress
function progress.new(options)
  local o = check.options("mt.progress", options, {
    total = { type = "integer", min = 0 },
    label = { type = "string", default = "" },
    unit = { type = "string", default = "items" },
    stream = { type = "any", default = io.stderr },
    terminal = { type = "boolean", optional = true },
    clock = { type = "function", default = core.clock },
    width = { type = "function", default = terminal_width },
  })
  if o.terminal == nil then o.terminal = o.stream == io.stderr and core.is_terminal() end
  o.done, o.metrics, o.drawn = 0, {}, 0
  o.started = o.clock()
  o.last_drawn, o.updated = o.started, o.started
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

--- Says something about the work on standard error, in a line; of several ranks, the first does.
-- @string format as in string.format
-- @param ...
function progress.note(format, ...)
  check.argument("mt.progress.note", "format", format, { type = "string" })
  local line = format:format(...)
  if dist.rank() == 0 then io.stderr:write(line, "\n") end
  watch.tell("note", line)
end

return setmetatable(progress, { __call = function(_, options) return progress.new(options) end })
