--- Help in a session: what a function takes and gives, what there is.
-- @usage mt.help()            -- the parts
-- mt.help "conv2d"     -- a function; also "image.resize", "Tensor:sum", or the function itself
-- mt.help "Module"     -- the methods of a class
-- mt.help(mt.train)
-- @module masktune.help
local api = require "masktune.help.api"
local check = require "masktune.check"
local sorted_names = require("masktune.names").sorted
local sources = require "masktune.help.sources"
local words = require "masktune.words"

local WIDTH = 100

local help = {}

-- ---- finding ----

local function class_called(name)
  for _, class in ipairs(sources.classes) do
    if class == name then return sources.methods_of(class) end
  end
end

--- What a path such as "image.resize" or "Tensor:sum" leads to: the value, the value it is in, its last name; or the
-- name that is not there, and the names that are.
local function find(path)
  local mt = require "masktune"
  local inside, value, name = nil, mt, "masktune"
  for part in path:gmatch("[^.:]+") do
    inside, name = value, part
    value = nil
    if type(inside) == "table" then value = inside[part] end
    if inside == mt and value == nil then value = class_called(part) end
    if value == nil then return nil, inside, part end
  end
  return value, inside, name
end

--- The full names under which something is called `name`, a class's methods among them.
local function all_called(name)
  local mt = require "masktune"
  local found = {}
  for _, class in ipairs(sources.classes) do
    if sources.methods_of(class)[name] then found[#found + 1] = class .. ":" .. name end
  end
  for _, part in ipairs(api.parts()) do
    local values = mt[part]
    local there = type(values) == "table" and rawget(values, name) ~= nil
    if there then found[#found + 1] = ("mt.%s.%s"):format(part, name) end
  end
  table.sort(found)
  return found
end

-- ---- layout ----

--- The paragraphs of a text, each a list of words, or a line that stays as it is (code, indented); items of a
-- list are paragraphs of their own.
local function paragraphs(text)
  local list, open = {}, nil
  for line in (text .. "\n"):gmatch("(.-)\n") do
    if line:find("^   ") or not line:find "%S" then
      list[#list + 1], open = line:gsub("%s+$", ""), nil
    else
      if not open or line:find("^%s*[*-] ") then
        open = {}
        list[#list + 1] = open
      end
      for word in line:gmatch("%S+") do
        open[#open + 1] = word
      end
    end
  end
  return list
end

--- Text in lines of at most WIDTH that begin with `indent`.
local function wrapped(text, indent)
  local lines = {}
  for _, paragraph in ipairs(paragraphs(text)) do
    local line = type(paragraph) == "string" and paragraph or ""
    for _, word in ipairs(type(paragraph) == "table" and paragraph or {}) do
      if #line > 0 and #indent + #line + 1 + #word > WIDTH then
        lines[#lines + 1], line = line, word
      else
        line = #line > 0 and line .. " " .. word or word
      end
    end
    lines[#lines + 1] = line
  end
  return (indent .. table.concat(lines, "\n" .. indent):gsub("\n +%f[\n\0]", "\n"))
end

local function signature(title, entry)
  local parts = {}
  for i, parameter in ipairs(entry.params) do
    local comma = i > 1 and ", " or ""
    parts[i] = parameter.optional and ("[%s%s]"):format(comma, parameter.name) or comma .. parameter.name
  end
  return ("%s(%s)"):format(title, table.concat(parts))
end

local function add_values(lines, title, values)
  for _, value in ipairs(values) do
    local kind = value.type == "any" and "" or value.type
    if value.default then kind = ("%s = %s"):format(kind, value.default) end
    local head = ("%s%s"):format(title or value.name, #kind > 0 and (" (%s)"):format(kind) or "")
    local text = #value.text > 0 and ("%s: %s"):format(head, value.text) or head
    lines[#lines + 1] = wrapped(text, "      "):sub(5)
  end
end

local function text_of_function(title, entry)
  local lines = { signature(title, entry), wrapped(entry.text, "  ") }
  if #entry.params + #entry.returns > 0 then lines[#lines + 1] = "" end
  add_values(lines, nil, entry.params)
  add_values(lines, "returns", entry.returns)
  if entry.raise then lines[#lines + 1] = wrapped("raises an error " .. entry.raise, "      "):sub(5) end
  if entry.usage then lines[#lines + 1] = "\n    " .. entry.usage:gsub("\n", "\n    ") end
  return table.concat(lines, "\n")
end

local function public_names(values)
  return sorted_names(values, function(name) return type(name) == "string" and name:sub(1, 1) ~= "_" end)
end

--- What a value is, in a line.
local function summary_of(value, inside, name)
  local meta = getmetatable(inside)
  if type(meta) == "table" and meta.summary then return meta.summary(name) end
  local entry = sources.of(value, name) or type(value) == "table" and api.header_of(inside, name)
  return entry and entry.summary or ""
end

local function text_of_table(title, values, header)
  local lines, names, widest = { title }, public_names(values), 0
  if header then lines[1] = ("%s\n%s\n"):format(title, wrapped(header.text, "  ")) end
  for _, name in ipairs(names) do
    widest = math.max(widest, #name)
  end
  for _, name in ipairs(names) do
    local line = ("  %-" .. widest .. "s  %s"):format(name, summary_of(values[name], values, name))
    lines[#lines + 1] = #line > WIDTH and line:sub(1, WIDTH - 3) .. "..." or line
  end
  return table.concat(lines, "\n")
end

local function overview()
  local mt = require "masktune"
  local lines = { "mt.help \"NAME\" says more. The parts of mt:" }
  for _, part in ipairs(api.parts()) do
    local header = api.header_of(mt, part)
    lines[#lines + 1] = ("  %-12s %s"):format(part, header and header.summary or "")
  end
  lines[#lines + 1] = "The classes: " .. table.concat(sources.classes, ", ") .. ". The functions of mt:"
  local functions = {}
  for name, value in pairs(mt) do
    if type(value) == "function" then functions[#functions + 1] = name end
  end
  table.sort(functions)
  lines[#lines + 1] = wrapped(table.concat(functions, " "), "  ")
  return table.concat(lines, "\n")
end

-- ---- the public functions ----

local function text_of_value(value, inside, name, title)
  local entry = sources.of(value, name)
  if entry and (type(value) == "function" or #entry.params > 0) then return text_of_function(title, entry) end
  local header = api.header_of(inside, name)
  if header and inside ~= require "masktune" then return ("%s\n%s"):format(title, wrapped(header.text, "  ")) end
  if type(value) == "table" then return text_of_table(title, value, header) end
  return ("%s: %s"):format(title, entry and entry.text or type(value))
end

--- What `mt.help` prints.
-- @param what as for `help`
-- @treturn string
function help.text(what)
  if what == nil then return overview() end
  if type(what) ~= "string" then
    check.argument("mt.help", "what", what, { type = "any" })
    local entry = sources.of(what, "train")
    if not entry then check.fail("mt.help: no documentation is known of this %s", type(what)) end
    return text_of_function(entry.name or "function", entry)
  end
  local path = what:gsub("^mt[.:]", ""):gsub("^masktune%.", "")
  local value, inside, name = find(path)
  local title = class_called(path:match "^[^.:]+") and path or "mt." .. path
  if value ~= nil then return text_of_value(value, inside, name, title) end
  local found = all_called(name)
  if #found == 1 then return help.text(found[1]) end
  if #found > 1 then return ("'%s' is %s"):format(name, table.concat(found, ", ")) end
  local names = type(inside) == "table" and public_names(inside) or {}
  table.move(sources.classes, 1, #sources.classes, #names + 1, names)
  check.fail("mt.help: there is no '%s'%s", what, words.suggestion(name, names))
end

--- Prints help.
-- @function help
-- @param what a name ("conv2d", "image.resize", "Tensor:sum", "Module"), a function, or nil: what there is
-- @raise on a name that does not exist, with the nearest one that does
return setmetatable(help, { __call = function(_, what) print(help.text(what)) end })
