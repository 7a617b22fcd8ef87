local mt = require "masktune"
local cases = require "oracle.cases"

local folder = "spec/golden/"

describe("the values that PyTorch computed (spec/golden/generate.py)", function()
  for _, case in ipairs(cases.read(folder .. "cases.json")) do
    it(("agree with ours: %s"):format(case.name), function()
      local file = case.op == "small_cnn" and "small_cnn" or "operations"
      local theirs = cases.tensors_of(case, mt.load(folder .. file .. ".safetensors"))
      assert.is_true(cases.check(case, theirs) > 0)
    end)
  end
end)
