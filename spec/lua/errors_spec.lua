--- Errors of the core name the function as it is called in the documentation, however it was called, and blame the line
-- of the user's that led to them.
local mt = require "masktune"

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return message
end

--- The message without the place in front, and whether that is in this file.
local function parts_of(message)
  local place, rest = message:match "^([^:]+:%d+:) (.*)$"
  return rest or message, place and place:find("errors_spec.lua", 1, true) ~= nil
end

describe("an argument error", function()
  local expected = "bad argument #2 to 'Linear' (integer in [1, 1073741824] expected, got 'x')"

  it("names the function through pcall, fields, upvalues, coroutines and tail calls", function()
    local Linear, fields, key = mt.nn.Linear, { mt.nn.Linear, f = mt.nn.Linear }, "f"
    local _, resumed = coroutine.resume(coroutine.create(mt.nn.Linear), 1, "x")
    for _, message in ipairs{
      message_of(mt.nn.Linear, 1, "x"), resumed, message_of(coroutine.wrap(mt.nn.Linear), 1, "x"),
      message_of(function() return (Linear(1, "x")) end), message_of(function() return (fields[1](1, "x")) end),
      message_of(function() return (fields[key](1, "x")) end), message_of(function() return Linear(1, "x") end),
    } do
      assert.equal(expected, (parts_of(message)))
    end
  end)

  it("does not count the object of a method that was called as one", function()
    local t = mt.ones(3)
    assert.matches("bad argument #1 to 'sum'", message_of(function() t:sum(7) end), 1, true)
    assert.matches("bad argument #2 to 'sum'", message_of(t.sum, t, 7), 1, true)
    assert.matches("bad argument #1 to 'sum' (masktune.Tensor expected, got number)", message_of(t.sum, 3), 1, true)
    assert.matches("bad argument #2 to 'add'", message_of(function() return t + {} end), 1, true)
  end)

  it("says that a missing argument is missing", function()
    assert.matches("bad argument #2 to 'Linear' (integer in [1, 1073741824] expected, got no value)",
      message_of(mt.nn.Linear, 1), 1, true)
    assert.matches("bad argument #1 to 'conv2d' (masktune.Tensor expected, got no value)", message_of(mt.conv2d), 1,
      true)
  end)
end)

describe("the place in front of an error", function()
  it("is the line that called the core, or the part of masktune in Lua that did", function()
    local model, set = mt.nn.Linear(2, 2), { images = mt.ones(3, 4, 4, 3), labels = mt.tensor({ 1, 2, 1 }, "int32") }
    for _, f in ipairs{
      function() mt.nn.Linear(1, "x") end, function() model(mt.ones(3, 5)) end, function() model.colour = 3 end,
      function() mt.nn.ModuleDict{ train = model } end, function() return mt.ones(2)[{}] + mt.ones(3, 5) end,
      function() mt.evaluate(model, set) end, function() model:load_state_dict{} end,
    } do
      local _, here = parts_of(message_of(f))
      assert.is_true(here, message_of(f))
    end
  end)

  it("is missing where a function of C called, as in Lua's own messages", function()
    assert.equal("ReLU: input is nil, expected a tensor", message_of(mt.nn.ReLU(), nil))
  end)
end)

describe("a name that is not there", function()
  it("is nil, to be asked for, and Lua's own error names it where it is called", function()
    assert.is_nil(mt.nn.Conv3d)
    assert.is_nil(mt.conv3d)
    assert.is_nil(mt.models.resnet9)
    assert.matches("attempt to call a nil value (field 'Conv3d')", message_of(function() mt.nn.Conv3d(1) end), 1, true)
  end)
end)
