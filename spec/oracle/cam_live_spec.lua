-- The heatmaps of the Python package grad-cam on fresh weights and sizes, computed now.
local mt = require "masktune"
local cams = require "oracle.cams"
local dkjson = require "dkjson"
local process = require "support.process"

local python = process.quoted(os.getenv("MASKTUNE_PYTHON") or "python3")
-- From the clock, so that every run tries something new; MASKTUNE_LIVE_SEED repeats one.
local seed = math.tointeger(tonumber(os.getenv("MASKTUNE_LIVE_SEED"))) or os.time()

local live_cases = {
  { net = "small_cnn", classes = 3, size = { 23 + seed % 10, 33 - seed % 7 }, batch = 1, steps = 2,
    layers = { "backbone.12", "backbone.5" }, percentiles = { 20, 70 } },
  { net = "resnet20", classes = 7, size = { 27 + seed % 9, 31 - seed % 5 }, batch = 1, steps = 1,
    layers = { "layer3.2", "layer2.0" } },
}

local function ask(case, folder)
  case.name = case.net
  local text = process.quoted(dkjson.encode(case))
  local script = ("%s -B spec/oracle/cam_case.py %d %s %s"):format(python, seed, process.quoted(folder), text)
  local ok, output = process.run(script)
  if not ok and output:match("no salt keeps clear of every kink") then return nil end
  assert(ok, output)
  return mt.load(folder .. "/results.safetensors"), mt.load(folder .. "/weights.pth")
end

-- Python is not built for the sanitizers.
describe(("the Python package grad-cam, asked now, MASKTUNE_LIVE_SEED=%d #nosan"):format(seed), function()
  local found = process.run(python .. " -c 'import torch, numpy, safetensors, pytorch_grad_cam'")
  for _, case in ipairs(live_cases) do
    it("agrees on " .. case.net, function()
      if not found then return pending("no python with torch, safetensors and grad-cam (MASKTUNE_PYTHON names one)") end
      process.with_folder(function(folder)
        local results, weights = ask(case, folder)
        if not results then return pending("these seeds all put an activation on a kink") end
        assert.is_true(cams.check(case, results, weights) >= 20)
      end)
    end)
  end
end)
