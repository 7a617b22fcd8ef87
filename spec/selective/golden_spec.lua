local mt = require "masktune"

local selective = mt.selective
local golden = mt.json.decode(mt.read_file("spec/golden/selective.json"))

local function near(expected, got, tolerance)
  assert.is_true(math.abs(expected - got) <= (tolerance or 1e-12) * math.max(1, math.abs(expected)),
    ("%.17g expected, got %.17g"):format(expected, got))
end

local rules = {
  softmax_response = function(case) return selective.softmax_response(case.initial) end,
  product = function(case) return selective.product(case.initial, case.final) end,
  softmax_product = function(case) return selective.softmax_product(case.initial, case.final) end,
  agreement = function(case) return selective.agreement(case.initial, case.final) end,
}

describe("what numpy computed (spec/golden/selective.py)", function()
  for number, case in ipairs(golden.cases) do
    for name, rule in pairs(rules) do
      local expected = case.answers[name]

      it(("agrees with ours: case %d, %s"):format(number, name), function()
        local answers = rule(case)
        assert.same({ table.unpack(expected.predictions) }, answers.predictions)
        assert.equal(#expected.scores, #answers.scores)
        for n, score in ipairs(expected.scores) do
          near(score, answers.scores[n])
        end

        local curve = selective.risk_coverage(expected, case.labels)
        near(expected.aurc, curve.aurc)
        near(expected.e_aurc, curve.e_aurc)
        assert.equal(#expected.points, #curve.points)
        for i, point in ipairs(expected.points) do
          near(point[1], curve.points[i].coverage)
          near(point[2], curve.points[i].risk)
        end

        for _, wanted in ipairs(expected.thresholds) do
          local possible, gamma, coverage = pcall(selective.threshold, expected.scores, { coverage = wanted.coverage })
          assert.equal(wanted.possible, possible)
          if possible then
            local result = selective.evaluate(expected, case.labels, gamma)
            assert.equal(wanted.kept, result.covered)
            assert.equal(wanted.errors, result.wrong)
            assert.equal(result.coverage, coverage)
          end
        end

        for i, risk in ipairs { 0.02, 0.2, 0.35 } do
          local theirs = expected.sgr[i]
          local found = selective.sgr(expected, case.labels, { risk = risk, delta = 0.05 })
          assert.equal(theirs.covered, found and found.covered)
          if found then
            near(theirs.bound, found.bound)
            assert.is_true(found.gamma < theirs.threshold)
            assert.equal(found.covered, selective.evaluate(expected, case.labels, found.gamma).covered)
          end
        end
      end)
    end
  end

  it("agrees with ours: binomial bounds", function()
    for _, row in ipairs(golden.bounds) do
      local errors, count, delta, bound = table.unpack(row)
      near(bound, selective.binomial_bound(errors, count, delta))
    end
  end)
end)
