--- A page that shows a browser what is going on: what is being done, how long it will take, learning curves, notes.
-- It is served by a thread of the core, which knows nothing but the last page it was given: nobody who looks on, or
-- tries worse, can slow or change the work.
-- @usage page = mt.live("127.0.0.1:8080")   -- and look at http://127.0.0.1:8080/ while mt.train works
-- @module masktune.live
local chart = require "masktune.html.chart"
local check = require "masktune.check"
local core = require "masktune.core"
local dist = require "masktune.dist"
local duration = require "masktune.duration"
local html = require "masktune.html"
local notice = require "masktune.notice"
local refresh = require "masktune.html.refresh"
local watch = require "masktune.watch"

local SECONDS_BETWEEN_PAGES = 1
local LOOPBACK = "127.0.0.1"
local NOTES, TRAININGS = 30, 6 -- the last ones, on the page

local live = {}

-- ---- the page ----

--- How far a piece of work is.
local function work_part(bar)
  return ('<p><strong>%s</strong></p><progress max="%d" value="%d" aria-label="%s"></progress>'):format(
    html.escape(bar.label ~= "" and bar.label or "at work"), math.max(1, bar.total), bar.done, html.escape(bar.label))
    .. html.paragraph(table.concat(bar:facts(), ", "))
end

--- What the last epochs say about how long a training still takes.
local function training_part(training)
  local history = training.history
  local last, seconds = history[#history], 0
  for _, row in ipairs(history) do
    seconds = seconds + row.seconds
  end
  local left = seconds / #history * (training.epochs - last.epoch)
  local text = ("%s: %d of at most %d epochs%s"):format(training.label, last.epoch, training.epochs, left > 0
    and (", at most %s left"):format(duration(left)) or "")
  return ("<h3>%s</h3>"):format(html.escape(text)) .. chart.history(history)
end

local function trainings_part(trainings)
  local parts = {}
  for i = #trainings, math.max(1, #trainings - TRAININGS + 1), -1 do
    parts[#parts + 1] = trainings[i].html
  end
  return table.concat(parts)
end

--- The last notes, the last one first.
local function notes_part(notes)
  local list = {}
  for i = #notes, math.max(1, #notes - NOTES + 1), -1 do
    list[#list + 1] = notes[i]
  end
  return html.list(list)
end

local function page_of(self)
  local bar = self.bar
  return html.page {
    title = self.title, summary = "", script = refresh,
    sections = {
      { id = "now", title = "Now", body = (bar and work_part(bar) or html.paragraph "Beginning.") },
      { id = "training", title = "Training", body = trainings_part(self.trainings) },
      { id = "said", title = "Said", body = notes_part(self.notes) },
    },
  }
end

-- ---- what is heard ----

local hear = {}

function hear.progress(self, bar) self.bar = bar end

--- A training is known by its history. Its charts are drawn once an epoch, not once a page.
function hear.epoch(self, what)
  local trainings = self.trainings
  local before = trainings[#trainings]
  local goes_on = before and before.history == what.history
  trainings[goes_on and #trainings or #trainings + 1] = { history = what.history, html = training_part(what) }
  self.due = 0
end

function hear.note(self, line)
  self.notes[#self.notes + 1] = line
  self.due = 0
end

local function publish(self)
  self.due = core.clock() + SECONDS_BETWEEN_PAGES
  self.server:publish(page_of(self))
end

local function listen(self, kind, what)
  hear[kind](self, what)
  if core.clock() >= self.due then publish(self) end
end

--- Hears something. What goes wrong here must not stop the work that it is about.
local function listen_safely(...)
  local heard, problem = pcall(listen, ...)
  if not heard then notice.say("the live page could not be made: %s", problem) end
end

-- ---- beginning and end ----

local Live = {}
Live.__index = Live
Live.__name = "masktune.Live"

--- Ends it.
function Live:close()
  if self.server then
    watch.by(self.before)
    self.server:close()
    self.server = nil
  end
end

Live.__close = Live.close

function Live:__tostring() return self.server and ("live page: %s"):format(self.url) or "live page: closed" end

--- Reads an address.
-- @string text "8080", "127.0.0.1:8080", "localhost:8080", "[::1]:8080"; port 0: any free one
-- @treturn ?string host; nil for what is none
-- @treturn integer|string port; or what was expected
function live.address(text)
  local host, digits = text:match "^%[([%x:.]+)%]:(%d+)$"
  if not host then host, digits = text:match "^([^:%[%]]*):(%d+)$" end
  if not host then host, digits = LOOPBACK, text:match "^%d+$" end
  local port = digits and #digits <= 5 and math.tointeger(tonumber(digits))
  if not port or port > 65535 then return nil, "ADDRESS:PORT such as 127.0.0.1:8080 or [::1]:8080" end
  if host == "" or host == "localhost" then host = LOOPBACK end
  return host, port
end

--- Serves a page about all work of this process from now on, read-only. On several ranks (masktune.dist), the first
-- does.
-- @function live
-- @string address "ADDRESS:PORT" or "PORT" alone, which is that of 127.0.0.1: only this machine can look then
-- @string[opt="masktune"] title
-- @treturn Live `url`, and `close()`
-- @raise where the address is none of this machine, or its port is in use
function live.start(address, title)
  check.argument("mt.live", "address", address, { type = "string" })
  title = check.argument("mt.live", "title", title, { type = "string", default = "masktune" })
  local host, port = live.address(address)
  if not host then check.fail("mt.live: argument 'address': %s expected, got %s", port, check.describe(address)) end
  local self = setmetatable({ title = title, trainings = {}, notes = {} }, Live)
  if dist.rank() > 0 then return self end
  self.server = core.live.serve(host, port)
  self.url = ("http://%s/"):format(self.server:address())
  publish(self)
  self.before = watch.by(function(kind, what) listen_safely(self, kind, what) end)
  return self
end

return setmetatable(live, { __call = function(_, ...) return live.start(...) end })
