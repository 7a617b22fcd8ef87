local mt = require "masktune"
local dkjson = require "dkjson"
local cases = require "oracle.cases"

local folder = "spec/golden/"

local function read_cases()
  local file = assert(io.open(folder .. "cases.json"))
  local list = assert(dkjson.decode(file:read("a")))
  file:close()
  return list
end

describe("the values that PyTorch computed (spec/golden/generate.py)", function()
  for _, case in ipairs(read_cases()) do
    it(("agree with ours: %s"):format(case.name), function()
      local file = case.op == "small_cnn" and "small_cnn" or "operations"
      local theirs = cases.tensors_of(case, mt.load(folder .. file .. ".safetensors"))
      assert.is_true(cases.check(case, theirs) > 0)
    end)
  end
end)
