local mt = require "masktune"

local function rates(schedule, epochs)
  local list = {}
  for epoch = 1, epochs do
    list[epoch] = schedule:lr(epoch)
  end
  return list
end

local function assert_near(expected, got)
  assert.equal(#expected, #got)
  for i, value in ipairs(expected) do
    local message = ("epoch %d: %.17g, expected %.17g"):format(i, got[i], value)
    assert.is_true(math.abs(value - got[i]) <= 1e-14 * value, message)
  end
end

-- The expected rates are what PyTorch 2.15's schedulers of the same names give, one step an epoch.
describe("a schedule", function()
  it("stays where it is when constant", function()
    assert_near({ 0.3, 0.3, 0.3 }, rates(mt.schedule.constant { lr = 0.3 }, 3))
  end)

  it("steps like StepLR", function()
    local schedule = mt.schedule.step { lr = 0.1, every = 3, factor = 0.5 }
    assert_near({ 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025 }, rates(schedule, 8))
  end)

  it("steps like MultiStepLR, also past a milestone given twice", function()
    local schedule = mt.schedule.multi_step { lr = 0.1, milestones = { 2, 5 } }
    assert_near({ 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001 }, rates(schedule, 7))
    schedule = mt.schedule.multi_step { lr = 0.1, milestones = { 3, 3 }, factor = 0.5 }
    assert_near({ 0.1, 0.1, 0.1, 0.025, 0.025 }, rates(schedule, 5))
  end)

  it("falls like CosineAnnealingLR", function()
    local expected = {
      0.1, 0.0962320368593087, 0.0855017856687341, 0.06944282990207196, 0.0505, 0.03155717009792806, 0.0154982143312659,
      0.004767963140691306, 0.001,
    }
    assert_near(expected, rates(mt.schedule.cosine { lr = 0.1, epochs = 8, min = 0.001 }, 9))
  end)

  it("halves the rate after each quarter of the epochs", function()
    local schedule = mt.schedule.quarters(0.01, 20)
    assert_near({ 0.01, 0.005, 0.0025, 0.00125 }, {
      schedule:lr(5), schedule:lr(6), schedule:lr(15), schedule:lr(20),
    })
    assert_near({ 0.01 }, rates(mt.schedule.quarters(0.01, 1), 1))
    assert_near({ 0.01, 0.01, 0.005, 0.005, 0.0025, 0.0025 }, rates(mt.schedule.quarters(0.01, 6), 6))
  end)

  it("of one cycle goes up and down again over whatever number of steps the run has", function()
    local schedule = mt.schedule.one_cycle { lr = 1, epochs = 10 }
    local steps = {}
    for step = 1, 1000 do
      steps[step] = schedule:step_lr(step, 1000)
    end
    assert_near({ 1 / 25, 1, 1 / 25 / 1e4 }, { steps[1], steps[300], steps[1000] })
    for step = 2, 1000 do
      assert.is_true((steps[step] > steps[step - 1]) == (step <= 300), step)
    end
    assert_near({ 1 / 25, 1, 1 / 25 / 1e4 }, { schedule:lr(1), schedule:lr(3), schedule:lr(10) })
    assert_near({ 1 }, { mt.schedule.one_cycle({ lr = 1, epochs = 1, pct_start = 0.1 }):step_lr(1, 10) })
    assert.is_nil(mt.schedule.cosine({ lr = 1, epochs = 2 }).step_lr)
  end)

  it("per step takes the rate between the epochs, where there is one", function()
    local function per_step(inner)
      local schedule, list = mt.schedule.per_step { schedule = inner, epochs = 4 }, {}
      for step = 1, 8 do
        list[step] = schedule:step_lr(step, 8)
      end
      return list
    end
    assert_near({ 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125 },
      per_step(mt.schedule.polynomial { lr = 1, epochs = 4 }))
    assert_near({ 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5 }, per_step(mt.schedule.step { lr = 1, every = 2, factor = 0.5 }))
    assert_near({ 1, 1, 1, 1, 1, 1, 0.1, 0.1 }, per_step(mt.schedule.multi_step { lr = 1, milestones = { 3 } }))
    assert_near({ 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5 }, per_step({ lr = function(_, epoch) return epoch end }))
    local line = mt.schedule.polynomial { lr = 1, epochs = 4 }
    assert.equal(0.5, mt.schedule.per_step({ schedule = line, epochs = 4 }):lr(3))
  end)

  it("warms up to another one, by epochs or by steps", function()
    local cosine = mt.schedule.cosine { lr = 0.4, epochs = 4 }
    local warm = mt.schedule.warmup { schedule = cosine, epochs = 2, start = 0.5 }
    assert_near({ 0.2, 0.3, cosine:lr(1), cosine:lr(2) }, rates(warm, 4))
    assert_near({ 0.1, 0.55, 1 },
      rates(mt.schedule.warmup { schedule = { lr = function() return 1 end }, epochs = 2, start = 0.1 }, 3))
    local cycle = mt.schedule.one_cycle { lr = 1, epochs = 4 }
    local by_step = mt.schedule.warmup_steps { schedule = cycle, steps = 2, start = 0.5 }
    local first = cycle:step_lr(1, 8)
    assert_near({ first / 2, first * 0.75, first, cycle:step_lr(2, 8) }, {
      by_step:step_lr(1, 10), by_step:step_lr(2, 10), by_step:step_lr(3, 10), by_step:step_lr(4, 10),
    })
    assert.equal(cycle:lr(2), by_step:lr(2))
    assert_near({ first / 2 }, { by_step:step_lr(1, 2) / cycle:step_lr(1, 1) * first })
  end)

  it("says in words what it wraps, and that it changes by step", function()
    local inner = mt.schedule.cosine { lr = 0.5, epochs = 2 }
    local warm = mt.schedule.warmup { schedule = inner, epochs = 1, start = 0.5 }
    assert.equal("warmup{epochs = 1, schedule = cosine{epochs = 2, lr = 0.5, min = 0}, start = 0.5}", tostring(warm))
    assert.equal("0.25 x1, 0.5 x1, 0.25 x1", mt.schedule.describe(warm, 3))
    local steps = mt.schedule.per_step { schedule = inner, epochs = 2 }
    assert.equal("0.5 x1, 0.25 x1, by step: " .. tostring(steps), mt.schedule.describe(steps, 2))
    local own = { lr = function() return 1 end, step_lr = function() return 1 end }
    assert.equal("1 x3, by step: custom", mt.schedule.describe(own, 3))
    assert.matches("anneal_strategy = linear, .*three_phase = false}$",
      tostring(mt.schedule.one_cycle { lr = 1, epochs = 2, anneal_strategy = "linear" }))
  end)

  it("gives the same rate in whatever order it is asked", function()
    local schedule = mt.schedule.step { lr = 1, every = 2, factor = 0.1 }
    local late = schedule:lr(9)
    schedule:lr(1)
    assert.equal(late, schedule:lr(9))
  end)

  it("says in words what it is and what it does", function()
    local schedule = mt.schedule.multi_step { lr = 0.5, milestones = { 1, 3 }, factor = 0.1 }
    assert.equal("multi_step{factor = 0.1, lr = 0.5, milestones = {1, 3}}", tostring(schedule))
    assert.equal("0.5 x1, 0.05 x2, 0.005 x1", mt.schedule.describe(schedule, 4))
  end)

  it("refuses wrong options and epochs by name", function()
    assert.error_matches(function() mt.schedule.step { lr = 0.1 } end, "step: option 'every': integer >= 1 expected")
    assert.error_matches(function() mt.schedule.constant { lr = 0 } end, "option 'lr': number > 0 expected, got 0")
    assert.error_matches(function() mt.schedule.cosine { lr = 1, epochs = 2, T_max = 3 } end, "unknown option 'T_max'")
    assert.error_matches(function() mt.schedule.multi_step { lr = 1, milestones = { 0 } } end, "option 'milestones'")
    assert.error_matches(function() mt.schedule.exponential { lr = 1 } end, "option 'factor': number > 0 expected")
    assert.error_matches(function() mt.schedule.one_cycle { lr = 1, epochs = 2, anneal_strategy = "sine" } end,
      "option 'anneal_strategy': 'cos' or 'linear' expected, got 'sine'")
    local cycle, constant = mt.schedule.one_cycle { lr = 1, epochs = 2 }, mt.schedule.constant { lr = 1 }
    assert.error_matches(function() cycle:lr(3) end, "'epoch': integer in %[1, 2%] expected, got 3")
    assert.error_matches(function() cycle:step_lr(6, 5) end, "'step': integer in %[1, 5%] expected, got 6")
    assert.error_matches(function() mt.schedule.warmup { schedule = 3, epochs = 1 } end,
      "warmup: option 'schedule': schedule %(anything with lr%(self, epoch%)%) expected, got 3")
    assert.error_matches(function() mt.schedule.warmup { schedule = cycle, epochs = 1 } end,
      "one that changes by epoch expected %(warmup_steps takes those that change by step%), got one_cycle{")
    assert.error_matches(function() mt.schedule.warmup_steps { schedule = constant, steps = 1 } end,
      "one that changes by step expected %(per_step makes one%), got constant{lr = 1}")
    assert.error_matches(function() mt.schedule.constant({ lr = 1 }):lr(0) end, "'epoch': integer >= 1 expected, got 0")
  end)
end)
