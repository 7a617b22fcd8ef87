local mt = require "masktune"
local cases = require "oracle.cases"
local training = require "oracle.training"

local folder = "spec/golden/"

describe("PyTorch's optimisers, losses and schedules (spec/golden/training.py) agree with ours:", function()
  local golden = mt.load(folder .. "training.safetensors")
  for _, case in ipairs(cases.read(folder .. "training.json")) do
    it(("%s %s"):format(case.kind, case.name), function() training.check(case, cases.tensors_of(case, golden)) end)
  end
end)
