-- What the README shows is what happens: its Lua blocks run, each alone, as scripts and line by line in the REPL; what
-- it shows of the REPL is what the REPL says.
local mt = require "masktune"
local files = require "data.files"
local process = require "support.process"
local sources = require "masktune.help.sources"

local API = "examples/manual/6_api.md"

--- The blocks of the README of one language, in order.
local function blocks(language)
  local list = {}
  for block in mt.read_file("README.md"):gmatch("\n```" .. language .. "\n(.-)\n```") do
    list[#list + 1] = block
  end
  return list
end

--- Drawn digits as MNIST's files: `count` of them for training, a tenth for the test.
local function write_mnist(folder, count)
  mt.make_directory(folder)
  for split, size in pairs { train = count, t10k = count // 10 } do
    local set = mt.data.synthetic_digits { count = size, seed = size }
    local digits = string.char(table.unpack(set.digits:totable()))
    mt.write_file(("%s/%s-images-idx3-ubyte"):format(folder, split), files.idx({ size, 28, 28 }, set.images:bytes()))
    mt.write_file(("%s/%s-labels-idx1-ubyte"):format(folder, split), files.idx({ size }, digits))
  end
end

--- Runs Lua in a folder of its own, where $MASKTUNE_DATA holds a small MNIST.
local function run(folder, arguments, input)
  mt.write_file(folder .. "/input.lua", input)
  return process.run(("cd %s && MASKTUNE_DATA=%s timeout 120 %s %s"):format(process.quoted(folder),
    process.quoted(folder .. "/mnist"), process.quoted(process.lua), arguments))
end

describe("the README's Lua", function()
  local lua = blocks "lua"

  it("is found", function() assert.is_true(#lua >= 3) end)

  for number, block in ipairs(lua) do
    local first = block:match("[^\n]*"):sub(1, 60)
    it(("block %d (%s ...) runs as a script and in the REPL #nosan"):format(number, first), function()
      process.with_folder(function(folder)
        write_mnist(folder .. "/mnist", 500)
        local ok, output = run(folder, "input.lua", block)
        assert.is_true(ok, output)
        local _, said = run(folder, "-i < input.lua", block .. "\nprint('the end')\n")
        assert.falsy(said:find("stdin:%d+:"), said)
        assert.falsy(said:find("traceback", 1, true), said)
        assert.truthy(said:find("the end", 1, true), said)
      end)
    end)
  end

  it("is what the REPL answers, where the README shows that", function()
    local shown = 0
    for block in mt.read_file("README.md"):gmatch("\n```\n(> .-)\n```") do
      shown = shown + 1
      process.with_folder(function(folder)
        local lines, expected = { 'mt = require "masktune"' }, {}
        for line in block:gmatch("[^\n]+") do
          if line:find("^> ") then lines[#lines + 1] = line:sub(3) else expected[#expected + 1] = line end
        end
        local _, output = run(folder, "-i < input.lua", table.concat(lines, "\n") .. "\n")
        for _, line in ipairs(expected) do
          assert.truthy(output:find(line, 1, true), output)
        end
      end)
    end
    assert.is_true(shown >= 1)
  end)
end)

describe("the lists of the API in one page", function()
  --- The names in a table, or the methods of a class of the core.
  local function names_of(value)
    local names = {}
    for name in pairs(value) do
      names[#names + 1] = tostring(name)
    end
    table.sort(names)
    return names
  end

  --- What the first `...` of the second cell of a row lists.
  local function listed(row)
    local text = mt.read_file(API):match("\n| " .. row:gsub("%p", "%%%0") .. " | `([^`]*)`")
    assert.is_string(text, row)
    local names = {}
    for name in text:gmatch("%S+") do
      names[#names + 1] = name
    end
    return names
  end

  local functions, samplers = {}, {}
  for name, value in pairs(require "masktune.core") do
    if type(value) == "function" then functions[name] = true end
  end
  for name in pairs(mt.data.samplers) do
    if name ~= "check" then samplers[name] = true end
  end

  for row, value in pairs {
    ["`mt`"] = functions,
    ["tensors"] = sources.methods_of "Tensor",
    ["modules"] = sources.methods_of "Module",
    ["`mt.nn`"] = mt.nn, ["`mt.models`"] = mt.models, ["`mt.optim`"] = mt.optim, ["`mt.schedule`"] = mt.schedule,
    ["`mt.losses`"] = mt.losses, ["`mt.methods`"] = mt.methods, ["`mt.groups`"] = mt.groups,
    ["`mt.selective.methods`"] = mt.selective.methods, ["`mt.cam`"] = mt.cam, ["`mt.mask`"] = mt.mask,
    ["`mt.cam_quality`"] = mt.cam_quality, ["`mt.metrics`"] = mt.metrics, ["`mt.selective`"] = mt.selective,
    ["`mt.data.sets`"] = mt.data.sets, ["`mt.image`"] = mt.image,
  } do
    it("name what there is in the row " .. row, function() assert.same(names_of(value), listed(row)) end)
  end

  it("name the samplers", function()
    local text = mt.read_file(API):match("`mt.data.samplers`: `([^`]*)`")
    assert.equal(table.concat(names_of(samplers), " "), text)
  end)
end)
