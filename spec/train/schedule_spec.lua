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
    assert.error_matches(function() mt.schedule.constant({ lr = 1 }):lr(0) end, "'epoch': integer >= 1 expected, got 0")
  end)
end)
