--- Calls every function and method of the core with arguments that make no sense, and prints how many calls there were.
-- Run as a program of its own, in an empty folder, because what it looks for is a crash:
--     lua5.4 junk_calls.lua [wide]
-- "wide" adds sizes that would be allocated if nothing stopped them; for a process whose memory is limited.
-- The last line printed names the function that was being called.
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

--- Calls f with n random arguments, the first one being `first` where given.
local function call(f, first, n)
  local arguments = {}
  for i = 1, n do
    arguments[i] = random_value()
  end
  if first then
    arguments[1] = first
    n = math.max(n, 1)
  end
  total = total + 1
  local ok, message = pcall(f, table.unpack(arguments, 1, n))
  if not ok and type(message) ~= "string" and message ~= arguments[2] then
    error "the error is not a message"
  end
end

local function call_function(name, f)
  io.stdout:write(name, "\n")
  io.stdout:flush()
  for i = 1, calls_each do
    call(f, nil, i % 6)
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
    call(f, own[1] and math.random() < 0.8 and own[math.random(#own)], i % 5)
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
      call_function(prefix .. name, t[name])
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
objects = nil
collectgarbage()
print("done: " .. total .. " calls")
