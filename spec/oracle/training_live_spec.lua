local mt = require "masktune"
local dkjson = require "dkjson"
local cases = require "oracle.cases"
local process = require "support.process"
local training = require "oracle.training"

local python = process.quoted(os.getenv("MASKTUNE_PYTHON") or "python3")
-- From the clock, so that every run tries something new; MASKTUNE_LIVE_SEED repeats one.
local seed = math.tointeger(tonumber(os.getenv("MASKTUNE_LIVE_SEED"))) or os.time()

-- Python is not built for the sanitizers.
describe("PyTorch, asked now #nosan", function()
  it(("trains as we do: optimisers, losses, schedules, MASKTUNE_LIVE_SEED=%d"):format(seed), function()
    if not process.run(python .. " -c 'import torch, numpy, safetensors'") then
      return pending("no python with torch, numpy and safetensors (MASKTUNE_PYTHON names one)")
    end
    process.with_folder(function(folder)
      local script = ("%s -B spec/oracle/training_case.py %d %s"):format(python, seed, process.quoted(folder))
      local ran, output = process.run(script)
      assert(ran, output)
      local tensors = mt.load(folder .. "/live.safetensors")
      local complaints = {}
      for _, case in ipairs(cases.read(folder .. "/cases.json")) do
        local ok, message = pcall(training.check, case, cases.tensors_of(case, tensors))
        if not ok then complaints[#complaints + 1] = message .. "\n  " .. dkjson.encode(case) end
      end
      assert.equal("", table.concat(complaints, "\n"))
    end)
  end)
end)
