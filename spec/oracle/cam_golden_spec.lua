local mt = require "masktune"
local cams = require "oracle.cams"
local cases = require "oracle.cases"

local folder = "spec/golden/"

describe("the heatmaps of the Python package grad-cam (spec/golden/generate_cams.py) agree with ours:", function()
  local golden = mt.load(folder .. "cams.safetensors")
  for _, case in ipairs(cases.read(folder .. "cams.json")) do
    it(case.name, function()
      local compared = case.percentiles and 25 or 20
      assert.equal(compared, cams.check(case, cases.tensors_of(case, golden)))
    end)
  end
end)
