--- Predictions with a score: the higher, the surer. An answer is given where the score is above a threshold gamma.
-- @module masktune.selective.scores
local check = require "masktune.check"
local input = require "masktune.selective.input"

local scores = {}

--- The position of the largest value, the first of equals.
local function argmax(row)
  local best = 1
  for class = 2, #row do
    if row[class] > row[best] then best = class end
  end
  return best
end

--- Answers from a function row number -> prediction, score.
local function answers_of(count, answer)
  local answers = { predictions = {}, scores = {} }
  for n = 1, count do
    answers.predictions[n], answers.scores[n] = answer(n)
  end
  return answers
end

--- SR, the baseline: the largest probability of one model.
-- @param probabilities float32 {N,k} or a list of rows, as from mt.selective.predict
-- @treturn table answers: `predictions` (classes 1..k) and `scores`
function scores.softmax_response(probabilities)
  local rows = input.probabilities("mt.selective.softmax_response", "probabilities", probabilities)
  return answers_of(#rows, function(n)
    local class = argmax(rows[n])
    return class, rows[n][class]
  end)
end

--- The probabilities of both models, image by image.
local function pairs_of(where, initial, final)
  local first = input.probabilities(where, "initial", initial)
  local second = input.probabilities(where, "final", final)
  if #first ~= #second or #first[1] ~= #second[1] then
    check.fail("%s: initial is {%d,%d} and final {%d,%d}, expected the same images and classes", where, #first,
      #first[1], #second, #second[1])
  end
  return first, second
end

local function products_of(first, second)
  local products = {}
  for class, p in ipairs(first) do
    products[class] = p * second[class]
  end
  return products
end

--- MaskTune's ensemble (paper, 4.2): p_i = P_init(i) * P_final(i); the class with the largest p_i is predicted, and
-- that p_i is the score.
-- @param initial probabilities of the initial model, float32 {N,k} or a list of rows
-- @param final those of the fine-tuned model
-- @treturn table answers
function scores.product(initial, final)
  local first, second = pairs_of("mt.selective.product", initial, final)
  return answers_of(#first, function(n)
    local products = products_of(first[n], second[n])
    local class = argmax(products)
    return class, products[class]
  end)
end

--- The reference code's variant: a softmax over the products p_i, and of that the maximum. The predictions are
-- product's, the order of the scores is another.
-- @param initial
-- @param final as in product
-- @treturn table answers
function scores.softmax_product(initial, final)
  local first, second = pairs_of("mt.selective.softmax_product", initial, final)
  return answers_of(#first, function(n)
    local products = products_of(first[n], second[n])
    local class, sum = argmax(products), 0
    for _, p in ipairs(products) do
      sum = sum + math.exp(p - products[class])
    end
    return class, 1 / sum
  end)
end

--- The hard mode (paper, 2.2): an answer only where both models predict the same class. The scores are 1 there and 0
-- elsewhere, and so gamma is 0.
-- @param initial
-- @param final as in product
-- @treturn table answers; where the models differ, the prediction is the initial model's
function scores.agreement(initial, final)
  local first, second = pairs_of("mt.selective.agreement", initial, final)
  return answers_of(#first, function(n)
    local class = argmax(first[n])
    return class, class == argmax(second[n]) and 1 or 0
  end)
end

return scores
