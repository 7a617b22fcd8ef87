local mt = require "masktune"
local dkjson = require "dkjson"
local cases = require "oracle.cases"
local process = require "support.process"

local python = process.quoted(os.getenv("MASKTUNE_PYTHON") or "python3")
local found = process.run(python .. " -c 'import torch, numpy, safetensors'")
-- From the clock, so that every run tries something new; MASKTUNE_LIVE_SEED repeats one.
local seed = math.tointeger(tonumber(os.getenv("MASKTUNE_LIVE_SEED"))) or os.time()

local function live_case(arguments)
  local ok, output = process.run(("%s -B spec/oracle/live_case.py %s"):format(python, arguments))
  assert(ok, output)
  return output
end

-- Python is not built for the sanitizers.
describe("PyTorch, asked now #nosan", function()
  it(("agrees on fresh random cases, MASKTUNE_LIVE_SEED=%d"):format(seed), function()
    if not found then
      pending("no python with torch, numpy and safetensors (MASKTUNE_PYTHON names one)")
      return
    end
    process.with_folder(function(folder)
      live_case(("%d %s"):format(seed, process.quoted(folder)))
      local file = assert(io.open(folder .. "/cases.json"))
      local list = assert(dkjson.decode(file:read("a")))
      file:close()
      local tensors = mt.load(folder .. "/live.safetensors")
      local complaints = {}
      for _, case in ipairs(list) do
        local ok, message = pcall(cases.check, case, cases.tensors_of(case, tensors))
        if not ok then
          complaints[#complaints + 1] = message .. "\n  " .. dkjson.encode(case)
        end
      end
      assert.equal("", table.concat(complaints, "\n"))
    end)
  end)

  it("reads with the safetensors package what mt.save wrote", function()
    if not found then
      pending("no python with torch, numpy and safetensors (MASKTUNE_PYTHON names one)")
      return
    end
    process.with_folder(function(folder)
      local path = folder .. "/ours.safetensors"
      mt.save(path, {
        floats = mt.tensor{ { 0.5, -1.25, 3 }, { 1e-30, 0, 65504 } },
        bytes = mt.tensor{ 0, 7, 255 }:to("uint8"),
        integers = mt.tensor{ -5, 2000000000 }:to("int32"),
        scalar = mt.ones(4):sum(),
      })
      local hex = ("%a"):format(string.unpack("<f", string.pack("<f", 1e-30)))
      local output = live_case("--read " .. process.quoted(path))
      local seen = {}
      for name, rest in output:gmatch("(%S+) ([^\n]*)\n") do
        seen[name] = rest
      end
      local function values(text)
        local list = {}
        for word in text:match("%](.*)"):gmatch("%S+") do
          list[#list + 1] = tonumber(word)
        end
        return list
      end
      assert.truthy(seen.floats:find("^float32 %[2, 3%]"), output)
      assert.same({ 0.5, -1.25, 3.0, tonumber(hex), 0.0, 65504.0 }, values(seen.floats))
      assert.truthy(seen.bytes:find("^uint8 %[3%]"), output)
      assert.same({ 0.0, 7.0, 255.0 }, values(seen.bytes))
      assert.truthy(seen.integers:find("^int32 %[2%]"), output)
      assert.same({ -5.0, 2000000000.0 }, values(seen.integers))
      assert.truthy(seen.scalar:find("^float32 %[%]"), output)
      assert.same({ 4.0 }, values(seen.scalar))
    end)
  end)
end)
