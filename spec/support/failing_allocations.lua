--- Fails allocations in the midst of everything: for every n, the n-th and all that follow, and the n-th alone.
-- Run as a program of its own, with support/failing.c preloaded and where package.cpath finds it:
--     lua5.4 failing_allocations.lua native|lua FOLDER MOST [NAME...]
-- "lua" fails those of the interpreter as well. At most MOST values of n are tried for each subject, spread over all.
-- Each time: an error that says what happened, or success; nothing is kept; and the next call gives what it should.
-- The last line printed says how many failures there were; the line before it names the subject in hand.
local failing = require "failing"
local mt = require "masktune"
local nn = mt.nn

local with_lua, folder, most = arg[1] == "lua", arg[2], tonumber(arg[3])
local wanted = {}
for i = 4, #arg do wanted[arg[i]] = true end

mt.set_num_threads(2)

local function path(name) return folder .. "/" .. name end

--- name -> a function that makes the subject: what is called again and again, and gives something to compare.
local subjects, order = {}, {}
local function subject(name, make)
  subjects[name], order[#order + 1] = make, name
end

local function labels(count)
  local values = {}
  for i = 1, count do values[i] = i % 2 + 1 end
  return mt.tensor(values, { dtype = "int32" })
end

local function training(model, images, make_optimizer)
  local truth = labels(images:size(1))
  return function()
    model:train()
    local optimizer = make_optimizer(model:parameters())
    optimizer:zero_grad()
    mt.manual_seed(7)
    local loss = mt.cross_entropy(model(images), truth)
    loss:backward()
    optimizer:step()
    return loss:item() == loss:item()
  end
end

local function sgd(parameters) return mt.optim.sgd(parameters, { lr = 1e-3, momentum = 0.9 }) end
local function adam(parameters) return mt.optim.adam(parameters, { lr = 1e-3 }) end

subject("training step, stages", function()
  return training(mt.models.small_cnn{ classes = 2, input = { 16, 16, 3 } }, mt.rand(6, 16, 16, 3), sgd)
end)

subject("training step, residual", function()
  return training(mt.models.resnet20{ classes = 2 }, mt.rand(3, 8, 8, 3), adam)
end)

subject("training step, one layer after the other", function()
  local model = nn.Module{
    first = nn.Conv2d(3, 6, 5, { stride = 2, padding = 2 }), norm = nn.BatchNorm2d(6), head = nn.Linear(6 * 2 * 2, 2),
    forward = function(self, x)
      x = self.norm(self.first(x):relu()):clamp(-2, 2)
      x = mt.max_pool2d(x, { kernel = 2 }) + mt.avg_pool2d(x, { kernel = 2 })
      x = mt.dropout(mt.flatten(x), 0.2)
      return (self.head(x) * 2 - 1):log_softmax(2)
    end,
  }
  return training(model, mt.rand(4, 8, 8, 3), sgd)
end)

subject("evaluation", function()
  local model, images = mt.models.resnet20{ classes = 2 }, mt.rand(3, 8, 8, 3)
  model:eval()
  return function()
    return mt.no_grad(function() return model(images):softmax(2):sum():item() end)
  end
end)

for _, method in ipairs{ "xgradcam", "gradcam" } do
  subject("masks by " .. method, function()
    local model, images = mt.models.small_cnn{ classes = 2, input = { 16, 16, 3 } }, mt.rand(5, 16, 16, 3)
    return function()
      local heat = mt.cam[method](model, images, { layer = model.cam_layer })
      local keep = mt.mask.threshold(heat, { protocol = "reference", k = 1, size = { 16, 16 } })
      return mt.mask.apply(images, keep):sum():item()
    end
  end)
end

subject("nets, their states and copies", function()
  return function()
    local net = nn.Sequential{
      { "features", nn.Sequential{
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1),
      } },
      { "block", nn.Residual{ nn.Conv2d(4, 4, 3, { padding = 1 }), nn.BatchNorm2d(4) } },
      { "pool", nn.GlobalAvgPool2d() }, { "head", nn.Linear(4, 2) },
    }
    local copy = net:clone()
    copy:load_state_dict(net:state_dict())
    return #tostring(copy)
  end
end)

subject("tensors", function()
  local t = mt.rand(3, 5, 7)
  return function()
    local u = mt.cat({ t, t:permute(1, 2, 3) }, 2):index(mt.tensor({ 2, 1 }, { dtype = "int32" }))
    local v = mt.stack({ u:exp(), mt.where(u:gt(0.5), u, -u) }, 1)
    local w = v:sum(1):max(2):std():item() + mt.tensor{ { 1, 2 }, { 3, 4 } }:matmul(mt.ones(2, 2)):mean():item()
    w = w + mt.lstsq(mt.ones(3, 2), mt.ones(3, 4)):sum():item()
    return w + #v:totable() + #tostring(t)
  end
end)

subject("augmentation and drawing", function()
  local images = mt.rand(4, 12, 12, 3)
  return function()
    local turned = mt.image.affine(images, { angle = 20 })
    local small = mt.image.resize(mt.image.flip(turned), { size = { 7, 9 } })
    return mt.image.normalize(small, { mean = { 0.5, 0.5, 0.5 }, std = { 1, 1, 1 } }):sum():item()
  end
end)

