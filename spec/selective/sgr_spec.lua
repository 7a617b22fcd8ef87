local mt = require "masktune"

local selective = mt.selective

--- P(X <= errors) for X ~ Binomial(count, p), term by term.
local function tail(errors, count, p)
  local sum, term = 0, (1 - p) ^ count
  for j = 0, errors do
    sum = sum + term
    term = term * (count - j) / (j + 1) * p / (1 - p)
  end
  return sum
end

describe("the binomial bound", function()
  it("is the rate at which so few errors have probability delta", function()
    for _, case in ipairs { { 0, 10, 0.05 }, { 3, 40, 0.001 }, { 20, 40, 0.1 }, { 39, 40, 0.01 }, { 5, 700, 0.6 } } do
      local errors, count, delta = table.unpack(case)
      local bound = selective.binomial_bound(errors, count, delta)
      assert.is_true(math.abs(tail(errors, count, bound) / delta - 1) < 1e-9)
    end
    assert.is_true(math.abs(selective.binomial_bound(0, 100, 0.05) - (1 - 0.05 ^ 0.01)) < 1e-15)
    assert.equal(1, selective.binomial_bound(4, 4, 0.1))
  end)

  it("stays exact for large numbers", function()
    local bound = selective.binomial_bound(1000, 100000, 0.001) -- about 3.1 deviations above 1%
    assert.is_true(bound > 0.01098 and bound < 0.01102)
  end)

  it("refuses counts that cannot be", function()
    for pattern, arguments in pairs {
      ["argument 'errors': integer in [0, 4] expected, got 5"] = { 5, 4, 0.1 },
      ["argument 'count': integer >= 1 expected, got 0"] = { 0, 0, 0.1 },
      ["argument 'delta': number > 0 expected, got 0"] = { 0, 1, 0 },
      ["argument 'delta': number in (0, 1) expected, got 1"] = { 0, 1, 1 },
    } do
      assert.error_matches(function() selective.binomial_bound(table.unpack(arguments)) end, pattern, 1, true)
    end
  end)
end)

--- Answers whose chance to be wrong falls with the score: (1 - score) / 2, so above gamma it is (1 - gamma) / 4.
local function draw(generator, count)
  local answers, labels = { predictions = {}, scores = {} }, {}
  for n = 1, count do
    local score = generator:uniform()
    answers.scores[n], answers.predictions[n] = score, 1
    labels[n] = generator:uniform() < (1 - score) / 2 and 2 or 1
  end
  return answers, labels
end

describe("selection with guaranteed risk", function()
  it("is broken no more often than delta, and is not empty", function()
    local generator, broken, coverage, runs, delta = mt.generator(11), 0, 0, 400, 0.1
    for _ = 1, runs do
      local answers, labels = draw(generator, 300)
      local found = selective.sgr(answers, labels, { risk = 0.18, delta = delta })
      if found then
        assert.is_true(found.bound <= 0.18 and found.risk <= found.bound)
        assert.equal(found.coverage, selective.evaluate(answers, labels, found.gamma).coverage)
        coverage = coverage + found.coverage
        if (1 - found.gamma) / 4 > 0.18 then broken = broken + 1 end
      end
    end
    assert.is_true(broken / runs <= delta, broken)
    assert.is_true(coverage / runs > 0.25, coverage / runs) -- 0.72 would be without any doubt
  end)

  it("keeps all where nothing is wrong, and says nil where nothing can be promised", function()
    local answers, labels = { predictions = {}, scores = {} }, {}
    for n = 1, 1000 do
      answers.predictions[n], answers.scores[n], labels[n] = 1, n, 1
    end
    local found = selective.sgr(answers, labels, { risk = 0.02 })
    assert.equal(1, found.coverage)
    assert.is_true(math.abs(found.bound - (1 - (0.001 / 10) ^ (1 / 1000))) < 1e-12)
    assert.is_nil(selective.sgr(answers, labels, { risk = 0.001 }))
    for n = 1, 1000 do labels[n] = 2 end
    assert.is_nil(selective.sgr(answers, labels, { risk = 0.5 }))
  end)

  it("keeps equals together", function()
    local answers = { predictions = {}, scores = {} }
    local labels = {}
    for n = 1, 200 do
      answers.predictions[n], labels[n] = 1, n <= 100 and 1 or 2
      answers.scores[n] = n <= 100 and 0 or -1 -- 0, where "just below" is a subnormal
    end
    local found = selective.sgr(answers, labels, { risk = 0.2, delta = 0.05 })
    assert.equal(100, found.covered)
    assert.equal(100, selective.evaluate(answers, labels, found.gamma).covered)
  end)
end)
