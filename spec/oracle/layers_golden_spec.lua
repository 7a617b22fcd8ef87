local mt = require "masktune"
local cases = require "oracle.cases"
local layers = require "oracle.layers"

local folder = "spec/golden/"

describe("PyTorch's layers (spec/golden/generate_layers.py) agree with ours:", function()
  local golden = mt.load(folder .. "layers.safetensors")
  local isa = mt.isa()
  after_each(function() mt.isa(isa) end)
  for _, name in ipairs{ "avx512", "avx2", "plain" } do
    if pcall(mt.isa, name) then
      mt.isa(isa)
      for _, case in ipairs(cases.read(folder .. "layers.json")) do
        it(case.name .. " on " .. name, function()
          mt.isa(name)
          layers.check(case, cases.tensors_of(case, golden))
        end)
      end
    end
  end
end)
