local mt = require "masktune"
local api = require "masktune.help.api"
local comments = require "masktune.help.comments"
local process = require "support.process"
local sources = require "masktune.help.sources"

--- Every public function: its full name, and {name =, value =, entry =}.
local function each_function()
  return coroutine.wrap(function()
    for _, page in ipairs(api.pages()) do
      for _, item in ipairs(page.registry and {} or page.functions) do
        coroutine.yield(("%s%s%s"):format(page.name, page.class and ":" or ".", item.name), item)
      end
    end
  end)
end

describe("documentation", function()
  it("is there for every public function", function()
    local missing, count = {}, 0
    for name, item in each_function() do
      count = count + 1
      if not item.entry or #item.entry.summary == 0 then missing[#missing + 1] = name end
    end
    assert.same({}, missing)
    assert.is_true(count > 350, count)
  end)

  it("is there for every class of the core and every part", function()
    for _, class in ipairs(sources.classes) do
      assert.is_true(next(sources.methods_of(class)) ~= nil, class)
    end
    for _, part in ipairs(api.parts()) do
      assert.is_true(#mt.help.text(part) > 20, part)
    end
  end)

  it("is there for everything that is found by name", function()
    for _, kind in ipairs { "cam", "methods", "losses", "models" } do
      for name in pairs(mt[kind]) do
        assert.truthy(mt.help.text(("%s.%s"):format(kind, name)):find("%a+ %a+"), name)
      end
    end
  end)

  it("names the parameters that a Lua function has", function()
    for name, item in each_function() do
      local entry, value = item.entry, item.value
      local info = type(value) == "function" and debug.getinfo(value, "Su")
      if info and info.what ~= "C" and entry and #entry.params > 0 and not info.isvararg then
        local named = {}
        for _, parameter in ipairs(entry.params) do named[#named + 1] = parameter.name end
        local actual = {}
        for i = 1, info.nparams do actual[i] = debug.getlocal(value, i) end
        if actual[1] == "self" or actual[1] == "_" then table.remove(actual, 1) end
        assert.same(actual, named, name)
      end
    end
  end)
end)

describe("mt.help", function()
  it("shows what a function takes and gives", function()
    local text = mt.help.text "conv2d"
    assert.equal(text, mt.help.text "mt.conv2d")
    assert.equal("mt.conv2d(input, weight[, bias][, options])", text:match "^[^\n]*")
    assert.truthy(text:find("\n  input (Tensor): {N,H,W,I} float32\n", 1, true), text)
    assert.truthy(mt.help.text "Tensor:norm":find("p (number = 2)", 1, true))
    assert.truthy(mt.help.text(mt.train):find("micro_batch", 1, true))
    assert.truthy(mt.help.text(mt.metrics.accuracy):find("predictions", 1, true))
  end)

  it("keeps to the width of a page", function()
    for _, name in ipairs { "train", "conv2d", "cam", "nn", "selective", "Tensor" } do
      for line in mt.help.text(name):gmatch "[^\n]+" do
        assert.is_true(#line <= 100, line)
      end
    end
  end)

  it("finds a method by its own name, and says where there are several", function()
    assert.equal(mt.help.text "Tensor:argsort", mt.help.text "argsort")
    assert.equal("'step' is Optimizer:step, mt.schedule.step", mt.help.text "step")
  end)

  it("lists what there is", function()
    local text = mt.help.text()
    for _, name in ipairs { "conv2d", "selective", "Optimizer" } do
      assert.truthy(text:find(name, 1, true), name)
    end
    assert.truthy(mt.help.text "cam":find("xgradcam", 1, true))
  end)

  it("suggests the nearest name", function()
    assert.error_matches(function() mt.help "conv2" end, "there is no 'conv2'; did you mean 'conv2d'?", 1, true)
    assert.error_matches(function() mt.help "image.resise" end, "did you mean 'resize'", 1, true)
    assert.error_matches(function() mt.help(3) end, "mt.help: .*number")
    assert.error_matches(function() mt.help {} end, "mt.help: .*table")
  end)

  it("prints in a session", function()
    local _, output = process.run(process.lua .. " -e " .. process.quoted [[require "masktune".help "Module:freeze"]])
    assert.truthy(output:find("^Module:freeze%(%)\n"), output)
  end)
end)

describe("comments", function()
  it("are read tag by tag", function()
    local text = [[
Adds. More about it
on two lines.

@function add
@tparam number a the first
@tparam[opt=2] integer|{a, b} b the second,
on two lines
@tparam ?string c
@treturn {integer, integer} the pair
@raise never
@usage add(1)]]
    assert.same({
      source = text,
      name = "add", text = "Adds. More about it\non two lines.", summary = "Adds.", raise = "never", usage = "add(1)",
      params = {
        { name = "a", type = "number", optional = false, text = "the first" },
        { name = "b", type = "integer|{a, b}", optional = true, default = "2", text = "the second,\non two lines" },
        { name = "c", type = "string", optional = true, text = "" },
      },
      returns = { { type = "{integer, integer}", text = "the pair" } },
    }, comments.parse(text))
  end)
end)

describe("the annotations for LuaLS", function()
  it("name what the module has, with types that are declared", function()
    process.with_folder(function(folder)
      local path = folder .. "/masktune.lua"
      local ok, output = process.run(("%s lua/masktune/help/pages.lua luals %s"):format(process.lua, path))
      assert.is_true(ok, output)
      local text = mt.read_file(path)
      local annotated = assert(load(text))()
      local declared = { any = true, string = true, number = true, integer = true, boolean = true, table = true,
        ["function"] = true, ["nil"] = true }
      for class in text:gmatch "%-%-%-@class (%S+)" do declared[class] = true end
      for types in text:gmatch "\n%-%-%-@[pr]%a+ %S+ (%S+)" do
        for kind in types:gmatch "[^|]+" do
          if types ~= "#" then assert.is_true(declared[kind:gsub("%[%]$", "")], types) end
        end
      end
      for name, item in each_function() do
        local inside = annotated
        for part in (name:match "^masktune%.(.*)" or ""):gmatch "[%w_]+" do
          inside = inside[part]
        end
        assert.is_not_nil(inside, name)
        assert.truthy(text:find(("[.:]%s%%f[^%%w_]"):format(item.name)), name)
      end
    end)
  end)
end)