-- ---- files ----

subject("writing and reading safetensors", function()
  local state = { a = mt.rand(3, 4), b = mt.ones(5):to("uint8"), c = labels(3) }
  return function()
    mt.save(path "a.safetensors", state, { note = "x" })
    return mt.load(path "a.safetensors").a:sum():item()
  end
end)

for _, name in ipairs{
  "checkpoint_pickles.th", "checkpoint_zip.pth", "state_pickles.th", "state_protocol4.pth", "state_zip.pth",
} do
  subject("reading " .. name, function()
    local file = "spec/golden/torch/" .. name
    return function()
      local count = 0
      for _ in pairs(mt.load(file)) do count = count + 1 end
      return count
    end
  end)
end

subject("writing and reading PNG", function()
  local picture = (mt.rand(9, 8, 3) * 255):to("uint8")
  return function()
    mt.image.write_png(path "a.png", picture)
    return mt.image.read_png(path "a.png"):sum():item()
  end
end)

subject("writing and reading JPEG", function()
  local picture = (mt.rand(17, 20, 3) * 255):to("uint8")
  return function()
    mt.image.write_jpeg(path "a.jpg", picture)
    return mt.image.read_jpeg(path "a.jpg"):sum():item()
  end
end)

subject("reading many pictures", function()
  local picture = (mt.rand(9, 8, 3) * 255):to("uint8")
  mt.image.write_png(path "1.png", picture)
  mt.image.write_jpeg(path "2.jpg", picture)
  return function()
    local images = mt.zeros({ 3, 6, 6, 3 }, { dtype = "uint8" })
    local problems = mt.image.read_files({ path "1.png", path "2.jpg", path "1.png" }, images)
    local _, problem = next(problems)
    if problem then error(problem, 0) end
    return images:sum():item()
  end
end)

subject("gzip", function()
  mt.write_file(path "a.gz", mt.gzip(("text "):rep(500)))
  return function() return #mt.gunzip(path "a.gz") + #mt.md5(mt.read_file(path "a.gz")) + #mt.gzip("text") end
end)

subject("a MATLAB file", function()
  local matfile = require "support.matfile"
  mt.write_file(path "a.mat", matfile.file(matfile.array{ name = "X", sizes = { 4, 3 }, values = ("\7"):rep(12) }))
  return function() return mt.read_mat(path "a.mat").X:sum():item() end
end)

subject("an idx file", function()
  local files = require "data.files"
  mt.write_file(path "idx", mt.gzip(files.idx({ 2, 3, 4 }, ("x"):rep(24))))
  return function() return mt.data.read_idx(path "idx"):sum():item() end
end)

subject("folders", function()
  return function()
    mt.make_directory(path "deep/er")
    mt.write_file(path "deep/er/x", "text")
    local count = #mt.list_directory(path "deep")
    mt.remove_file(path "deep/er/x")
    return count
  end
end)

-- ---- the loop ----

local function settle()
  collectgarbage()
  collectgarbage()
  mt.empty_cache()
  return failing.live()
end

local known = { "out of memory", "not enough memory", "Cannot allocate memory", "emory" }
local function says_so(message)
  for _, text in ipairs(known) do
    if tostring(message):find(text, 1, true) then return true end
  end
  return false
end

--- One failure; gives whether there was any. `before`: blocks in use after a call that did not fail.
local function try(name, run, expected, before, kind, n)
  failing[kind](n, with_lua)
  local ok, result = pcall(run)
  local failures = failing.off()
  if failures == 0 then return false end
  local where = ("%s, %s %d: "):format(name, kind, n)
  if ok then
    assert(result == expected, where .. "gave " .. tostring(result) .. ", expected " .. tostring(expected))
  else
    assert(says_so(result), where .. "said: " .. tostring(result))
  end
  result = nil -- luacheck: ignore 311
  assert(run() == expected, where .. "the next call does not give what it should")
  local kept = settle() - before
  assert(kept <= 0, where .. "keeps " .. kept .. " blocks")
  return true
end

--- How many allocations a subject makes.
local function count_of(run)
  local n = 1
  repeat
    failing.only(n, with_lua)
    pcall(run)
    n = n * 2
  until failing.off() == 0
  local low, high = n // 4, n // 2
  while low < high do
    local middle = (low + high + 1) // 2
    failing.only(middle, with_lua)
    pcall(run)
    if failing.off() > 0 then low = middle else high = middle - 1 end
  end
  return low
end

local total = 0
for _, name in ipairs(order) do
  if next(wanted) == nil or wanted[name] then
    mt.manual_seed(1)
    local run = subjects[name]()
    local expected
    for _ = 1, 3 do expected = run() end
    local count = count_of(run)
    print(("%s: %d allocations"):format(name, count))
    io.stdout:flush()
    local step = math.max(1, count / most)
    assert(run() == expected, name .. ": does not give the same twice")
    local before = settle()
    for kind in pairs{ from = true, only = true } do
      for i = 0, math.min(count, most) - 1 do
        if try(name, run, expected, before, kind, 1 + i * step // 1) then total = total + 1 end
      end
    end
  end
end
print(("%d failures"):format(total))
