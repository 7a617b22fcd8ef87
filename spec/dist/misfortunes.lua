-- A training in which something happens to one rank: misfortunes.lua WHAT RANK [CHECKPOINT [resume]]
local mt = require "masktune"
local what, victim, path, resume = arg[1], tonumber(arg[2]), arg[3], arg[4] == "resume"
local mine = mt.dist.rank() == victim

mt.manual_seed(3)
local set = mt.data.biased_mnist { source = mt.data.synthetic_digits { count = 120, seed = 5 }, seed = 1 }
local net = mt.models.small_cnn { classes = 2 }
if what == "nan image" then
  set.images = set.images:to("float32") / 255
  if mine then set.images[17] = 0 / 0 end
end
if what == "hang" then mt.dist.set_timeout(2) end

local function strike(_, _, run)
  if not mine or run.epoch ~= 2 or run.step ~= 2 then return end
  if what == "error" then error("the dog ate it") end
  if what == "leave" then os.exit(0) end
  if what == "status" then os.exit(3) end
  if what == "kill" then os.execute("kill -9 " .. io.open("/proc/self/stat"):read("n")) end
  if what == "hang" then os.execute("sleep 20") end
end

local result = mt.train(net, {
  train = set, val = set, epochs = 3, batch = 30, lr = 0.01, seed = 2, progress = false,
  checkpoint = path, resume = resume, after_step = strike,
  objective = what == "nan loss" and function(model, batch)
    local loss = mt.cross_entropy(model(batch.images), batch.labels)
    return mine and loss * (0 / 0) or loss
  end or nil,
})
if mt.dist.rank() == 0 then print("done", #result.history, mt.checkpoint.digest(net:state_dict())) end
