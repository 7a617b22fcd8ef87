--- Choosing epochs and rates by any figure of the validation split.
local mt = require "masktune"
local tiny = require "support.tiny"

local function sets()
  local train, val = tiny.data(60, 1), tiny.data(30, 2)
  for _, set in ipairs { train, val } do
    set.group = (set.labels * 2 - set.biased:to "int32" - 1):clamp(1, 4)
  end
  return train, val
end

local function quiet(options)
  return mt.tables.merged({ epochs = 3, batch = 20, lr = 0.02, progress = false }, options)
end

describe("the choice of an epoch", function()
  local better = {
    accuracy = 1, worst_class = 1, balanced = 1, auroc = 1, auprc = 1, loss = -1, brier = -1, ece = -1, worst_group = 1,
    balanced_group = 1, weighted = 1,
  }
  for name, sign in pairs(better) do
    it("can go by " .. name, function()
      local train, val = sets()
      local rows = {}
      local options = quiet { train = train, val = val }
      mt.train(tiny.model(2), mt.tables.merged(options, {
        select = function(row, measured)
          rows[row.epoch] = sign * measured[name]
          return 0
        end,
      }))
      local best = 1
      for epoch, value in ipairs(rows) do
        if value > rows[best] then best = epoch end
      end
      local chosen = mt.train(tiny.model(2), mt.tables.merged(options, { select = name })).best
      assert.equal(best, chosen.epoch)
      assert.equal(rows[best], chosen.score)
    end)
  end

  it("weighs the groups as the training set has them", function()
    local train, val = sets()
    local measured
    local model = tiny.model(2)
    mt.train(model, quiet {
      train = train, val = val, epochs = 1,
      select = function(_, result)
        measured = result
        return 0
      end,
    })
    local sum, count = 0, 0
    for _, group in ipairs(train.group:totable()) do
      if measured.per_group[group] then sum, count = sum + measured.per_group[group], count + 1 end
    end
    assert.is_true(math.abs(sum / count - measured.weighted) < 1e-12)
  end)
end)

describe("the choice of a rate", function()
  local function tuned(by, more)
    local train, val = sets()
    return mt.masktune(tiny.model(2), mt.tables.merged(quiet { train = train, val = val, finetune_lr = "auto",
      protocol = "paper" }, { auto = { by = by, factors = { 1, 4, 16 } } }, more)).finetune
  end

  it("can go by any figure, with and without the labels of groups", function()
    for _, by in ipairs { "masked", "worst_class", "worst_group", "weighted" } do
      local found = tuned(by)
      local best
      for _, row in ipairs(found.candidates) do
        assert.equal(1, #row.judged)
        if by == "masked" then assert.equal(row.val_accuracy, row.judged[1]) end
        if not row.problem and (not best or row.judged[1] > best) then best = row.judged[1] end
      end
      for _, row in ipairs(found.candidates) do
        if row.lr == found.lr then assert.equal(best, row.judged[1]) end
      end
    end
  end)

  it("can go by a function of what was measured", function()
    local found = tuned(function(row, measured) return row.val_loss + 0 * measured.accuracy end)
    local highest = 0
    for _, row in ipairs(found.candidates) do
      if not row.problem then highest = math.max(highest, row.val_loss) end
    end
    for _, row in ipairs(found.candidates) do
      if row.lr == found.lr then assert.equal(highest, row.val_loss) end
    end
  end)

  it("says what is missing", function()
    local train, val = tiny.data(40, 1), tiny.data(20, 2)
    assert.error_matches(function()
      mt.masktune(tiny.model(2), quiet {
        train = train, val = val, finetune_lr = "auto", auto = { by = "worst_group" },
      })
    end, "mt.masktune: option 'auto.by': 'worst_group' gives nil")
    assert.error_matches(function() tuned "luck" end, "by")
  end)
end)
