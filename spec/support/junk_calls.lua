--- Calls every public function and method with arguments that make no sense, in all the ways that Lua has of calling,
-- and prints how many calls there were. Run as a program of its own, in an empty folder, because what it looks for is a
-- crash, and messages that do not say what a user wrote: with "'?'" for a function's name, or a place in masktune's own
-- files in front:
--     lua5.4 junk_calls.lua [wide]
-- "wide" adds sizes that would be allocated if nothing stopped them; for a process whose memory is limited.
-- The last line printed names the function that was being called; lines with "BAD" complain about messages.
local mt = require "masktune"
local core = require "masktune.core"

math.randomseed(20220801)
local calls_each = 300

local function contrary()
  error "contrary"
end

local function sample_objects()
  local objects = {
    core.rand(2, 3), core.rand(2, 4, 4, 3), core.zeros(3, "uint8"), core.ones({ 2 }, "int32"), core.zeros(0, 3),
    core.tensor(1.5), core.rand(2, 2, { requires_grad = true }), core.rand(1, 1, 2, 1, 2, 1), core.generator(1),
  }
  for _, make in ipairs{
    function() return core.nn.ReLU() end,
    function() return core.nn.Sequential{ core.nn.Linear(3, 2), core.nn.ReLU() } end,
    function() return core.optim.sgd({ core.rand(2, { requires_grad = true }) }, { lr = 0.1 }) end,
    function()
      return core.optim.adamw({ { params = { core.rand(2, { requires_grad = true }) }, lr = 0.2 } }, { lr = 0.1 })
    end,
  } do
    local ok, object = pcall(make)
    if ok then objects[#objects + 1] = object end
  end
  return objects
end

local junk_count, junk = 0, {}
local function add(value)
  junk_count = junk_count + 1
  junk[junk_count] = value -- may be nil
end
add(nil)
for _, value in ipairs{
  true, 0 / 0, math.huge, -1, 0, 1, 2, 1.5, 2.0 ^ 53, math.maxinteger, math.mininteger, 1e308, "", "junk", "3",
  "float32",
  "/nonexistent/junk", ("x"):rep(5000), "\0\255", {}, { 1 }, { -1, 2 }, { {} }, { 1, 2, 3, 4, 5, 6, 7 }, { 0 / 0 },
  { lr = 0 / 0 }, { keepdim = 3 }, { axis = {} }, { dtype = "junk" }, { math.maxinteger, math.maxinteger },
  setmetatable({}, { __index = contrary, __len = contrary }), setmetatable({}, { __tostring = contrary }),
  function() end, contrary, io.stdout, coroutine.create(contrary),
} do
  add(value)
end
if arg[1] == "wide" then
  for _, value in ipairs{ 2147483647, 2147483648, 1 << 40, { 1 << 20, 1 << 20 } } do add(value) end
end

--- Every class of the core: name -> { metatable, methods }.
local function classes()
  local found = {}
  for name, meta in pairs(debug.getregistry()) do
    if type(name) == "string" and name:find "^masktune%." and type(meta) == "table" and meta.__name then
      local methods = meta.__index
      if type(methods) == "function" then
        local _, upvalue = debug.getupvalue(methods, 1)
        methods = upvalue
      end
      found[name] = { meta = meta, methods = type(methods) == "table" and methods or {} }
    end
  end
  return found
end

local objects = sample_objects()
local total = 0

local function random_value()
  if math.random() < 0.35 then
    return objects[math.random(#objects)]
  end
  return junk[math.random(junk_count)]
end

--- How a function can be called, each of which Lua knows under another name or none: way(f, name, ...) gives what pcall
-- gives.
local ways = {
  function(f, _, ...) return pcall(f, ...) end,
  function(f, _, ...)
    local upvalue, arguments = f, table.pack(...)
    return pcall(function() return (upvalue(table.unpack(arguments, 1, arguments.n))) end)
  end,
  function(f, name, ...)
    local fields, arguments = { [name] = f }, table.pack(...)
    return pcall(function() return (fields[name](table.unpack(arguments, 1, arguments.n))) end)
  end,
  function(f, _, ...) return coroutine.resume(coroutine.create(f), ...) end,
  function(f, _, ...)
    local arguments = table.pack(...)
    return pcall(function() return f(table.unpack(arguments, 1, arguments.n)) end) -- a tail call
  end,
  function(f, name, self, ...)
    local method = type(self) == "userdata" and name:find "^%a[%w_]*$" and self[name] == f
      and load(("return function(self, ...) return (self:%s(...)) end"):format(name))
    if not method then return pcall(f, self, ...) end
    return pcall(method(), self, ...)
  end,
}

local home = package.searchpath("masktune", package.path):match "^(.*)init%.lua$"
local complaints = {}

--- A message must be a text that names neither "?" nor a place in our own files; the user's own errors pass.
local function check_message(name, message, arguments)
  if type(message) ~= "string" then
    for i = 1, arguments.n do
      if rawequal(message, arguments[i]) then return end
    end
    error "the error is not a message"
  end
  local bad = message:find("'?'", 1, true) or message:find(home, 1, true)
  if bad and not complaints[name .. message] then
    complaints[name .. message] = true
    print(("BAD %s: %s"):format(name, message))
  end
end

--- Calls f with n random arguments in one of the ways, the first argument being `first` where given.
local function call(name, f, first, n, way)
  local arguments = { n = n }
  for i = 1, n do
    arguments[i] = random_value()
  end
  if first then
    arguments[1] = first
    arguments.n = math.max(n, 1)
  end
  total = total + 1
  local ok, message = ways[way % #ways + 1](f, name, table.unpack(arguments, 1, arguments.n))
  if not ok then check_message(name, message, arguments) end
end

local function call_function(name, f, short_name)
  io.stdout:write(name, "\n")
  io.stdout:flush()
  for i = 1, calls_each do
    call(short_name, f, nil, i % 6, i // 6)
  end
end

local function call_method(class_name, name, f)
  io.stdout:write(class_name, ":", name, "\n")
  io.stdout:flush()
  local own = {}
  for _, object in ipairs(objects) do
    local meta = debug.getmetatable(object)
    if meta and meta.__name == class_name then own[#own + 1] = object end
  end
  for i = 1, calls_each do
    call(name, f, own[1] and math.random() < 0.8 and own[math.random(#own)], i % 5, i // 5)
  end
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function call_table(prefix, t)
  for _, name in ipairs(sorted_keys(t)) do
    if type(t[name]) == "function" then
      -- what ends the process is not called
      if name ~= "abort" then call_function(prefix .. name, t[name], name) end
    elseif type(t[name]) == "table" then
      call_table(prefix .. name .. ".", t[name])
    end
  end
end

call_table("", core)
core.set_num_threads(2)
local found = classes()
for _, class_name in ipairs(sorted_keys(found)) do
  local class = found[class_name]
  for _, name in ipairs(sorted_keys(class.methods)) do
    if type(class.methods[name]) == "function" then call_method(class_name, name, class.methods[name]) end
  end
  for _, name in ipairs(sorted_keys(class.meta)) do
    if type(class.meta[name]) == "function" and name ~= "__gc" and name ~= "__close" then
      call_method(class_name, name, class.meta[name])
    end
  end
end
-- Finalisers last: after them the objects are husks, and every method must say so.
for _, class_name in ipairs(sorted_keys(found)) do
  local class = found[class_name]
  if class.meta.__gc then
    call_method(class_name, "__gc", class.meta.__gc)
    for _, name in ipairs(sorted_keys(class.methods)) do
      if type(class.methods[name]) == "function" then
        call_method(class_name, name .. " after __gc", class.methods[name])
      end
    end
  end
end
objects = sample_objects()

--- Parts of masktune written in Lua. What downloads is left out, and nets that take seconds to make (of which there are
-- small ones of the same family).
local function is_harmless(name) return not (name:find "download" or name:find "^resnet[135]%d" or name:find "^vgg") end

local function call_part(prefix, part, seen)
  if seen[part] then return end
  seen[part] = true
  if type(part) == "function" then return call_function(prefix, part, prefix:match "[^.]*$") end
  if type(part) ~= "table" then return end
  local names = {}
  for name in pairs(part) do
    if type(name) == "string" and is_harmless(name) then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    call_part(prefix .. "." .. name, part[name], seen)
  end
  local meta = getmetatable(part)
  if meta and meta.__call then
    call_function(prefix .. "()", function(...) return part(...) end, prefix:match "[^.]*$")
  end
end

--- The entries of these are called by masktune itself, with arguments it has checked; users call some of them whole.
local function call_entries(prefix, registry)
  for name, entry in pairs(registry) do
    local meta = getmetatable(entry)
    if meta and meta.__call then
      call_function(prefix .. "." .. name .. "()", function(...) return entry(...) end, name)
    end
  end
end

local seen = {}
for _, value in pairs(core) do
  seen[value] = true
end
seen[mt.selective.methods] = true
calls_each = 60
for _, name in ipairs{
  "cam_quality", "checkpoint", "choose", "data", "embeddings", "evaluate", "explain", "figure", "json", "masktune",
  "metrics", "models", "notice", "plot", "progress", "registry", "report", "schedule", "selective", "tables", "train",
} do
  call_part("mt." .. name, mt[name], seen)
end
for _, name in ipairs{ "cam", "groups", "losses", "methods" } do call_entries("mt." .. name, mt[name]) end
call_entries("mt.selective.methods", mt.selective.methods)
objects = nil
collectgarbage()
print("done: " .. total .. " calls")
