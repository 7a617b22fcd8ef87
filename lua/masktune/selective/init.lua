--- Selective classification: a classifier that abstains where it is not sure (paper, 2.2 and 4.2).
-- Models give probabilities (`predict`), rules make answers of them (a prediction and a score each), a threshold gamma
-- is set on validation data, and an answer is given where its score is above gamma.
-- @usage
-- local val  = mt.selective.product(mt.selective.predict(initial, val_set), mt.selective.predict(final, val_set))
-- local test = mt.selective.product(mt.selective.predict(initial, test_set), mt.selective.predict(final, test_set))
-- local gamma = mt.selective.threshold(val.scores, {coverage = 0.9})
-- local result = mt.selective.evaluate(test, test_set.labels, gamma)   --> result.coverage, result.error
-- @module masktune.selective
local coverage = require "masktune.selective.coverage"
local risk_coverage = require "masktune.selective.risk_coverage"
local scores = require "masktune.selective.scores"
local sgr = require "masktune.selective.sgr"

return {
  predict = require "masktune.selective.predict",
  -- answers
  softmax_response = scores.softmax_response,
  product = scores.product,
  softmax_product = scores.softmax_product,
  agreement = scores.agreement,
  -- thresholds
  threshold = coverage.threshold,
  evaluate = coverage.evaluate,
  ranking = coverage.ranking,
  -- all coverages at once
  risk_coverage = risk_coverage.curve,
  risk_at = risk_coverage.at,
  coverage_at = risk_coverage.coverage_at,
  summary = risk_coverage.summary,
  -- classifiers that are trained to abstain
  methods = require "masktune.selective.methods",
  -- guarantees
  sgr = sgr.search,
  binomial_bound = sgr.binomial_bound,
  -- pictures
  gallery = require "masktune.selective.gallery",
}
