--- Parts that are found by name: methods, CAMs, losses, data sets, nets. Each is a file in a folder of its own, and
-- nothing else: `masktune/cam/mine.lua` anywhere on package.path makes `mt.cam.mine`. A file returns its entry, or
-- several as `{entries = {name = entry, ...}, summary = text or {name = text, ...}}`. Files are loaded when first asked
-- for; listing one (`pairs`, `print`) looks through the folders of package.path.
-- In a session, assigning does the same without a file: `mt.cam.mine = {...}`.
-- @module masktune.registry
local check = require "masktune.check"
local core = require "masktune.core"
local words = require "masktune.words"

--- The file names, without ".lua", in the folder `place` of every folder that package.path names.
local function files_of(place)
  local names = {}
  for template in package.path:gmatch("[^;]+") do
    local before, after = template:match("^(.*)%?([^?/]*)$")
    local folder = before and before .. place:gsub("%.", "/")
    local listed, found = pcall(core.list_directory, folder or "")
    for _, file in ipairs(listed and found or {}) do
      local name = file:sub(-#after) == after and file:sub(1, -#after - 1)
      if name and name:find("^[%a_][%w_]*$") and name ~= "init" then names[name] = true end
    end
  end
  return names
end

--- What a file's value defines: name -> entry, and name -> summary where the file tells them apart from the entries.
local function contents(value, file)
  if type(value) ~= "table" or type(value.entries) ~= "table" then return { [file] = value }, {} end
  local summaries = value.summary or {}
  if type(summaries) == "string" then
    local one = summaries
    summaries = setmetatable({}, { __index = function() return one end })
  end
  return value.entries, summaries
end

--- What a file defines, name -> entry; each file is loaded once.
local function load_file(state, file)
  local module = state.place .. "." .. file
  if state.files[file] then return state.files[file] end
  local found = {}
  local entries, summaries = contents(require(module), file)
  for name, value in pairs(entries) do
    found[name] = state.accept(value, name, module)
    if state.entries[name] == nil then
      state.entries[name], state.summaries[name], state.modules[name] = found[name], summaries[name], module
    end
  end
  state.files[file] = found
  return found
end

--- The names a registry knows, sorted.
local function names_of(state)
  local names = {}
  for file in pairs(files_of(state.place)) do
    load_file(state, file)
  end
  for name in pairs(state.entries) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- The entry called `name`: from the file of that name, else from whichever file defines it.
local function find(state, name)
  if state.entries[name] ~= nil or type(name) ~= "string" then return state.entries[name] end
  if name:find("^[%a_][%w_]*$") and package.searchpath(state.place .. "." .. name, package.path) then
    load_file(state, name)
  end
  if state.entries[name] == nil then names_of(state) end
  return state.entries[name]
end

--- What an entry is, in a line.
local function summary_of(state, name)
  return state.summaries[name] or state.describe(find(state, name)) or ""
end

--- An aligned list of names and what they are.
local function text_of(state)
  local lines, widest, names = {}, 0, names_of(state)
  for _, name in ipairs(names) do
    widest = math.max(widest, #name)
  end
  for i, name in ipairs(names) do
    local line = ("%-" .. widest .. "s  %s"):format(name, summary_of(state, name))
    lines[i] = line:gsub("%s+$", "")
  end
  return table.concat(lines, "\n")
end

local registry = {}

--- Makes a registry: a table whose fields are its entries, whose `pairs` gives them sorted by name, and that prints as
-- the list of them.
-- @string place the folder, as the beginning of module names ("masktune.cam")
-- @tparam table options `kind` ("CAM", for messages); `accept` (function (value, name, module) -> entry, raising where
-- it is none; default: the value); `describe` (function (entry) -> a line; default: its field `summary`)
-- @treturn table
function registry.new(place, options)
  local o = check.options("masktune.registry", options, {
    kind = { type = "string" },
    accept = { type = "function", default = function(value) return value end },
    describe = { type = "function", default = function(entry)
      return type(entry) == "table" and entry.summary or nil
    end },
  })
  local state = {
    place = place, entries = {}, summaries = {}, modules = {}, files = {}, accept = o.accept, describe = o.describe,
  }
  local meta = { __name = "masktune.Registry", kind = o.kind } -- `summary` and `module` of an entry: for masktune.help
  function meta.summary(name) return summary_of(state, name) end
  function meta.module(name) return find(state, name) ~= nil and state.modules[name] or nil end
  function meta.__index(_, name) return find(state, name) end
  function meta.__newindex(_, name, value)
    check.argument(o.kind .. " registry", "name", name, { type = "string" })
    state.entries[name] = value ~= nil and o.accept(value, name) or nil
  end
  function meta.__pairs()
    local names, i = names_of(state), 0
    return function()
      i = i + 1
      if names[i] then return names[i], find(state, names[i]) end
    end
  end
  function meta.__tostring() return text_of(state) end
  return setmetatable({}, meta)
end

--- The names in a registry, sorted.
-- @treturn {string,...}
function registry.names(entries)
  check.argument("mt.registry.names", "entries", entries, { type = "table" })
  local list = {}
  for name in pairs(entries) do
    list[#list + 1] = name
  end
  return list
end

--- The entry called `name`, or an error that lists the names there are.
-- @tparam table entries a registry
-- @param name
-- @string where the public function, for the message
-- @string what "option 'cam'"
function registry.get(entries, name, where, what)
  local meta = getmetatable(entries)
  if type(entries) ~= "table" or type(meta) ~= "table" or not meta.kind then
    check.fail("mt.registry.get: argument 'entries': registry expected, got %s", check.describe(entries))
  end
  local entry = type(name) == "string" and entries[name] or nil
  if entry ~= nil then return entry end
  local names = registry.names(entries)
  check.fail("%s: %s: %s expected (one of %s), got %s%s", where, what, meta.kind, table.concat(names, ", "),
    check.describe(name), words.suggestion(name, names))
end

return registry
