--- Sessions at Lua's prompt: the tab key completes names of what there is, mt.* and everything else.
-- Where Lua's module `readline` is there (Debian: lua-readline), it shares the line editor with the stock interpreter,
-- so nothing else is needed. Elsewhere a list of names is written for rlwrap, and the command for it is printed.
-- @usage > require "masktune.repl"
-- > mt.con<tab>
-- @module masktune.repl
local core = require "masktune.core"
local folders = require "masktune.data.folders"
local mt = require "masktune"
local sources = require "masktune.help.sources"

local repl = {}

-- ---- what there is ----

--- What an object answers to beside its own fields: the methods of a class.
local function methods_of(object)
  local class = core.is_tensor(object) and "Tensor" or core.is_module(object) and "Module"
  if class then return sources.methods_of(class) end
  local meta = getmetatable(object)
  local inherited = type(meta) == "table" and rawget(meta, "__index")
  return type(inherited) == "table" and inherited or {}
end

local function add_names(names, values)
  for name in pairs(values) do
    if type(name) == "string" and name:find "^%a[%w_]*$" then names[name] = true end
  end
end

--- The names that can stand behind an object's dot or colon, as a set. What an object's own __pairs does wrong is no
-- reason to break a line that is being typed.
local function names_in(object)
  local names = {}
  pcall(function()
    if type(object) == "table" then add_names(names, object) end
    if type(object) ~= "string" then add_names(names, methods_of(object)) end
  end)
  if type(object) == "string" then add_names(names, string) end
  return names
end

local function is_function(object, name)
  local found, value = pcall(function() return object[name] end)
  return found and type(value) == "function"
end

--- The object that "a.b.c" names; nil where there is none.
local function object_of(path)
  local object = _G
  for name in path:gmatch "[%w_]+" do
    local found, value = pcall(function() return object[name] end)
    if not found or value == nil then return nil end
    object = value
  end
  return object
end

--- What a word can become.
-- @string word such as "mt.con", "image:si"
-- @treturn {string,...} whole words, sorted
function repl.complete(word)
  local path, mark, begun = word:match "^(.-)([.:]?)([%w_]*)$"
  local object = mark == "" and _G or path:find "^[%a_][%w_.]*$" and object_of(path)
  if not object or mark == "" and path ~= "" then return {} end
  local words = {}
  for name in pairs(names_in(object)) do
    local fits = name:sub(1, #begun) == begun and (mark ~= ":" or is_function(object, name))
    if fits and (begun ~= "" or name:sub(1, 1) ~= "_") then words[#words + 1] = path .. mark .. name end
  end
  table.sort(words)
  return words
end

--- Every public name, as it is typed.
-- @treturn {string,...} sorted
function repl.words()
  local words, seen = {}, {}
  local function add(word)
    if not seen[word] then
      seen[word] = true
      words[#words + 1] = word
    end
  end
  for name, value in pairs(mt) do
    if name:sub(1, 1) ~= "_" then
      add("mt." .. name)
      for inside in pairs(type(value) == "table" and names_in(value) or {}) do
        add(("mt.%s.%s"):format(name, inside))
      end
    end
  end
  for _, class in ipairs(sources.classes) do
    for name in pairs(names_in(sources.methods_of(class))) do
      add(name)
    end
  end
  table.sort(words)
  return words
end

-- ---- the prompt ----

--- Has the line editor of this process complete names; false where Lua's readline module is not there.
local function complete_here()
  local there, editor = pcall(require, "readline")
  if not there or type(editor) ~= "table" or not editor.set_complete_function then return false end
  editor.set_complete_function(function(line, from, to)
    editor.set_completion_append_character "" -- which the library sets anew before each completion
    local completed, words = pcall(repl.complete, line:sub(from, to))
    return completed and words or {}
  end)
  return true
end

--- Writes the list for rlwrap; what to type then.
local function rlwrap_command()
  local path = folders.cache "repl-words" or os.tmpname()
  core.make_directory(path:match "^(.*)/")
  core.write_file(path, table.concat(repl.words(), "\n") .. "\n")
  return ("rlwrap -b ' ()[]{}=,;:+-*/<>~\"' -f %s lua5.4 -i -e 'mt = require \"masktune\"'"):format(path)
end

_G.mt = _G.mt or mt
if not complete_here() then
  io.stderr:write("The tab key completes names where Lua's readline module is there (Debian: lua-readline), or in\n  ",
    rlwrap_command(), "\n")
end

return repl
