--- Single tensor operations against PyTorch: the values that spec/golden/tensors.py computed, and fresh random ones.
local mt = require "masktune"
local dkjson = require "dkjson"
local cases = require "oracle.cases"
local process = require "support.process"

local FORWARD, GRADIENT = 1e-5, 1e-4

-- ---- our side of each case: tensors by name, the case -> result[, positions] ----

local operations = {
  gelu = function(t, c) return t.x:gelu{ approximate = c.approximate } end,
  softplus = function(t, c) return t.x:softplus{ beta = c.beta, threshold = c.threshold } end,
  pow = function(t) return t.x ^ t.y end,
  maximum = function(t) return mt.maximum(t.x, t.y) end,
  minimum = function(t) return mt.minimum(t.x, t.y) end,
  matmul = function(t) return mt.matmul(t.x, t.y) end,
  norm = function(t, c)
    local p = ({ inf = math.huge, ["-inf"] = -math.huge })[c.p] or c.p
    return t.x:norm(p, c.axes, { keepdim = c.keepdim })
  end,
  cumsum = function(t, c) return t.x:cumsum(c.axis) end,
  flip = function(t, c) return t.x:flip(c.axes) end,
  expand = function(t, c) return t.x:expand(c.shape) end,
  sort = function(t, c) return t.x:sort(c.axis, { descending = c.descending }) end,
  topk = function(t, c) return t.x:topk(c.k, c.axis, { largest = c.largest }) end,
  gather = function(t, c) return t.x:gather(c.axis, t.index) end,
  scatter_add = function(t, c) return t.x:scatter_add(c.axis, t.index, t.y) end,
  where = function(t) return mt.where(t.mask, t.x, t.y) end,
  masked_select = function(t) return t.x:masked_select(t.mask) end,
  masked_fill = function(t, c) return t.x:masked_fill(t.mask, c.value) end,
  nonzero = function(t) return t.x:nonzero() end,
  part = function(t, c) return t.x[c.key] end,
  rows = function(t) return t.x[t.index] end,
  masked = function(t) return t.x[t.mask] end,
  written = function(t, c)
    local x = t.x:clone()
    x[c.key] = t.v
    return x
  end,
  masked_write = function(t, c)
    local x = t.x:clone()
    x[t.mask] = c.value
    return x
  end,
  grid = function(t, c) return mt.image.grid(t.x, { columns = c.columns, padding = c.padding }) end,
}
for _, name in ipairs{
  "sigmoid", "tanh", "sin", "cos", "erf", "log1p", "expm1", "floor", "ceil", "round", "sign", "silu",
} do
  operations[name] = function(t) return t.x[name](t.x) end
end
for _, name in ipairs{ "logsumexp", "any", "all", "prod", "var", "std" } do
  operations[name] = function(t, c)
    return t.x[name](t.x, c.axes, { keepdim = c.keepdim, unbiased = c.unbiased })
  end
end

-- ---- comparison ----

local function flat(t) return t:to("float32"):reshape(t:numel()):totable() end

--- Element by element, where NaN and infinities have to be in the same places.
local function far_apart(ours, theirs, tolerance)
  for i, expected in ipairs(theirs) do
    local got = ours[i]
    local same = got == expected or got ~= got and expected ~= expected
    local close = math.abs(got - expected) <= tolerance * math.max(1, math.abs(expected)) -- false with NaN
    if not same and not close then
      return ("element %d is %s, PyTorch's %s"):format(i, got, expected)
    end
  end
end

--- By relative norm.
local function far_in_norm(ours, theirs, tolerance)
  local difference, size = 0.0, 0.0
  for i, expected in ipairs(theirs) do
    difference, size = difference + (ours[i] - expected) ^ 2, size + expected ^ 2
  end
  local close = difference <= tolerance ^ 2 * size -- false with NaN
  if not close then
    return ("relative error %.3g"):format(math.sqrt(difference / size))
  end
end

local function compare(case, name, ours, theirs, tolerance)
  local got, wanted = table.concat(ours:shape(), ","), table.concat(theirs:shape(), ",")
  if got ~= wanted then return ("%s has shape {%s}, PyTorch's {%s}"):format(name, got, wanted) end
  if ours:dtype() ~= theirs:dtype() then
    return ("%s is %s, PyTorch's %s"):format(name, ours:dtype(), theirs:dtype())
  end
  local difference = (case.special and far_apart or far_in_norm)(flat(ours), flat(theirs), tolerance)
  return difference and ("%s: %s"):format(name, difference)
end

--- Nothing, or what is different.
local function check(case, t)
  local leaves = {}
  for _, name in ipairs{ "x", "y" } do
    if t["grad_" .. name] then leaves[name] = t[name]:requires_grad(true) end
  end
  local result, positions = operations[case.op](t, case)
  if positions and t.positions then
    local problem = compare(case, "positions", positions, t.positions, 0)
    if problem then return problem end
  end
  local problem = compare(case, "result", result, t.result, FORWARD)
  if problem or not t.r then return problem end
  result:backward(t.r)
  for name, leaf in pairs(leaves) do
    problem = compare(case, "gradient of " .. name, leaf:grad(), t["grad_" .. name], GRADIENT)
    if problem then return problem end
  end
end

describe("tensor operations", function()
  local file = mt.load("spec/golden/tensors.safetensors")
  for _, case in ipairs(cases.read("spec/golden/tensors.json")) do
    it(("give what PyTorch computed (spec/golden/tensors.py): %s"):format(case.name), function()
      assert.is_nil(check(case, cases.tensors_of(case, file)))
    end)
  end
end)

local python = process.quoted(os.getenv("MASKTUNE_PYTHON") or "python3")
-- From the clock, so that every run tries something new; MASKTUNE_LIVE_SEED repeats one.
local seed = math.tointeger(tonumber(os.getenv("MASKTUNE_LIVE_SEED"))) or os.time()

-- Python is not built for the sanitizers.
describe("tensor operations, PyTorch asked now #nosan", function()
  it(("agree on fresh random cases, MASKTUNE_LIVE_SEED=%d"):format(seed), function()
    if not process.run(python .. " -c 'import torch, torchvision, safetensors'") then
      pending("no python with torch, torchvision and safetensors (MASKTUNE_PYTHON names one)")
      return
    end
    process.with_folder(function(folder)
      local command = ("%s -B spec/golden/tensors.py %d %s"):format(python, seed, process.quoted(folder))
      local ok, output = process.run(command)
      assert(ok, output)
      local file, complaints = mt.load(folder .. "/tensors.safetensors"), {}
      for _, case in ipairs(cases.read(folder .. "/tensors.json")) do
        local fine, problem = pcall(check, case, cases.tensors_of(case, file))
        if not fine or problem then
          complaints[#complaints + 1] = ("%s\n  %s"):format(problem, dkjson.encode(case))
        end
      end
      assert.equal("", table.concat(complaints, "\n"))
    end)
  end)
end)
