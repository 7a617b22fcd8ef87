--- Optimisers, clipping, losses and schedules against PyTorch's values: spec/golden/training.py is the other side and
-- has the same names.
local mt = require "masktune"

local training = {}

local FORWARD, GRADIENT, RATE = 1e-5, 1e-4, 1e-12

-- ---- optimisers ----

--- The case's groups with their tensors.
local function groups_of(case, params)
  local groups, at = {}, 0
  for i, group in ipairs(case.groups) do
    local own = {}
    for j = 1, #group.shapes do
      own[j] = params[at + j]
    end
    at = at + #own
    groups[i] = { params = own }
    for name, value in pairs(group.options) do
      groups[i][name] = value
    end
  end
  return groups
end

local function has(list, value)
  for _, item in ipairs(list or {}) do
    if item == value then return true end
  end
  return false
end

local function start_of(case, theirs)
  local params, after = {}, {}
  for i = 1, math.huge do
    local start = theirs["start." .. i]
    if not start then return params, after, groups_of(case, params) end
    params[i], after[i] = start:clone():requires_grad(true), {}
  end
end

local function give_gradients(case, theirs, params, step)
  for i, p in ipairs(params) do
    if case.frozen_from and case.frozen_from[tostring(i)] == step then p:requires_grad(false) end
    if p:requires_grad() and not has((case.without_gradient or {})[tostring(step)], i) then
      (p * theirs["gradient." .. i][step]):sum():backward()
    end
  end
end

local function clip(case, params)
  if case.clip_grad_value then mt.optim.clip_grad_value(params, case.clip_grad_value) end
  local o = case.clip_grad_norm
  if not o then return 0 end
  local norm_type = o.norm_type == "inf" and math.huge or o.norm_type
  return mt.optim.clip_grad_norm(params, o.max_norm, { norm_type = norm_type })
end

local runs = {}

function runs.optimizer(case, theirs)
  local params, after, groups = start_of(case, theirs)
  local optimiser = mt.optim[case.optimizer](#groups == 1 and params or groups, case.options)
  local norms = {}
  for step = 1, case.steps do
    local rate = case.lr_at and case.lr_at[tostring(step)]
    if rate then optimiser:set_lr(rate) end
    optimiser:zero_grad()
    give_gradients(case, theirs, params, step)
    norms[step] = clip(case, params)
    optimiser:step()
    for i, p in ipairs(params) do
      after[i][step] = p:detach():clone()
    end
  end
  local results = { norms = mt.tensor(norms) }
  for i in ipairs(params) do
    results["after." .. i] = mt.stack(after[i], 1)
  end
  for name, value in pairs(optimiser:state_dict()) do
    if name:find("^%a[%a_]*%.%d+$") and not name:find("^step") then results[name] = value end
  end
  return results
end

-- ---- losses ----

function runs.loss(case, theirs)
  local x, t = theirs.x:requires_grad(true), theirs.t and theirs.t:requires_grad(true)
  local options = { weight = theirs.weight, pos_weight = theirs.pos_weight }
  for name, value in pairs(case.options) do
    options[name] = value
  end
  local y = mt[case.loss](x, theirs.labels or t, options)
  y:backward(theirs.r)
  return { y = y, grad_x = x:grad(), grad_t = t and t:grad() }
end

-- ---- comparison ----

local function norm(tensor) return math.sqrt((tensor * tensor):sum():item()) end

local inputs = { x = true, t = true, r = true, labels = true, weight = true, pos_weight = true }

local function is_input(name) return inputs[name] or name:find("^start%.") or name:find("^gradient%.") end

--- What is wrong with one of our results, or nil.
local function complaint(name, got, expected)
  if not got then return "  " .. name .. " is missing" end
  local shape, wanted = table.concat(got:shape(), ","), table.concat(expected:shape(), ",")
  if shape ~= wanted then return ("  %s has shape {%s}, PyTorch's {%s}"):format(name, shape, wanted) end
  local tolerance = name:find("^grad") and GRADIENT or FORWARD
  local distance, scale = norm(got:detach() - expected), norm(expected)
  local close = distance <= tolerance * scale -- false with NaN
  if close then return nil end
  return ("  %s: relative error %.3g, allowed %.3g"):format(name, distance / scale, tolerance)
end

--- Every result that PyTorch has must be there and close, and no others.
local function compare_tensors(case, theirs)
  local ours = runs[case.kind](case, theirs)
  local complaints, compared = {}, 0
  for name, expected in pairs(theirs) do
    if not is_input(name) then
      complaints[#complaints + 1] = complaint(name, ours[name], expected)
      compared = compared + 1
    end
  end
  for name in pairs(ours) do
    if not theirs[name] then complaints[#complaints + 1] = "  PyTorch has no " .. name end
  end
  return complaints, compared
end

--- Of a case's options, with schedules in the place of their descriptions.
local function schedule_of(kind, options)
  local own = {}
  for name, value in pairs(options) do
    own[name] = type(value) == "table" and value.kind and schedule_of(value.kind, value.options) or value
  end
  return mt.schedule[kind](own)
end

local function compare_rates(case)
  local schedule = schedule_of(case.schedule, case.options)
  if case.steps_per_epoch then
    schedule = mt.schedule.per_step { schedule = schedule, epochs = case.count // case.steps_per_epoch }
  end
  local by_step = case.by_step or case.steps_per_epoch
  local complaints = {}
  for i, expected in ipairs(case.rates) do
    local got = by_step and schedule:step_lr(i, case.count) or schedule:lr(i)
    local close = math.abs(got - expected) <= RATE * case.rates[1] + RATE * expected
    if not close then complaints[#complaints + 1] = ("  rate %d is %.17g, PyTorch's %.17g"):format(i, got, expected) end
  end
  return complaints, #case.rates
end

--- Raises with everything that is too far from PyTorch's. theirs: inputs and results by name.
function training.check(case, theirs)
  local compare = case.kind == "schedule" and compare_rates or compare_tensors
  local complaints, compared = compare(case, theirs)
  assert(compared > 0, case.name .. ": nothing to compare")
  if #complaints == 0 then return end
  table.sort(complaints)
  error(case.name .. " differs from PyTorch:\n" .. table.concat(complaints, "\n"), 0)
end

return training
