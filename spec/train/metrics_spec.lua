local mt = require "masktune"
local metrics = require("masktune").metrics

describe("metrics", function()
  it("counts the share of right predictions", function()
    assert.equal(0.75, metrics.accuracy({ 1, 2, 2, 1 }, { 1, 2, 1, 1 }))
    local none = metrics.accuracy({}, {})
    assert.not_equal(none, none)
  end)

  it("counts labels among the k largest logits", function()
    local logits = mt.tensor{ { 3, 2, 1 }, { 1, 3, 2 }, { 1, 1, 1 }, { 0 / 0, 2, 1 } }
    for k, expected in ipairs{ 0.25, 0.75, 1 } do
      assert.equal(expected, metrics.topk_accuracy(logits, { 1, 3, 2, 3 }, k))
      assert.equal(expected, metrics.topk_accuracy(logits, mt.tensor({ 1, 3, 2, 3 }, "int32"), k))
    end
    local predictions = logits:argmax(2)
    assert.equal(metrics.accuracy(predictions, { 1, 2, 1, 1 }), metrics.topk_accuracy(logits, { 1, 2, 1, 1 }, 1))
    local none = metrics.topk_accuracy(mt.zeros(0, 3), {}, 1)
    assert.not_equal(none, none)
    local function fails(f, message) assert.error_matches(f, message) end
    fails(function() metrics.topk_accuracy(logits, { 1, 2, 3, 1 }, 4) end, "'k': integer in %[1, 3%] expected, got 4")
    fails(function() metrics.topk_accuracy(logits, { 1, 2 }, 1) end, "4 rows of logits and 2 labels, expected as many")
    fails(function() metrics.topk_accuracy(logits, { 1, 2, 3, 0 }, 1) end, "label 4 is 0, expected 1 to 3")
    fails(function() metrics.topk_accuracy(mt.zeros(3), { 1 }, 1) end, "tensor {N,classes} expected, got {3}")
    fails(function() metrics.topk_accuracy({ 1 }, { 1 }, 1) end, "argument 'logits': tensor expected, got table")
  end)

  it("finds the group that fares worst", function()
    local predictions, labels = { 1, 1, 2, 2, 1, 1 }, { 1, 1, 2, 1, 2, 2 }
    local groups = { "land", "land", "water", "water", "sky", "sky" }
    local per_group, count = metrics.group_accuracy(predictions, labels, groups)
    assert.same({ land = 1, water = 0.5, sky = 0 }, per_group)
    assert.same({ land = 2, water = 2, sky = 2 }, count)
    assert.same({ 0, "sky" }, { metrics.worst_group(predictions, labels, groups) })
  end)

  it("names the first of two groups that are equally bad", function()
    local worst, group = metrics.worst_group({ 1, 1 }, { 2, 2 }, { "b", "a" })
    assert.same({ 0, "a" }, { worst, group })
  end)

  it("takes mean and sample standard deviation", function()
    assert.equal(5, metrics.mean { 2, 4, 4, 4, 5, 5, 7, 9 })
    assert.near(math.sqrt(32 / 7), metrics.std { 2, 4, 4, 4, 5, 5, 7, 9 }, 1e-15)
    assert.equal(0, metrics.std { 3 })
  end)

  it("refuses lists of different lengths", function()
    assert.error_matches(function() metrics.accuracy({ 1 }, { 1, 2 }) end, "1 predictions and 2 labels, expected")
    assert.error_matches(function() metrics.worst_group({ 1 }, { 1 }, {}) end, "1 predictions, 1 labels and 0 groups")
    assert.error_matches(function() metrics.worst_group({}, {}, {}) end, "0 samples, expected 1 or more")
  end)
end)

describe("mt.metrics, against scikit-learn's values (spec/golden/metrics.py),", function()
  local cases = mt.json.decode(mt.read_file("spec/golden/metrics.json"))

  it("gives the same", function()
    for _, case in ipairs(cases) do
      local positive, right = {}, {}
      for i, label in ipairs(case.labels) do
        positive[i], right[i] = label == 2, label == case.predictions[i]
      end
      assert.near(case.auroc, mt.metrics.auroc(case.scores, positive), 1e-12)
      assert.near(case.auprc, mt.metrics.auprc(case.scores, positive), 1e-12)
      assert.near(case.ece, mt.metrics.ece(case.confidence, right), 1e-12)
      local per_class = mt.metrics.group_accuracy(case.predictions, case.labels, case.labels)
      assert.near(case.balanced, mt.metrics.balanced(per_class), 1e-12)
      local confusion = mt.metrics.confusion(case.predictions, case.labels, 2)
      assert.equal(mt.json.encode(case.confusion), mt.json.encode(confusion))
    end
  end)

  it("gives the same through mt.evaluate", function()
    for _, case in ipairs(cases) do
      if #case.scores == 40 then -- the scores of the others are rounded
        local set = {
          logits = mt.tensor(case.logits), labels = mt.tensor(case.labels, { dtype = "int32" }), input = "logits",
          classes = 2,
        }
        local found = mt.evaluate(mt.nn.Identity(), set, { batch = 7, groups = "labels", group_weights = { 3, 1 } })
        assert.near(case.auroc, found.auroc, 1e-12)
        assert.near(case.auprc, found.auprc, 1e-12)
        assert.near(case.ece, found.ece, 1e-6)
        assert.near(case.brier, found.brier, 1e-6)
        assert.near(case.balanced, found.balanced, 1e-12)
        assert.near((3 * found.per_class[1] + found.per_class[2]) / 4, found.weighted, 1e-12)
        assert.equal(found.balanced, found.balanced_group)
      end
    end
  end)

  it("names what does not fit", function()
    assert.error_matches(function() mt.metrics.weighted({ 1, 0.5 }, { 3 }) end, "group 2 has no weight")
    assert.error_matches(function() mt.metrics.confusion({ 1, 3 }, { 1, 2 }, 2) end,
      "sample 2 has label 2 and prediction 3, expected 1 to 2")
    assert.error_matches(function() mt.metrics.auroc({ 0 / 0 }, { true }) end, "score 1 is NaN")
  end)
end)
