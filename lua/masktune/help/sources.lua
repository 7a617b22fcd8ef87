--- Where the documentation of a value is: of compiled functions in what the build wrote down, of Lua functions in the
-- file that defines them.
-- @module masktune.help.sources
local comments = require "masktune.help.comments"
local core = require "masktune.core"

local sources = {}

local built, native = pcall(require, "masktune.native_docs")
if not built then native = {} end

--- Whether the documentation of compiled functions was found.
sources.has_native = built

--- The classes whose methods the core has.
sources.classes = { "Tensor", "Module", "Optimizer", "Generator" }

local names -- compiled function -> its name in the documentation

local function methods_of(class)
  local meta = debug.getregistry()["masktune." .. class]
  if type(meta) ~= "table" then return {} end
  if type(meta.__index) == "table" then return meta.__index end
  local _, methods = debug.getupvalue(meta.__index or print, 1)
  return type(methods) == "table" and methods or {}
end
sources.methods_of = methods_of

local function native_names()
  if names then return names end
  names = {}
  local function add(prefix, values)
    for name, value in pairs(values) do
      if type(value) == "function" and native[prefix .. name] then names[value] = prefix .. name end
    end
  end
  add("", core)
  for part, values in pairs(core) do
    if type(values) == "table" then add(part .. ".", values) end
  end
  for _, class in ipairs(sources.classes) do
    add(class .. ":", methods_of(class))
  end
  return names
end

local lines_of = setmetatable({}, { __mode = "v" })

--- The lines of a Lua file; nil where it cannot be read.
function sources.lines(path)
  if lines_of[path] then return lines_of[path] end
  local read, text = pcall(core.read_file, path)
  if not read then return nil end
  local lines = {}
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do
    lines[#lines + 1] = line
  end
  lines_of[path] = lines
  return lines
end

--- The comment that a Lua file begins with.
function sources.header(path)
  local lines = sources.lines(path)
  local last = 0
  while lines and lines[last + 1] and lines[last + 1]:find("^%-%-") do last = last + 1 end
  local text = last > 0 and comments.above(lines, last + 1)
  return text and comments.parse(text) or nil
end

--- The comment in a Lua file that documents a function under this name (`@function NAME`).
local function named(path, name)
  local lines = sources.lines(path)
  for number, line in ipairs(lines or {}) do
    if line:match("^%-%- @function%s+([%w_.:]+)") == name then
      while lines[number] and lines[number]:find("^%s*%-%-") do number = number + 1 end
      return comments.parse(comments.above(lines, number))
    end
  end
end

local function of_lua(f, name)
  local info = debug.getinfo(f, "S")
  local path = info.source:match("^@(.*)$")
  local lines = path and sources.lines(path)
  if not lines then return nil end
  local text = comments.above(lines, info.linedefined)
  local entry = text and comments.parse(text)
  return entry or named(path, name)
end

--- The documentation of a function or of what can be called like one.
-- @tparam function|table f
-- @string name its last name: "train" of mt.train
-- @treturn ?table as from comments.parse; nil where there is none
function sources.of(f, name)
  if type(f) == "function" then
    local known = native_names()[f]
    if known then return comments.parse(native[known]) end
    return debug.getinfo(f, "S").what ~= "C" and of_lua(f, name) or nil
  end
  local meta = getmetatable(f)
  local call = type(meta) == "table" and meta.__call
  return call and of_lua(call, name) or nil
end

--- What is said of a part or class of the core as a whole.
-- @string name "image", "Tensor"
-- @treturn ?table as from comments.parse
function sources.of_part(name)
  local text = native["@" .. name]
  return text and comments.parse(text) or nil
end

return sources
