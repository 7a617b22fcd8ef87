-- Layers on fresh random cases, which PyTorch computes now.
local mt = require "masktune"
local dkjson = require "dkjson"
local cases = require "oracle.cases"
local layers = require "oracle.layers"
local process = require "support.process"

local python = process.quoted(os.getenv("MASKTUNE_PYTHON") or "python3")
-- From the clock, so that every run tries something new; MASKTUNE_LIVE_SEED repeats one.
local seed = math.tointeger(tonumber(os.getenv("MASKTUNE_LIVE_SEED"))) or os.time()

-- Python is not built for the sanitizers.
describe("PyTorch's layers, asked now #nosan", function()
  it(("agree on fresh random cases, MASKTUNE_LIVE_SEED=%d"):format(seed), function()
    if not process.run(python .. " -c 'import torch, numpy, safetensors'") then
      return pending("no python with torch, numpy and safetensors (MASKTUNE_PYTHON names one)")
    end
    process.with_folder(function(folder)
      local script = ("%s -B spec/oracle/layers_case.py %d %s"):format(python, seed, process.quoted(folder))
      local ok, output = process.run(script)
      assert(ok, output)
      local tensors = mt.load(folder .. "/layers.safetensors")
      local complaints = {}
      for _, case in ipairs(cases.read(folder .. "/layers.json")) do
        local agrees, message = pcall(layers.check, case, cases.tensors_of(case, tensors))
        if not agrees then complaints[#complaints + 1] = message .. "\n  " .. dkjson.encode(case) end
      end
      assert.equal("", table.concat(complaints, "\n"))
    end)
  end)
end)
