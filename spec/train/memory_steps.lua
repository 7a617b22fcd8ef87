-- Trains a small net for 10,000 steps as a user would, and prints the resident memory in kB after the first 1,000 steps
-- (by then Lua has collected its garbage several times), half-way and at the end. spec/train/memory_spec.lua reads it.
local mt = require "masktune"
local nn = mt.nn

local function resident_kb()
  for line in io.lines("/proc/self/status") do
    local kb = line:match("^VmRSS:%s*(%d+)")
    if kb then
      return tonumber(kb)
    end
  end
end

mt.set_num_threads(1)
mt.manual_seed(1)
local model = nn.Sequential{ nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2) }
local optimiser = mt.optim.sgd(model:parameters(), { lr = 0.01, momentum = 0.9 })
for step = 1, 10000 do
  local images = mt.rand(4, 8, 8, 3)
  local labels = mt.tensor{ 1, 2, 1, 2 }:to("int32")
  optimiser:zero_grad()
  local loss = mt.cross_entropy(model(images), labels)
  loss:backward()
  optimiser:step()
  if step == 1000 or step == 5000 or step == 10000 then
    print(resident_kb())
  end
end
