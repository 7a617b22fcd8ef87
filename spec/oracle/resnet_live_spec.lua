-- The same nets on fresh weights, which PyTorch computes now and hands over as a file of torch.save.
local mt = require "masktune"
local dkjson = require "dkjson"
local nets = require "oracle.nets"
local process = require "support.process"

local python = process.quoted(os.getenv("MASKTUNE_PYTHON") or "python3")
-- From the clock, so that every run tries something new; MASKTUNE_LIVE_SEED repeats one.
local seed = math.tointeger(tonumber(os.getenv("MASKTUNE_LIVE_SEED"))) or os.time()

local live_cases = {
  { net = "resnet32", classes = 10, size = { 32, 32 }, batch = 2, training = true },
  { net = "vgg16_bn", layout = "reference", classes = 10, size = { 32, 32 }, batch = 2, training = false },
  { net = "vgg16_bn", layout = "torchvision", classes = 10, size = { 32, 32 }, batch = 2, training = false },
  { net = "resnet50", classes = 5, size = { 64, 64 }, batch = 2, training = false },
}

-- The nets for photos at their own size and at an odd one near it: even seeds the first two at the odd one, odd seeds
-- the others; MASKTUNE_LIVE_SIZES=all both for each.
local odd = { 225 - 2 * (seed % 20), 181 + 2 * (seed % 23) }
for i, net in ipairs { "resnet18", "efficientnet_lite0", "resnet50", "mobilenet_v2" } do
  local is_odd = (i <= 2) == (seed % 2 == 0)
  local sizes = os.getenv "MASKTUNE_LIVE_SIZES" == "all" and { { 224, 224 }, odd } or { is_odd and odd or { 224, 224 } }
  for _, size in ipairs(sizes) do
    live_cases[#live_cases + 1] = {
      net = net, classes = 5, size = size, batch = 1, training = false, heat = 1e-4, large = true,
    }
  end
end

local function ask(case, folder)
  case.name, case.samples = case.net, 4096
  local text = process.quoted(dkjson.encode(case))
  local script = ("%s -B spec/oracle/resnet_case.py %d %s %s"):format(python, seed, process.quoted(folder), text)
  local ok, output = process.run(script)
  if not ok and output:match("no salt keeps clear of every kink") then return nil end
  assert(ok, output)
  return mt.load(folder .. "/results.safetensors"), mt.load(folder .. "/weights.pth")
end

-- What PyTorch's side of a net needs besides PyTorch.
local packages = { efficientnet_lite0 = "efficientnet_lite_pytorch", mobilenet_v2 = "torchvision" }

-- Python is not built for the sanitizers.
describe(("PyTorch, asked now, MASKTUNE_LIVE_SEED=%d #nosan"):format(seed), function()
  local installed = {}
  for _, case in ipairs(live_cases) do
    it(("agrees on %s %s, %dx%d"):format(case.net, case.layout or "", case.size[1], case.size[2]), function()
      local needs = table.concat({ "torch", "numpy", "safetensors", packages[case.net] }, ", ")
      if installed[needs] == nil then installed[needs] = process.run(("%s -c 'import %s'"):format(python, needs)) end
      if not installed[needs] then
        return pending(("no python with %s (MASKTUNE_PYTHON names one)"):format(needs))
      end
      process.with_folder(function(folder)
        local results, weights = ask(case, folder)
        if not results then return pending("these seeds all put an activation on a kink") end
        nets.check(case, results, weights)
      end)
    end)
  end
end)
