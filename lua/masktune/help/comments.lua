--- Reading of documentation comments (LDoc's): what one says, and where the comments of a source file are.
-- @module masktune.help.comments
local comments = {}

local function trimmed(text) return (text:gsub("^%s+", ""):gsub("%s+$", "")) end

--- A type and the words after it; a type may hold braces with blanks, such as {integer, integer}.
local function type_and_rest(text)
  local kind, rest = text:match("^([%w_|?.]*%b{}[%w_|?.]*)%s*(.*)$")
  if not kind then
    kind, rest = text:match("^(%S+)%s*(.*)$")
  end
  return kind or "", rest or ""
end

local function parameter(modifier, text, kind)
  local name, rest = text:match("^(%S+)%s*(.*)$")
  local default = modifier:match("^%[opt=(.*)%]$")
  local optional = modifier:find("opt", 1, true) ~= nil or kind:sub(1, 1) == "?"
  return { name = name or "", type = kind:gsub("^%?", ""), optional = optional, default = default, text = rest }
end

--- What each tag adds to an entry.
local tags = {
  ["function"] = function(entry, _, text) entry.name = text end,
  module = function(entry, _, text) entry.module = text end,
  classmod = function(entry, _, text) entry.module = text end,
  tparam = function(entry, modifier, text)
    local kind, rest = type_and_rest(text)
    table.insert(entry.params, parameter(modifier, rest, kind))
  end,
  param = function(entry, modifier, text) table.insert(entry.params, parameter(modifier, text, "any")) end,
  treturn = function(entry, _, text)
    local kind, rest = type_and_rest(text)
    table.insert(entry.returns, { type = kind, text = rest })
  end,
  ["return"] = function(entry, _, text) table.insert(entry.returns, { type = "any", text = text }) end,
  raise = function(entry, _, text) entry.raise = text end,
  usage = function(entry, _, text) entry.usage = text end,
}
for _, kind in ipairs { "string", "number" } do
  tags[kind] = function(entry, modifier, text) table.insert(entry.params, parameter(modifier, text, kind)) end
end

--- The first sentence of a text: up to a full stop in front of a capital letter ("et al. 2015" goes on).
local function first_sentence(text)
  local line = (text:match("^(.-)\n%s*\n") or text):gsub("%s*\n%s*", " ")
  return line:match("^(.-%.)%s+%u") or line
end

--- What a comment says.
-- @tparam string text a comment, without the signs that make it one
-- @treturn table `name` (where the comment gives it), `text`, `summary` (the first sentence), `params` (list of {name
-- =, type =, optional =, default =, text =}), `returns` (list of {type =, text =}), `raise`, `usage`, `module`;
-- `source`: the comment itself
function comments.parse(text)
  local entry = { params = {}, returns = {}, source = text }
  local body = text:match("^(.-)\n@") or (text:sub(1, 1) == "@" and "" or text)
  entry.text = trimmed(body)
  entry.summary = first_sentence(entry.text)
  local rest = ("\n" .. text:sub(#body + 1)):gsub("^\n+", "\n")
  local at = rest:find("\n@%a")
  while at do
    local after = rest:find("\n@%a", at + 1)
    local one = rest:sub(at + 1, (after or 0) - 1)
    local tag, modifier, words = one:match("^@(%a+)(%b[])%s*(.*)$")
    if not tag then
      tag, words = one:match("^@(%a+)%s*(.*)$")
      modifier = ""
    end
    if tags[tag] then tags[tag](entry, modifier, trimmed(words)) end
    at = after
  end
  return entry
end

--- The documentation comments of a C source file, in order.
-- @tparam string source
-- @treturn {string,...} without their signs
function comments.of_c(source)
  local found = {}
  for text in source:gmatch("/%*%*%*%s*(.-)%s*%*/") do
    found[#found + 1] = text
  end
  return found
end

--- The documentation comment right above a line of a Lua source file.
-- @tparam {string,...} lines of the file
-- @tparam integer line where a function begins
-- @treturn ?string without its signs; nil where there is none
function comments.above(lines, line)
  local found = {}
  for number = line - 1, 1, -1 do
    local dashes, text = (lines[number] or ""):match("^%s*(%-%-%-*) ?(.*)$")
    if not dashes then return nil end
    table.insert(found, 1, text)
    if #dashes >= 3 then return table.concat(found, "\n") end
  end
end

return comments
