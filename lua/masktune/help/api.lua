--- The public API as the loaded module has it: parts and classes, and what is said of each of their functions.
-- @module masktune.help.api
local core = require "masktune.core"
local mt = require "masktune"
local sources = require "masktune.help.sources"

local api = {}

local function is_callable(value)
  local meta = type(value) == "table" and getmetatable(value)
  return type(value) == "function" or type(meta) == "table" and meta.__call ~= nil
end

local function is_registry(value)
  local meta = type(value) == "table" and getmetatable(value)
  return type(meta) == "table" and meta.kind ~= nil
end

--- The comment that a Lua module begins with; nil where there is none.
-- @string module such as "masktune.train"
-- @treturn ?table as from masktune.help.comments
function api.header(module)
  local path = package.searchpath(module, package.path)
  return path and sources.header(path) or nil
end

--- What is said of a part as a whole, or of an entry of a registry: in front of the file of a part in Lua, or of what a
-- registry lists; of a part of the core, where its functions are bound.
-- @param inside what it is in: mt, or a registry
-- @string name
-- @treturn ?table as from masktune.help.comments
function api.header_of(inside, name)
  local meta = getmetatable(inside)
  local module = inside == mt and mt._modules[name] or type(meta) == "table" and meta.module and meta.module(name)
  if module then return api.header(module) end
  return inside == mt and sources.of_part(name) or nil
end

--- The names of mt's parts: what holds functions of its own.
-- @treturn {string,...} sorted
function api.parts()
  local names = {}
  for name in pairs(mt._modules) do
    names[#names + 1] = name
  end
  for name, value in pairs(core) do
    if type(value) == "table" and not mt._modules[name] then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function functions_of(values)
  local list = {}
  for name, value in pairs(values) do
    if type(name) == "string" and name:sub(1, 1) ~= "_" and is_callable(value) then
      list[#list + 1] = { name = name, value = value, entry = sources.of(value, name) }
    end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- All that is public.
-- @treturn {table,...} pages: `name` ("masktune", "masktune.image", "Tensor"), `class` (true of classes), `header`
-- (what is said of it as a whole), `registry` (true where entries are found by name), `functions`: list of {name =,
-- value =, entry = as from masktune.help.comments, nil where nothing is said}
function api.pages()
  for _, part in ipairs(api.parts()) do
    assert(mt[part] ~= nil, part) -- loaded, and so in pairs(mt)
  end
  local pages = { { name = "masktune", header = api.header "masktune", functions = functions_of(mt) } }
  for _, part in ipairs(api.parts()) do
    local value = mt[part]
    if type(value) == "table" then
      pages[#pages + 1] = {
        name = "masktune." .. part, header = api.header_of(mt, part), registry = is_registry(value),
        functions = functions_of(value),
      }
    end
  end
  pages[#pages + 1] = {
    name = "masktune.data.samplers", header = api.header "masktune.data.samplers",
    functions = functions_of(mt.data.samplers),
  }
  for _, class in ipairs(sources.classes) do
    pages[#pages + 1] = {
      name = class, class = true, header = sources.of_part(class), functions = functions_of(sources.methods_of(class)),
    }
  end
  return pages
end

return api
