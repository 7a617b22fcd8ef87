--- JSON (RFC 8259), both ways.
-- Encoding is stable: keys are sorted and a number is written with the fewest digits that read back as the same
-- number, so equal values give equal files. Decoding is strict: what the RFC forbids is an error with its place.
-- @module masktune.json
local check = require "masktune.check"

local json = {}

local MAX_DEPTH = 200

--- JSON's null, which a Lua table cannot hold as nil.
json.null = setmetatable({}, { __name = "json.null", __tostring = function() return "null" end })

local array_meta = { __name = "json.array" }

--- Marks a table as an array, so that an empty one is written [] instead of {}.
-- @tparam[opt] table list
-- @treturn table the same table
function json.array(list)
  return setmetatable(check.argument("json.array", "list", list, { type = "table", default = {} }), array_meta)
end

-- ---- encoding ----

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function encode_string(text)
  if not utf8.len(text) then error("json.encode: string is not UTF-8: " .. ("%q"):format(text:sub(1, 40)), 0) end
  return '"' .. text:gsub('[%c"\\\127]', function(char)
    return escapes[char] or ("\\u%04x"):format(char:byte())
  end) .. '"'
end

local function encode_number(number)
  if math.type(number) == "integer" then return ("%d"):format(number) end
  if number ~= number or number == math.huge or number == -math.huge then return "null" end
  for digits = 15, 17 do
    local text = ("%." .. digits .. "g"):format(number)
    if tonumber(text) == number then return text:find("[.e]") and text or text .. ".0" end
  end
end

--- The number of elements when a table is an array, else nil.
local function array_length(value)
  local count = 0
  for key in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 then return nil end
    count = count + 1
  end
  if count == 0 then return getmetatable(value) == array_meta and 0 or nil end
  return count == #value and count or nil
end

local encode_value

local function encode_items(items, open, close, newline, indent)
  if #items == 0 then return open .. close end
  local inner = newline and newline .. indent or ""
  return open .. inner .. table.concat(items, (newline and "," or ", ") .. inner) .. (newline or "") .. close
end

local function encode_table(value, depth, newline, indent)
  if depth > MAX_DEPTH then error("json.encode: nested deeper than " .. MAX_DEPTH .. " (a table inside itself?)", 0) end
  local items, inner = {}, newline and newline .. indent
  local length = array_length(value)
  if length then
    local nested = false
    for i = 1, length do
      items[i] = encode_value(value[i], depth + 1, inner, indent)
      nested = nested or type(value[i]) == "table" and value[i] ~= json.null
    end
    return encode_items(items, "[", "]", nested and newline, indent)
  end
  local keys = {}
  for key in pairs(value) do
    if type(key) ~= "string" then
      error(("json.encode: key %s of an object: string expected (arrays are 1..n without gaps)"):format(key), 0)
    end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    items[i] = encode_string(key) .. ": " .. encode_value(value[key], depth + 1, inner, indent)
  end
  return encode_items(items, "{", "}", newline, indent)
end

function encode_value(value, depth, newline, indent)
  local kind = type(value)
  if value == nil or value == json.null then return "null" end
  if kind == "boolean" then return tostring(value) end
  if kind == "number" then return encode_number(value) end
  if kind == "string" then return encode_string(value) end
  if kind == "table" then return encode_table(value, depth, newline, indent) end
  error("json.encode: a " .. kind .. " has no JSON form", 0)
end

--- Writes a value as JSON. NaN and infinities, which JSON lacks, become null.
-- @param value nil, json.null, boolean, number, string (UTF-8), array (1..n) or object (string keys)
-- @tparam[opt=0] integer indent spaces per level; 0 writes one line. Arrays of plain values stay on one line
-- @treturn string
-- @raise on anything else, on gaps in arrays and on tables inside themselves
function json.encode(value, indent)
  indent = check.argument("json.encode", "indent", indent, { type = "integer", min = 0, max = 64, default = 0 })
  local ok, result = pcall(encode_value, value, 1, indent > 0 and "\n" or nil, (" "):rep(indent))
  if not ok then check.fail(result) end
  return result
end

-- ---- decoding ----

local function fail(text, at, message)
  local line, column = 1, at
  for newline in text:sub(1, at - 1):gmatch("()\n") do
    line, column = line + 1, at - newline
  end
  error(("json.decode: line %d, column %d: %s"):format(line, column, message), 0)
end

local function skip_space(text, at) return text:match("^[ \t\n\r]*()", at) end

local function found(text, at)
  local char = text:sub(at, at)
  return char == "" and "end of text" or char:find("^%c") and ("byte %d"):format(char:byte()) or "'" .. char .. "'"
end

local unescapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

