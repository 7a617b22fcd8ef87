--- The larger nets against PyTorch's values: spec/golden/nets.py is the other side and has the same formulas and names.
local mt = require "masktune"
local cases = require "oracle.cases"

local nets = {}

local PERIOD = 65521
local FORWARD, GRADIENT = 1e-5, 1e-4

-- ---- weights by formula ----

local function key_of(name)
  local key = 0
  for i = 1, #name do
    key = (key * 31 + name:byte(i)) & 0xFFFFFFFF
  end
  return key
end

--- PERIOD numbers in [0,1) as the bytes of float32.
function nets.base_bytes(salt)
  local values = cases.pattern("base", PERIOD, salt)
  for i, value in ipairs(values) do
    values[i] = string.pack("<f", value)
  end
  return table.concat(values)
end

local function count_of(shape)
  local count = 1
  for _, size in ipairs(shape) do
    count = count * size
  end
  return count
end

--- Numbers in [0,1): the base, repeated, from a place on that the name gives.
function nets.formula(base, name, shape)
  local first, count = key_of(name) % PERIOD, count_of(shape)
  local bytes = base:rep((first + count) // PERIOD + 1)
  return mt.from_bytes(bytes:sub(4 * first + 1, 4 * (first + count)), "float32", shape)
end

function nets.weights_for(model, base)
  local weights = {}
  for name, tensor in pairs(model:state_dict()) do
    local shape = tensor:shape()
    if not name:find("num_batches_tracked", 1, true) then
      local u = nets.formula(base, name, shape)
      if #shape > 1 then
        weights[name] = (u * 2 - 1) * math.sqrt(6.0 * shape[1] / tensor:numel())
      elseif name:find("bias$") then
        weights[name] = u * 0.5
      elseif name:find("running_mean$") then
        weights[name] = u * -0.5
      else
        weights[name] = u + 0.5
      end
    end
  end
  return weights
end

-- ---- what we compute ----

function nets.build(case)
  local options = { classes = case.classes }
  if case.layout then
    options.layout = case.layout
    options.input = { case.size[1], case.size[2], 3 }
  end
  if case.net == "mobilenet_v2" or case.net == "efficientnet_lite0" then options.dropout = 0 end
  return mt.models[case.net](options)
end

local function results_of(case, model, images)
  local labels, results = {}, {}
  for i = 1, case.batch do
    labels[i] = (i - 1) * 3 % case.classes + 1
  end
  model:eval()
  mt.no_grad(function() results.logits_eval = model(images) end)
  results.heat = mt.cam.xgradcam(model, images, { layer = model.cam_layer })
  local last = mt.full({ case.batch }, case.classes):to("int32")
  results.heat_of_last_class = mt.cam.xgradcam(model, images, { layer = model.cam_layer, target = last })
  model:train(case.training)
  results.logits = model(images)
  results.loss = mt.cross_entropy(results.logits, mt.tensor(labels):to("int32"))
  results.loss:backward()
  local buffers = {}
  for name, tensor in pairs(model:state_dict()) do
    if name:find("running", 1, true) then buffers[name] = tensor end
  end
  return results, model:grad_dict(), buffers
end

-- ---- comparison ----

function nets.norm(tensor) return math.sqrt((tensor * tensor):sum():item()) end

local function compare(complaints, name, difference, scale, tolerance)
  local relative = difference / scale
  local close = relative <= tolerance -- false with NaN
  if not close then
    complaints[#complaints + 1] = ("  %s: relative error %.3g, allowed %.3g"):format(name, relative, tolerance)
  end
end

--- Every stride-th of the first elements, as nets.py samples them.
local function sample(tensor, samples)
  local count = math.min(samples, tensor:numel())
  local stride = tensor:numel() // count
  local positions = {}
  for i = 1, count do
    positions[i] = (i - 1) * stride + 1
  end
  return tensor:reshape(tensor:numel()):index(positions)
end

--- `theirs`: one vector with, for each tensor by name, its norm and a sample of its elements. `rounded`: the same as
-- PyTorch computes it with other roundings, a row each, for images so large that some activation always lies on a kink,
-- and rounding decides about it: then we may be off by twice as much as the furthest of them.
local function compare_sampled(complaints, kind, ours, theirs, case, rounded)
  local names, at = {}, 1
  for name in pairs(ours) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local mine = sample(ours[name], case.samples)
    local count, total = mine:numel(), ours[name]:numel()
    local part = theirs:narrow(1, at, count + 1)
    local their_norm, label = part[1]:item(), kind .. " of " .. name
    local scale, allowed = their_norm * math.sqrt(count / total), GRADIENT
    for row = 1, rounded and #rounded or 0 do
      local off = nets.norm(rounded[row]:narrow(1, at + 1, count) - part:narrow(1, 2, count)) / scale
      allowed = math.max(allowed, 2 * off)
    end
    compare(complaints, "norm of the " .. label, math.abs(nets.norm(ours[name]) - their_norm), their_norm, allowed)
    compare(complaints, label, nets.norm(mine - part:narrow(1, 2, count)), scale, allowed)
    at = at + count + 1
  end
  assert(at == theirs:numel() + 1, kind .. "s: PyTorch has others than we")
end

--- Raises with everything that is too far from PyTorch's. state: the weights to start from; nil: the formula's.
function nets.check(case, theirs, state)
  local base = nets.base_bytes(theirs.salt[1]:item())
  local model = nets.build(case)
  local report = model:load_state_dict(state or nets.weights_for(model, base), { strict = state ~= nil })
  assert(#report.unexpected == 0 and #report.mismatched == 0, "the weights do not fit")
  local images = nets.formula(base, "images", { case.batch, case.size[1], case.size[2], 3 })
  local results, gradients, buffers = results_of(case, model, images)
  local complaints = {}
  for name, tensor in pairs(results) do
    local expected = theirs[name]
    assert(table.concat(tensor:shape(), ",") == table.concat(expected:shape(), ","), name .. " has another shape")
    -- When the logits move by d, a mean cross-entropy moves by up to sqrt(2 / batch) * |d|.
    local scale = name == "loss" and math.sqrt(2 / case.batch) * nets.norm(theirs.logits) or nets.norm(expected)
    local tolerance = name:find("^heat") and case.heat or FORWARD
    compare(complaints, name, nets.norm(tensor:detach() - expected), scale, tolerance)
  end
  compare_sampled(complaints, "gradient", gradients, theirs.gradients, case, theirs.rounded_gradients)
  compare_sampled(complaints, "buffer", buffers, theirs.buffers, case)
  if #complaints > 0 then
    table.sort(complaints)
    error(case.name .. " differs from PyTorch:\n" .. table.concat(complaints, "\n"), 0)
  end
end

return nets
