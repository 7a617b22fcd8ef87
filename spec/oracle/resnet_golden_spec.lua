local mt = require "masktune"
local dkjson = require "dkjson"
local cases = require "oracle.cases"
local nets = require "oracle.nets"

local folder = "spec/golden/"

local function read_cases()
  local file = assert(io.open(folder .. "nets.json"))
  local list = assert(dkjson.decode(file:read("a")))
  file:close()
  return list
end

describe("PyTorch's logits, gradients and xGradCAM (spec/golden/generate_resnet.py) agree with ours:", function()
  local golden = mt.load(folder .. "nets.safetensors")
  for _, case in ipairs(read_cases()) do
    it(case.name, function() nets.check(case, cases.tensors_of(case, golden)) end)
  end
end)