--- The character of a \u escape (with its low half, where it is a surrogate) and the place after it.
local function decode_unicode(text, at)
  local hex = text:match("^\\u(%x%x%x%x)", at)
  if not hex then fail(text, at, "\\u needs four hexadecimal digits") end
  local code = tonumber(hex, 16)
  if code >= 0xDC00 and code <= 0xDFFF then fail(text, at, "low surrogate without a high one") end
  if code < 0xD800 or code > 0xDBFF then return utf8.char(code), at + 6 end
  local low = tonumber(text:match("^\\u(%x%x%x%x)", at + 6) or "", 16)
  if not low or low < 0xDC00 or low > 0xDFFF then fail(text, at, "high surrogate without a low one") end
  return utf8.char(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), at + 12
end

local function decode_string(text, at)
  local pieces, start = {}, at
  at = at + 1
  while true do
    local plain, stop = text:match('^([^%c"\\]*)()', at)
    pieces[#pieces + 1], at = plain, stop
    local char = text:sub(at, at)
    if char == '"' then break end
    if char == "" then fail(text, start, "string without an end") end
    if char == "\127" then
      pieces[#pieces + 1], at = char, at + 1
    elseif char ~= "\\" then
      fail(text, at, "control character in a string: " .. found(text, at))
    elseif text:sub(at + 1, at + 1) == "u" then
      pieces[#pieces + 1], at = decode_unicode(text, at)
    else
      local plain_escape = unescapes[text:sub(at + 1, at + 1)]
      if not plain_escape then fail(text, at, "unknown escape \\" .. text:sub(at + 1, at + 1)) end
      pieces[#pieces + 1], at = plain_escape, at + 2
    end
  end
  return table.concat(pieces), at + 1
end

local function decode_number(text, at)
  local number, stop = text:match("^(-?%d+%.?%d*[eE]?[+-]?%d*)()", at)
  local valid = number and (number:find("^-?0$") or number:find("^-?[1-9]%d*$"))
  if valid then return math.tointeger(tonumber(number)) or tonumber(number), stop end
  local whole = number and number:match("^-?(%d+)")
  local rest = number and number:match("^-?%d+(.*)$")
  valid = whole and (whole == "0" or whole:sub(1, 1) ~= "0")
    and (rest:find("^%.%d+$") or rest:find("^%.%d+[eE][+-]?%d+$") or rest:find("^[eE][+-]?%d+$"))
  if not valid then fail(text, at, "not a number") end
  return tonumber(number), stop
end

local decode_value

local function decode_array(text, at, depth)
  local list = json.array()
  at = skip_space(text, at + 1)
  if text:sub(at, at) == "]" then return list, at + 1 end
  while true do
    list[#list + 1], at = decode_value(text, at, depth)
    local char = text:sub(at, at)
    if char == "]" then return list, at + 1 end
    if char ~= "," then fail(text, at, "',' or ']' expected, got " .. found(text, at)) end
    at = skip_space(text, at + 1)
  end
end

local function decode_object(text, at, depth)
  local object = {}
  at = skip_space(text, at + 1)
  if text:sub(at, at) == "}" then return object, at + 1 end
  while true do
    if text:sub(at, at) ~= '"' then fail(text, at, "a key in quotes expected, got " .. found(text, at)) end
    local key, stop = decode_string(text, at)
    if object[key] ~= nil then fail(text, at, "key '" .. key .. "' stands here twice") end
    at = skip_space(text, stop)
    if text:sub(at, at) ~= ":" then fail(text, at, "':' expected, got " .. found(text, at)) end
    object[key], at = decode_value(text, skip_space(text, at + 1), depth)
    local char = text:sub(at, at)
    if char == "}" then return object, at + 1 end
    if char ~= "," then fail(text, at, "',' or '}' expected, got " .. found(text, at)) end
    at = skip_space(text, at + 1)
  end
end

local literals = { { "true", true }, { "false", false }, { "null", json.null } }

local function decode_literal(text, at)
  for _, literal in ipairs(literals) do
    if text:sub(at, at + #literal[1] - 1) == literal[1] then return literal[2], at + #literal[1] end
  end
  fail(text, at, "a value expected, got " .. found(text, at))
end

local decoders = { ["{"] = decode_object, ["["] = decode_array, ['"'] = decode_string }

--- A value and the place of the first character after it that is not space.
function decode_value(text, at, depth)
  if depth > MAX_DEPTH then fail(text, at, "nested deeper than " .. MAX_DEPTH) end
  local char = text:sub(at, at)
  local decode = decoders[char] or char:find("^[-%d]") and decode_number or decode_literal
  local value, stop = decode(text, at, depth + 1)
  return value, skip_space(text, stop)
end

--- Reads one JSON value.
-- @string text UTF-8
-- @return the value: json.null for null, arrays marked as by json.array
-- @raise with line and column on anything RFC 8259 forbids, on keys that stand twice and on nesting deeper than 200
function json.decode(text)
  if type(text) ~= "string" then check.fail("json.decode: string expected, got " .. type(text)) end
  local ok, result = pcall(function()
    local valid, at = utf8.len(text)
    if not valid then fail(text, at, "not UTF-8") end
    local value, stop = decode_value(text, skip_space(text, 1), 1)
    if stop <= #text then fail(text, stop, "text after the value: " .. found(text, stop)) end
    return value
  end)
  if not ok then check.fail(result) end
  return result
end

return json
