local mt = require "masktune"
local cases = require "oracle.cases"
local nets = require "oracle.nets"

local folder = "spec/golden/"

describe("PyTorch's logits, gradients and xGradCAM (spec/golden/generate_resnet.py) agree with ours:", function()
  local golden = mt.load(folder .. "nets.safetensors")
  for _, case in ipairs(cases.read(folder .. "nets.json")) do
    it(case.name, function() nets.check(case, cases.tensors_of(case, golden)) end)
  end
end)
