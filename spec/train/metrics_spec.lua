local metrics = require("masktune").metrics

describe("metrics", function()
  it("counts the share of right predictions", function()
    assert.equal(0.75, metrics.accuracy({ 1, 2, 2, 1 }, { 1, 2, 1, 1 }))
    local none = metrics.accuracy({}, {})
    assert.not_equal(none, none)
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
