--- Learning rates over epochs.
-- A schedule answers `schedule:lr(epoch)` for epoch 1, 2, ... and holds no state, so a run that starts again in the
-- middle needs nothing but the number of the epoch. The values are PyTorch's (StepLR, MultiStepLR, CosineAnnealingLR,
-- stepped once an epoch). Anything with such a method is a schedule: a table of your own does as well.
-- @module masktune.schedule
local check = require "masktune.check"

local schedule = {}

local rate = { type = "number", above = 0 }
local factor = { type = "number", above = 0, default = 0.1 }
local count = { type = "integer", min = 1 }

--- Kind -> what it takes and the rate at an epoch.
local kinds = {
  constant = {
    schema = { lr = rate },
    lr = function(o) return o.lr end,
  },
  step = {
    schema = { lr = rate, every = count, factor = factor },
    lr = function(o, epoch) return o.lr * o.factor ^ ((epoch - 1) // o.every) end,
  },
  multi_step = {
    schema = { lr = rate, milestones = { type = "list", of = count }, factor = factor },
    lr = function(o, epoch)
      local passed = 0
      for _, milestone in ipairs(o.milestones) do
        if epoch > milestone then passed = passed + 1 end
      end
      return o.lr * o.factor ^ passed
    end,
  },
  cosine = {
    schema = { lr = rate, epochs = count, min = { type = "number", min = 0, default = 0 } },
    lr = function(o, epoch)
      return o.min + (o.lr - o.min) * (1 + math.cos(math.pi * (epoch - 1) / o.epochs)) / 2
    end,
  },
}

local function option_text(value)
  if type(value) ~= "table" then return ("%.12g"):format(value) end
  return "{" .. table.concat(value, ", ") .. "}"
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

--- The rate in an epoch.
-- @tparam integer epoch 1 for the first
-- @treturn number
function Schedule:lr(epoch)
  check.argument("schedule:lr", "epoch", epoch, count)
  return kinds[self.kind].lr(self.options, epoch)
end

local function build(kind, options)
  local checked = check.options("mt.schedule." .. kind, options, kinds[kind].schema, 2)
  return setmetatable({ kind = kind, options = checked }, Schedule)
end

--- The same rate always.
-- @tparam table options `lr`
function schedule.constant(options) return build("constant", options) end

--- `lr * factor ^ ((epoch - 1) // every)`.
-- @tparam table options `lr`, `every` (epochs), `factor` (0.1)
function schedule.step(options) return build("step", options) end

--- `lr` times `factor` for each milestone passed: milestone 30 first shows in epoch 31.
-- @tparam table options `lr`, `milestones` (epochs), `factor` (0.1)
function schedule.multi_step(options) return build("multi_step", options) end

--- From `lr` down to `min` on half a cosine: `lr` in epoch 1, `min` in epoch `epochs + 1`.
-- @tparam table options `lr`, `epochs`, `min` (0)
function schedule.cosine(options) return build("cosine", options) end

--- The paper's biased-MNIST schedule at any length: halved after each quarter of the epochs.
-- @number lr the first rate
-- @tparam integer epochs
function schedule.quarters(lr, epochs)
  return schedule.step { lr = lr, every = math.ceil(epochs / 4), factor = 0.5 }
end

--- A schedule's rates in words ("0.01 x5, 0.005 x5"): what a checkpoint compares, whoever made the schedule.
-- @param a_schedule anything with `lr(self, epoch)`
-- @tparam integer epochs
-- @treturn string
function schedule.describe(a_schedule, epochs)
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
  return table.concat(runs, ", ")
end

return schedule
