--- Learning rates over epochs, or over steps.
-- A schedule answers `schedule:lr(epoch)` for epoch 1, 2, ... and holds no state, so a run that starts again in the
-- middle needs nothing but the number of the epoch. One that changes within an epoch has a second method,
-- `schedule:step_lr(step, total_steps)`, for the steps of the whole run counted from 1; a training loop asks it before
-- every step where it is there. The values are those of PyTorch's schedulers. Anything with such methods is a schedule:
-- a table of your own does as well.
-- @module masktune.schedule
local check = require "masktune.check"

local schedule = {}

local rate = { type = "number", above = 0 }
local factor = { type = "number", above = 0, default = 0.1 }
local count = { type = "integer", min = 1 }
local start = { type = "number", above = 0, max = 1, default = 1 / 3 }
local function divisor(default) return { type = "number", above = 0, default = default } end

-- A wrapped schedule's rate when `passed` epochs, whole or not, have passed; set below.
local rate_after

-- From `first` to `last` as `share` goes from 0 to 1.
local anneal = {
  cos = function(first, last, share) return last + (first - last) / 2 * (math.cos(math.pi * share) + 1) end,
  linear = function(first, last, share) return (last - first) * share + first end,
}

--- The phases of one_cycle: the step each ends with, counted from 0, and the rate there.
local function one_cycle_phases(o, total)
  local initial, rise = o.lr / o.div_factor, o.pct_start * total
  local lowest = initial / o.final_div_factor
  if not o.three_phase then return initial, { { rise - 1, o.lr }, { total - 1, lowest } } end
  return initial, { { rise - 1, o.lr }, { 2 * rise - 2, initial }, { total - 1, lowest } }
end

local function one_cycle_at(o, step, total)
  local from_rate, phases = one_cycle_phases(o, total)
  local from_step = 0
  for i, phase in ipairs(phases) do
    local to_step, to_rate = phase[1], phase[2]
    if step <= to_step or i == #phases then
      local length = to_step - from_step
      return anneal[o.anneal_strategy](from_rate, to_rate, length > 0 and (step - from_step) / length or 1)
    end
    from_step, from_rate = to_step, to_rate
  end
end

local function warmup_factor(o, passed, length) return o.start + (1 - o.start) * passed / length end

