--- Parts that are found by name: methods, CAMs, losses, data sets, nets. Each is a file in a folder of its own, and
-- nothing else: `masktune/cam/mine.lua` anywhere on package.path makes `mt.cam.mine`. Files are loaded when first asked
-- for; listing one (`pairs`, `print`) looks through the folders of package.path.
-- In a session, assigning does the same without a file: `mt.cam.mine = {...}`.
-- @module masktune.registry
local check = require "masktune.check"
local core = require "masktune.core"

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

local function sorted(names)
  local list = {}
  for name in pairs(names) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

--- The names a registry knows, sorted.
local function names_of(state)
  local names = {}
  for name in pairs(state.entries) do
    names[name] = true
  end
  for file in pairs(files_of(state.place)) do
    for name in pairs(state.load(file)) do
      names[name] = true
    end
  end
  return sorted(names)
end

--- What a file defines, name -> entry; each file is loaded once.
local function loader(state, read)
  return function(file)
    local module = state.place .. "." .. file
    if not state.files[file] then
      local found = {}
      for name, value in pairs(read(require(module), file)) do
        found[name] = state.accept(value, name, module)
        if state.entries[name] == nil then state.entries[name] = found[name] end
      end
      state.files[file] = found
    end
    return state.files[file]
  end
end

local function by_own_name(value, file) return { [file] = value } end

--- The entry called `name`: from the file of that name, else from whichever file defines it.
local function find(state, name)
  if state.entries[name] ~= nil or type(name) ~= "string" then return state.entries[name] end
  local could_be_file = name:find("^[%a_][%w_]*$")
  if could_be_file and package.searchpath(state.place .. "." .. name, package.path) then state.load(name) end
  if state.entries[name] == nil and state.several then names_of(state) end
  return state.entries[name]
end

--- An aligned list of names and what they are.
local function text_of(state)
  local lines, widest, names = {}, 0, names_of(state)
  for _, name in ipairs(names) do
    widest = math.max(widest, #name)
  end
  for i, name in ipairs(names) do
    local line = ("%-" .. widest .. "s  %s"):format(name, state.describe(find(state, name), name))
    lines[i] = line:gsub("%s+$", "")
  end
  return table.concat(lines, "\n")
end

local registry = {}

--- Makes a registry: a table whose fields are its entries, whose `pairs` gives them sorted by name, and that prints as
-- the list of them.
-- @string place the folder, as the beginning of module names ("masktune.cam")
-- @tparam table options `kind` ("CAM", for messages); `accept` (function (value, name, module) -> entry, raising where
-- it is none; default: the value); `describe` (function (entry) -> a line; default: its field `summary`); `read`
-- (function (what a file returns, its name) -> table name -> value: for files that define several entries)
-- @treturn table
function registry.new(place, options)
  local o = check.options("masktune.registry", options, {
    kind = { type = "string" },
    accept = { type = "function", default = function(value) return value end },
    describe = { type = "function", default = function(entry)
      return type(entry) == "table" and entry.summary or ""
    end },
    read = { type = "function", optional = true },
  })
  local state = { place = place, entries = {}, files = {}, accept = o.accept, describe = o.describe,
    several = o.read ~= nil }
  state.load = loader(state, o.read or by_own_name)
  local meta = { __name = "masktune.Registry", kind = o.kind }
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
-- @tparam[opt=1] integer level as in check.options
function registry.get(entries, name, where, what, level)
  local entry = type(name) == "string" and entries[name] or nil
  if entry ~= nil then return entry end
  error(("%s: %s: %s expected (one of %s), got %s"):format(where, what, getmetatable(entries).kind,
    table.concat(registry.names(entries), ", "), check.describe(name)), (level or 1) + 2)
end

return registry
