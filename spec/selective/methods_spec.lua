local mt = require "masktune"
local tiny = require "support.tiny"

local selective = mt.selective

describe("mt.selective.coverage_at and summary", function()
  -- the surest first: right, wrong, right, right, wrong
  local answers = { predictions = { 1, 1, 1, 1, 1 }, scores = { 5, 4, 3, 2, 1 } }
  local labels = { 1, 2, 1, 1, 2 }

  it("find the largest coverage at a risk", function()
    local curve = selective.risk_coverage(answers, labels)
    for risk, coverage in pairs { [0] = 0.2, [0.25] = 0.8, [0.3] = 0.8, [0.4] = 1, [1] = 1 } do
      assert.equal(coverage, selective.coverage_at(curve, risk))
    end
    local wrong = selective.risk_coverage({ predictions = { 1, 1 }, scores = { 2, 1 } }, { 2, 2 })
    assert.equal(0, selective.coverage_at(wrong, 0.5))
    assert.near(0, wrong.e_aurc, 1e-12) -- nothing could be better where all is wrong
  end)

  it("say all at once", function()
    local all = selective.summary(answers, labels, { coverages = { 1, 0.8, 0.2 }, risks = { 0.1, 0.9 }, delta = 0.3 })
    assert.same({ [1] = 0.4, [0.8] = 0.25, [0.2] = 0 }, all.risk_at)
    assert.same({ [0.1] = 0.2, [0.9] = 1 }, all.coverage_at)
    assert.near((0 + 1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5, all.aurc, 1e-12)
    assert.near(all.aurc - (0.4 + 0.6 * math.log(0.6)), all.e_aurc, 1e-12)
    local bound = selective.sgr(answers, labels, { risk = 0.9, delta = 0.3 })
    assert.equal(bound.coverage, all.guaranteed[0.9])
    assert.equal(0, all.guaranteed[0.1])
    assert.error_matches(function() selective.summary(answers, labels, { risks = { 2 } }) end, "option 'risks'")
  end)
end)

describe("mt.selective.methods", function()
  local train_set, val_set = tiny.data(48, 1), tiny.data(24, 2)

  local function run(name, more)
    return selective.methods[name](tiny.model(1), mt.tables.merged({
      train = train_set, val = val_set, epochs = 2, batch = 8, lr = 0.02, seed = 3, progress = false,
    }, more))
  end

  it("score by themselves, and give the probabilities that SR scores", function()
    for name, more in pairs {
      deep_gamblers = {}, sat = {}, selectivenet = { coverage = 0.8, hidden = 16 }, one_sided = {},
      mc_dropout = { passes = 10 }, sr = {},
    } do
      local result = run(name, more)
      local own = result.answers(val_set)
      local probabilities = selective.predict(result.final, val_set)
      local sr = selective.softmax_response(result.probabilities(val_set))
      assert.same(selective.softmax_response(probabilities), sr)
      assert.same(sr.predictions, own.predictions)
      local same = true
      for i, score in ipairs(sr.scores) do
        same = same and score == own.scores[i]
      end
      assert.equal(name == "sr", same)
      local gamma = selective.threshold(own.scores, { coverage = 0.75, ties = "nearest" })
      assert.near(0.75, selective.evaluate(own, val_set.labels, gamma).coverage, 0.1)
    end
  end)

  it("average the members of an ensemble", function()
    local result = run("ensemble", { members = 3, build = function(i) return tiny.model(i) end })
    assert.equal(3, #result.members)
    local rows = result.probabilities(val_set)
    for class = 1, 2 do
      local mean = 0
      for _, member in ipairs(result.members) do
        mean = mean + selective.predict(member, val_set)[5][class] / 3
      end
      assert.near(mean, rows[5][class], 1e-12)
    end
    assert.same(selective.softmax_response(rows), result.answers(val_set))
    assert.error_matches(function() run "ensemble" end, "mt.selective.methods.ensemble: option 'build'")
  end)

  it("drop features for MC dropout's variance alone", function()
    local result = run("mc_dropout", { passes = 200, rate = 0.4 })
    local seen = mt.embeddings(result.final, val_set)
    local head = result.final:get "linear"
    local scores = result.answers(val_set).scores
    -- an independent estimate: other draws, by plain multiplication
    local sums, squares, passes = 0, 0, 4000
    for _ = 1, passes do
      local kept = mt.rand(#val_set.images, 196):ge(0.4):to("float32") / 0.6
      local p = mt.no_grad(head, seen.features * kept):softmax(2)
      sums, squares = sums + p, squares + p * p
    end
    local variance = (squares / passes - (sums / passes) ^ 2):mean(2)
    local largest = variance:max():item()
    for i, score in ipairs(scores) do
      assert.near(variance[i]:item(), -score, 0.25 * largest)
    end
    assert.same(scores, result.answers(val_set).scores)
  end)

  it("print what each needs", function()
    assert.truthy(tostring(selective.methods):find("sat +targets that follow the net.+%[labels: class; stages: "))
  end)
end)
