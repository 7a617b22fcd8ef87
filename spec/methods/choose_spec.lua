local mt = require "masktune"
local tiny = require "support.tiny"

describe("mt.choose", function()
  it("scores a model by what there is", function()
    local model, set = tiny.model(1), tiny.data(40, 1)
    set.group = (set.labels - 1) * 2 + set.biased:to("int32") + 1
    local plain = tiny.data(40, 1)
    local measured = mt.evaluate(model, set, { groups = "group" })
    assert.same({ average = measured.accuracy, worst_class = measured.worst_class }, mt.choose.scores(model, plain))
    local inferred = {}
    for i = 1, 40 do
      inferred[i] = i % 5
    end
    local masked = tiny.data(40, 7)
    local scores = mt.choose.scores(model, set, { inferred = inferred, masked = masked, flips = 0.25 })
    assert.equal(measured.worst_group, scores.worst_group)
    assert.equal(mt.evaluate(model, set, { groups = inferred }).worst_group, scores.worst_inferred)
    assert.equal(mt.evaluate(model, masked).accuracy, scores.masked)
    assert.equal(0.25, scores.flips)
  end)

  it("chooses by one rule, XRM's rate of flips among them, without labels of groups", function()
    local candidates = {}
    for i, epochs in ipairs { 1, 12 } do
      local model, set = tiny.model(1), tiny.data(60, 1)
      local _, facts = mt.groups.xrm(model, set, { epochs = epochs, batch = 10, lr = 0.05, progress = false })
      candidates[i] = { scores = mt.choose.scores(model, tiny.data(30, 2), { flips = facts.flips }) }
      assert.equal(facts.flips, candidates[i].scores.flips)
    end
    local flips = { candidates[1].scores.flips, candidates[2].scores.flips }
    assert.not_equal(flips[1], flips[2])
    assert.equal(flips[1] > flips[2] and 1 or 2, mt.choose.best(candidates, "flips"))
    local equal = { { scores = { average = 0.4 } }, { scores = { average = 0.7 } }, { scores = { average = 0.7 } } }
    assert.equal(2, mt.choose.best(equal, "average"))
    assert.error_matches(function() mt.choose.best(candidates, "worst_group") end,
      "mt.choose.best: .*'candidates%[1%].scores.worst_group': number expected, got nil")
    assert.error_matches(function() mt.choose.best({}, "average") end, "list of 1 or more")
  end)

  it("says what each rule's choice costs against the oracle's", function()
    local rows = mt.choose.compare {
      { scores = { worst_group = 0.6, average = 0.9, worst_class = 0.7, flips = 0.1 }, test = 0.5 },
      { scores = { worst_group = 0.8, average = 0.8, worst_class = 0.7 }, test = 0.75 },
      { scores = { worst_group = 0.7, average = 0.7, worst_class = 0.9, flips = 0.3 }, test = 0.8 },
    }
    assert.same({
      { rule = "worst_group", chosen = 2, test = 0.75, cost = 0 },
      { rule = "average", chosen = 1, test = 0.5, cost = 0.25 },
      { rule = "worst_class", chosen = 3, test = 0.8, cost = 0.75 - 0.8 },
    }, rows)
    assert.error_matches(function() mt.choose.compare { { scores = { average = 1 }, test = 1 } } end,
      "'candidates%[1%].scores.worst_group': number expected")
    assert.error_matches(function() mt.choose.compare {} end, "list of 1 or more")
  end)
end)
