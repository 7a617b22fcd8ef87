local mt = require "masktune"

local selective = mt.selective

--- Scores with ties, predictions and labels from a seed.
local function random_answers(count, levels, seed)
  local generator = mt.generator(seed)
  local answers, labels = { predictions = {}, scores = {} }, {}
  for n = 1, count do
    answers.scores[n] = generator:integer(1, levels) / levels
    answers.predictions[n], labels[n] = generator:integer(1, 3), generator:integer(1, 3)
  end
  return answers, labels
end

--- The plain definitions, one sample and one threshold after the other.
local plain = {}

function plain.kept(scores, gamma)
  local kept = 0
  for _, score in ipairs(scores) do
    if score > gamma then kept = kept + 1 end
  end
  return kept
end

function plain.error(answers, labels, at_least)
  local kept, wrong = 0, 0
  for n, score in ipairs(answers.scores) do
    if score >= at_least then
      kept = kept + 1
      if answers.predictions[n] ~= labels[n] then wrong = wrong + 1 end
    end
  end
  return wrong / kept
end

function plain.aurc(answers, labels)
  local sum = 0
  for _, score in ipairs(answers.scores) do
    sum = sum + plain.error(answers, labels, score)
  end
  return sum / #labels
end

--- All numbers of samples that some threshold keeps.
function plain.possible(scores)
  local possible = { [#scores] = true }
  for _, score in ipairs(scores) do
    possible[plain.kept(scores, score)] = true
  end
  return possible
end

describe("the threshold for a coverage", function()
  it("keeps the wanted number to one sample where no scores are equal", function()
    local generator = mt.generator(5)
    for _, count in ipairs { 1, 2, 7, 64, 101 } do
      local scores = {}
      for n = 1, count do
        scores[n] = generator:uniform()
      end
      for percent = 1, 100 do
        local wanted = math.floor(percent / 100 * count + 0.5)
        if wanted > 0 then
          local gamma, coverage = selective.threshold(scores, { coverage = percent / 100 })
          assert.equal(wanted, plain.kept(scores, gamma))
          assert.is_true(math.abs(coverage - percent / 100) <= 0.5 / count + 1e-12)
        end
      end
    end
  end)

  it("keeps equals together: possible numbers exactly, others refused or the nearest taken", function()
    for seed = 1, 20 do
      local scores = random_answers(30, 12, seed).scores
      local possible = plain.possible(scores)
      for wanted = 1, 30 do
        local done, gamma = pcall(selective.threshold, scores, { coverage = wanted / 30 })
        assert.equal(possible[wanted] or false, done)
        if done then assert.equal(wanted, plain.kept(scores, gamma)) end
        local best
        for kept in pairs(possible) do
          local distance = math.abs(kept - wanted)
          local nearer = not best or distance < math.abs(best - wanted)
            or distance == math.abs(best - wanted) and kept < best
          if kept > 0 and nearer then best = kept end
        end
        local nearest, coverage = selective.threshold(scores, { coverage = wanted / 30, ties = "nearest" })
        assert.equal(best, plain.kept(scores, nearest))
        assert.equal(best / 30, coverage)
      end
    end
  end)

  it("is the largest score that is not kept, and -infinity where all are", function()
    assert.equal(0.3, (selective.threshold({ 0.9, 0.3, 0.5, 0.1 }, { coverage = 0.5 })))
    assert.equal(-math.huge, (selective.threshold({ 0.9, 0.3 }, { coverage = 1 })))
    assert.equal(-math.huge, (selective.threshold({ 0.5, 0.5 }, { coverage = 0.5, ties = "nearest" })))
    assert.equal(0.25, (selective.threshold(mt.tensor { 0.5, 0.25 }, { coverage = 0.5 })))
  end)

  it("says what cannot be", function()
    local function refused(pattern, scores, coverage)
      assert.error_matches(function() selective.threshold(scores, { coverage = coverage }) end, pattern, 1, true)
    end
    refused("argument 'scores': 1 score or more expected, got 0", {}, 0.5)
    refused("argument 'scores': score 2 is", { 0.5, 0 / 0 }, 0.5)
    refused("argument 'scores': score 1 is inf", { math.huge }, 0.5)
    refused("argument 'scores': score 1 is 'x'", { "x" }, 0.5)
    refused("argument 'scores': float32 tensor {N} expected, got int32", mt.ones(3):to("int32"), 0.5)
    refused("argument 'scores': tensor with 1 axis {N} expected, got {2,2}", mt.ones(2, 2), 0.5)
    refused("option 'coverage': number in (0, 1] expected, got 1.01", { 0.5 }, 1.01)
    refused("option 'coverage': number in (0, 1] expected, got 0", { 0.5 }, 0)
    refused("option 'coverage': 0.1 of 4 scores keeps none, expected at least 0.125", { 1, 2, 3, 4 }, 0.1)
    refused("places 1 to 2 are all 0.5: 2 can be kept", { 0.5, 0.5 }, 0.5)
    refused("places 2 to 3 are all 0.5: 1 or 3 can be kept", { 0.5, 0.5, 0.9, 0.1 }, 0.5)
  end)
end)

describe("a threshold on other data", function()
  it("gives coverage and error among the covered", function()
    local answers = { predictions = { 1, 2, 1, 2 }, scores = { 0.9, 0.8, 0.3, 0.1 } }
    local result = selective.evaluate(answers, { 1, 1, 1, 1 }, 0.3)
    assert.same({ coverage = 0.5, error = 0.5, covered = 2, wrong = 1, count = 4 }, result)
    result = selective.evaluate(answers, mt.ones(4):to("int32"), -math.huge)
    assert.equal(1, result.coverage)
  end)

  it("has no error where nothing is covered", function()
    local result = selective.evaluate({ predictions = { 1 }, scores = { 0.5 } }, { 1 }, 0.5)
    assert.equal(0, result.covered)
    assert.equal(0, result.coverage)
    assert.is_true(result.error ~= result.error)
  end)

  it("refuses what does not belong together", function()
    local answers = { predictions = { 1, 2 }, scores = { 0.9, 0.8 } }
    local function refused(pattern, ...)
      local arguments = table.pack(...)
      assert.error_matches(function() selective.evaluate(table.unpack(arguments)) end, pattern, 1, true)
    end
    refused("2 scores, 2 predictions and 1 labels, expected as many of each", answers, { 1 }, 0)
    refused("argument 'labels': entry 2 is 0, expected a class from 1", answers, { 1, 0 }, 0)
    refused("argument 'labels': int32 tensor {N} expected, got float32", answers, mt.ones(2), 0)
    refused("argument 'answers': table with predictions and scores expected, got 3", 3, { 1 }, 0)
    refused("argument 'gamma': number expected, got nil", answers, { 1, 1 })
    refused("argument 'answers.scores': 1 score or more", { predictions = {}, scores = {} }, {}, 0)
  end)
end)

describe("the risk-coverage curve", function()
  it("has the error of every set a threshold can keep, and its area is the mean over the answers", function()
    for seed = 1, 10 do
      local answers, labels = random_answers(50, seed % 2 == 0 and 8 or 100000, seed)
      local curve = selective.risk_coverage(answers, labels)
      local before = 0
      for _, point in ipairs(curve.points) do
        assert.is_true(point.coverage > before)
        before = point.coverage
        assert.is_true(math.abs(point.risk - plain.error(answers, labels, point.score)) < 1e-15)
        assert.equal(point.risk, selective.risk_at(curve, point.coverage))
      end
      assert.equal(1, before)
      assert.is_true(math.abs(curve.aurc - plain.aurc(answers, labels)) < 1e-13)
    end
  end)

  it("does not depend on the order of equals", function()
    local curve = selective.risk_coverage({ predictions = { 1, 2, 1 }, scores = { 0.5, 0.5, 0.5 } }, { 1, 1, 1 })
    assert.same({ { coverage = 1, risk = 1 / 3, score = 0.5 } }, curve.points)
    assert.equal(1 / 3, curve.aurc)
    assert.equal(1 / 3, selective.risk_at(curve, 0))
  end)

  it("takes 100,000 answers in a moment", function()
    local answers, labels = random_answers(100000, 1 << 30, 1)
    local started = mt.clock()
    selective.risk_coverage(answers, labels)
    assert.is_true(mt.clock() - started < 10)
  end)
end)

describe("the ranking", function()
  it("has the surest first, and of equals the first", function()
    assert.same({ 3, 1, 4, 2 }, selective.ranking { scores = { 0.5, 0.1, 0.9, 0.5 } })
  end)
end)
