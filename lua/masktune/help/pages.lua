-- Run as `lua pages.lua ldoc FOLDER` or `lua pages.lua luals FILE`: the public API, as the loaded module has it, as Lua
-- files for LDoc (a page for each part and class), or as one file of annotations for LuaLS.
local api = require "masktune.help.api"
local sources = require "masktune.help.sources"

local function commented(text) return "--- " .. text:gsub("\n", "\n-- ") end

-- ---- LDoc ----

--- A comment that LDoc takes: the public name, and nothing of what only names a file.
local function for_ldoc(text, name)
  local kept = "\n" .. text .. "\n"
  for _, tag in ipairs { "function", "module", "classmod" } do
    kept = kept:gsub("\n@" .. tag .. "[^\n]*", "")
  end
  return commented(kept:gsub("^%s+", ""):gsub("%s+$", "") .. (name and "\n@function " .. name or ""))
end

local function ldoc_page(page)
  local text = { for_ldoc(page.header and page.header.text or page.name) }
  text[1] = ("%s\n-- @%s %s"):format(text[1], page.class and "classmod" or "module", page.name)
  for _, item in ipairs(page.registry and {} or page.functions) do
    if item.entry then text[#text + 1] = for_ldoc(item.entry.source, item.name) end
  end
  for _, item in ipairs(page.registry and page.functions or {}) do
    local header = api.header_of(require "masktune"[page.name:match "[^.]+$"], item.name)
    local summary = item.entry and #item.entry.params > 0 and item.entry.text .. "\n\n" or ""
    text[#text + 1] = commented(("%s%s\n@function %s"):format(summary, header and header.text or "",
      (item.name:gsub("%+", "plus"))))
  end
  return table.concat(text, "\n\n") .. "\n"
end

-- ---- LuaLS ----

local classes = {} -- a class's name in the comments -> in the annotations
for _, class in ipairs(sources.classes) do
  classes[class] = "masktune." .. class
end
local plain = {
  string = true, number = true, integer = true, boolean = true, table = true, ["function"] = true, ["nil"] = true,
}

--- A type of the comments as LuaLS writes it: `{number,...}` is number[], other tables in braces are tables.
local function luals_type(kind)
  local types = {}
  for one in kind:gsub("%b{}", function(braced)
    local item = braced:match("^{(%a+),%.%.%.}$")
    return item and (classes[item] or plain[item] and item or "any") .. "[]" or "table"
  end):gmatch("[^|]+") do
    local base, list = one:match("^([%w_.]+)(%[?%]?)$")
    local known = base and (classes[base] or (plain[base] or base:find "^masktune%.") and base)
    types[#types + 1] = known and known .. list or "any"
  end
  return #types > 0 and table.concat(types, "|") or "any"
end

local function variable_of(name) return (name:gsub("%.", "_")) end

local function one_line(text) return (text:gsub("%s*\n%s*", " ")) end

local function luals_function(prefix, item)
  local lines, names = { "---" .. item.entry.text:gsub("\n", "\n---") }, {}
  for _, parameter in ipairs(item.entry.params) do
    local more = parameter.name == "..."
    names[#names + 1] = parameter.name
    lines[#lines + 1] = ("---@param %s%s %s %s"):format(parameter.name, parameter.optional and not more and "?" or "",
      luals_type(parameter.type), one_line(parameter.text))
    if more then break end -- what comes after any number of values cannot be said
  end
  for _, value in ipairs(item.entry.returns) do
    lines[#lines + 1] = ("---@return %s # %s"):format(luals_type(value.type), one_line(value.text))
  end
  lines[#lines + 1] = ("function %s%s(%s) end"):format(prefix, item.name, table.concat(names, ", "))
  return table.concat(lines, "\n")
end

local function luals_page(page)
  local text, full = {}, page.class and classes[page.name] or page.name
  local variable = variable_of(page.name)
  text[1] = ("---@class %s\nlocal %s = {}"):format(full, variable)
  for _, item in ipairs(page.functions) do
    if item.name:find("^[%a_][%w_]*$") then
      if item.entry and not page.registry then
        text[#text + 1] = luals_function(variable .. (page.class and ":" or "."), item)
      else
        text[#text + 1] = ("---@type function\n%s.%s = nil"):format(variable, item.name)
      end
    end
  end
  return table.concat(text, "\n\n")
end

local function luals()
  local text, fields = { "---@meta masktune" }, {}
  for _, page in ipairs(api.pages()) do
    text[#text + 1] = luals_page(page)
    local inside, name = page.name:match("^(.*)%.([%w_]+)$")
    if inside then fields[#fields + 1] = ("%s.%s = %s"):format(variable_of(inside), name, variable_of(page.name)) end
  end
  text[#text + 1] = table.concat(fields, "\n")
  return table.concat(text, "\n\n") .. "\n\nreturn masktune\n"
end

-- ---- files ----

local function write(path, text)
  local file = assert(io.open(path, "w"))
  assert(file:write(text))
  assert(file:close())
end

if arg[1] == "ldoc" then
  for _, page in ipairs(api.pages()) do
    write(("%s/%s.lua"):format(arg[2], page.name), ldoc_page(page))
  end
else
  write(arg[2], luals())
end