--- Kind -> what it takes, the rate when `passed` epochs (0 in the first; fractions within an epoch) have passed, and
-- for those that change with every step `at_step(o, step, total)`, the rate in step 1, 2, ... of `total`.
local kinds = {
  constant = {
    schema = { lr = rate },
    rate = function(o) return o.lr end,
  },
  step = {
    schema = { lr = rate, every = count, factor = factor },
    rate = function(o, passed) return o.lr * o.factor ^ (passed // o.every) end,
  },
  multi_step = {
    schema = { lr = rate, milestones = { type = "list", of = count }, factor = factor },
    rate = function(o, passed)
      local reached = 0
      for _, milestone in ipairs(o.milestones) do
        if passed >= milestone then reached = reached + 1 end
      end
      return o.lr * o.factor ^ reached
    end,
  },
  exponential = {
    schema = { lr = rate, factor = { type = "number", above = 0 } },
    rate = function(o, passed) return o.lr * o.factor ^ passed end,
  },
  polynomial = {
    schema = { lr = rate, epochs = count, power = { type = "number", above = 0, default = 1 } },
    rate = function(o, passed) return o.lr * (1 - math.min(passed, o.epochs) / o.epochs) ^ o.power end,
  },
  cosine = {
    schema = { lr = rate, epochs = count, min = { type = "number", min = 0, default = 0 } },
    rate = function(o, passed) return o.min + (o.lr - o.min) * (1 + math.cos(math.pi * passed / o.epochs)) / 2 end,
  },
  warm_restarts = {
    schema = {
      lr = rate, epochs = count, mult = { type = "integer", min = 1, default = 1 },
      min = { type = "number", min = 0, default = 0 },
    },
    rate = function(o, passed)
      local length = o.epochs
      if o.mult == 1 then passed = passed % length end
      while passed >= length do
        passed, length = passed - length, length * o.mult
      end
      return o.min + (o.lr - o.min) * (1 + math.cos(math.pi * passed / length)) / 2
    end,
  },
  one_cycle = {
    schema = {
      lr = rate, epochs = count, pct_start = { type = "number", min = 0, max = 1, default = 0.3 },
      anneal_strategy = { choices = { "cos", "linear" }, default = "cos" },
      div_factor = divisor(25), final_div_factor = divisor(1e4), three_phase = { type = "boolean", default = false },
    },
    rate = function(o, passed)
      check.argument("schedule:lr", "epoch", passed + 1, { type = "integer", min = 1, max = o.epochs })
      return one_cycle_at(o, passed, o.epochs)
    end,
    at_step = function(o, step, total) return one_cycle_at(o, step - 1, total) end,
  },
  per_step = {
    schema = { schedule = { type = "any" }, epochs = count },
    rate = function(o, passed) return rate_after(o.schedule, passed) end,
    at_step = function(o, step, total) return rate_after(o.schedule, (step - 1) * o.epochs / total) end,
  },
  warmup = {
    schema = { schedule = { type = "any" }, epochs = count, start = start },
    rate = function(o, passed)
      if passed >= o.epochs then return rate_after(o.schedule, passed - o.epochs) end
      return rate_after(o.schedule, 0) * warmup_factor(o, passed, o.epochs)
    end,
  },
  warmup_steps = {
    schema = { schedule = { type = "any" }, steps = count, start = start },
    rate = function(o, passed) return rate_after(o.schedule, passed) end,
    at_step = function(o, step, total)
      if step > o.steps then return o.schedule:step_lr(step - o.steps, total - o.steps) end
      return o.schedule:step_lr(1, math.max(1, total - o.steps)) * warmup_factor(o, step - 1, o.steps)
    end,
  },
}

local function has_own_text(value)
  local meta = getmetatable(value)
  return type(meta) == "table" and meta.__tostring ~= nil
end

local function option_text(value)
  if type(value) == "number" then return ("%.12g"):format(value) end
  if type(value) ~= "table" or has_own_text(value) then return tostring(value) end
  return type(value.lr) == "function" and "custom" or "{" .. table.concat(value, ", ") .. "}"
end

local function schedule_text(self)
  local parts = {}
  for name in pairs(kinds[self.kind].schema) do
    parts[#parts + 1] = name .. " = " .. option_text(self.options[name])
  end
  table.sort(parts)
  return ("%s{%s}"):format(self.kind, table.concat(parts, ", "))
end

local Schedule = { __name = "masktune.Schedule", __tostring = schedule_text }
Schedule.__index = Schedule

--- Those with `step_lr`.
local StepSchedule = { __name = "masktune.Schedule", __tostring = schedule_text }
StepSchedule.__index = StepSchedule

--- The rate in an epoch.
-- @tparam integer epoch 1 for the first
-- @treturn number
function Schedule:lr(epoch)
  check.argument("schedule:lr", "epoch", epoch, count)
  return kinds[self.kind].rate(self.options, epoch - 1)
end
StepSchedule.lr = Schedule.lr

--- The rate in a step of the run; only `one_cycle`, `per_step` and `warmup_steps` have it.
-- @tparam integer step 1 for the first of the run
-- @tparam integer total_steps of the whole run
-- @treturn number
-- @function Schedule:step_lr
function StepSchedule:step_lr(step, total_steps)
  check.argument("schedule:step_lr", "total_steps", total_steps, count)
  check.argument("schedule:step_lr", "step", step, { type = "integer", min = 1, max = total_steps })
  return kinds[self.kind].at_step(self.options, step, total_steps)
end

function rate_after(a_schedule, passed)
  local meta = getmetatable(a_schedule)
  if meta ~= Schedule and meta ~= StepSchedule then return a_schedule:lr(passed + 1) end
  return kinds[a_schedule.kind].rate(a_schedule.options, passed)
end

local function build(kind, options)
  local checked = check.options("mt.schedule." .. kind, options, kinds[kind].schema)
  return setmetatable({ kind = kind, options = checked }, kinds[kind].at_step and StepSchedule or Schedule)
end

--- One that wraps another, which must change by step or must not.
local function build_around(kind, options, by_step, hint)
  local built = build(kind, options)
  local inner = built.options.schedule
  if type(inner) ~= "table" or not check.is_callable(inner.lr) then
    check.fail("mt.schedule.%s: option 'schedule': schedule (anything with lr(self, epoch)) expected, got %s", kind,
      check.describe(inner))
  end
  if (inner.step_lr ~= nil) ~= by_step then
    check.fail("mt.schedule.%s: option 'schedule': %s, got %s", kind, hint, option_text(inner))
  end
  return built
end

--- The same rate always.
-- @tparam table options `lr`
function schedule.constant(options) return build("constant", options) end

--- `lr * factor ^ ((epoch - 1) // every)` (StepLR).
-- @tparam table options `lr`, `every` (epochs), `factor` (0.1)
function schedule.step(options) return build("step", options) end

--- `lr` times `factor` for each milestone passed: milestone 30 first shows in epoch 31 (MultiStepLR).
-- @tparam table options `lr`, `milestones` (epochs), `factor` (0.1)
function schedule.multi_step(options) return build("multi_step", options) end

--- `lr * factor ^ (epoch - 1)` (ExponentialLR).
-- @tparam table options `lr`, `factor`
function schedule.exponential(options) return build("exponential", options) end

--- `lr * (1 - (epoch - 1) / epochs) ^ power`, from epoch `epochs + 1` on 0 (PolynomialLR).
-- @tparam table options `lr`, `epochs`, `power` (1: a straight line)
function schedule.polynomial(options) return build("polynomial", options) end

--- From `lr` down to `min` on half a cosine: `lr` in epoch 1, `min` in epoch `epochs + 1` (CosineAnnealingLR).
-- @tparam table options `lr`, `epochs`, `min` (0)
function schedule.cosine(options) return build("cosine", options) end

--- Half cosines from `lr` towards `min`, each beginning anew at `lr` (CosineAnnealingWarmRestarts; Loshchilov and
-- Hutter 2017). The first takes `epochs` epochs, every further one `mult` times as many as the one before.
-- @tparam table options `lr`, `epochs`, `mult` (1, an integer), `min` (0)
function schedule.warm_restarts(options) return build("warm_restarts", options) end

--- Up from `lr / div_factor` to `lr`, then down to `lr / div_factor / final_div_factor`, changing with every step
-- (OneCycleLR; Smith and Topin 2018). The momentum stays as it is: it is not cycled along.
-- @tparam table options `lr` (the highest), `epochs` (of the run, for `lr(epoch)`, which is the cycle at one step an
-- epoch), `pct_start` (0.3: the share of the steps that go up), `anneal_strategy` ("cos" or "linear"), `div_factor`
-- (25), `final_div_factor` (1e4), `three_phase` (false; true: down as slowly as up, then the rest)
function schedule.one_cycle(options) return build("one_cycle", options) end

--- Another schedule, followed within epochs too: in each step the rate it gives for the epochs passed so far, whole and
-- fractional. Its own `lr` is asked with fractional epochs where it is a table of your own.
-- @tparam table options `schedule`, by epoch; `epochs` of the whole run
-- @usage mt.schedule.per_step { schedule = mt.schedule.cosine { lr = 0.1, epochs = 90 }, epochs = 90 }
function schedule.per_step(options)
  return build_around("per_step", options, false, "one that changes by epoch expected")
end

--- Rises from `start` times another schedule's first rate to that rate, on a straight line over the first epochs; then
-- the other schedule begins with its epoch 1 (SequentialLR of a LinearLR and the other).
-- @tparam table options `schedule`, by epoch; `epochs` of the rise, `start` (1/3)
-- @usage mt.schedule.warmup { schedule = mt.schedule.cosine { lr = 0.1, epochs = 85 }, epochs = 5, start = 0.01 }
function schedule.warmup(options)
  return build_around("warmup", options, false,
    "one that changes by epoch expected (warmup_steps takes those that change by step)")
end

--- The same over the first `steps` steps; then the other schedule begins with its step 1. `lr(epoch)` leaves the rise
-- out.
-- @tparam table options `schedule`, by step (`per_step` makes it from one by epoch), `steps` of the rise, `start` (1/3)
function schedule.warmup_steps(options)
  return build_around("warmup_steps", options, true, "one that changes by step expected (per_step makes one)")
end

--- The paper's biased-MNIST schedule at any length: halved after each quarter of the epochs.
-- @number lr the first rate
-- @tparam integer epochs
function schedule.quarters(lr, epochs)
  check.argument("mt.schedule.quarters", "epochs", epochs, { type = "integer", min = 1 })
  return schedule.step { lr = lr, every = math.ceil(epochs / 4), factor = 0.5 }
end

--- A schedule's rates in words ("0.01 x5, 0.005 x5"): what a checkpoint compares, whoever made the schedule. One that
-- changes by step adds what it calls itself, "custom" where it has no text.
-- @param a_schedule anything with `lr(self, epoch)`
-- @tparam integer epochs
-- @treturn string
function schedule.describe(a_schedule, epochs)
  if type(a_schedule) ~= "table" or not check.is_callable(a_schedule.lr) then
    check.fail("mt.schedule.describe: argument 'a_schedule': table with a function lr expected, got %s",
      check.describe(a_schedule))
  end
  check.argument("mt.schedule.describe", "epochs", epochs, { type = "integer", min = 0 })
  local runs = {}
  for epoch = 1, epochs do
    local text = ("%.12g"):format(a_schedule:lr(epoch))
    local last = runs[#runs]
    if last and last.text == text then
      last.count = last.count + 1
    else
      runs[#runs + 1] = { text = text, count = 1 }
    end
  end
  for i, run in ipairs(runs) do
    runs[i] = run.text .. " x" .. run.count
  end
  if a_schedule.step_lr then runs[#runs + 1] = "by step: " .. option_text(a_schedule) end
  return table.concat(runs, ", ")
end

return schedule
