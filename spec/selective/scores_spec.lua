local mt = require "masktune"
local tiny = require "support.tiny"

local selective = mt.selective

local initial = { { 0.7, 0.2, 0.1 }, { 0.4, 0.35, 0.25 }, { 0.5, 0.5, 0 } }
local final = { { 0.6, 0.3, 0.1 }, { 0.1, 0.8, 0.1 }, { 0.25, 0.25, 0.5 } }

describe("answers of two models", function()
  it("are the class with the largest product, scored by the product", function()
    local answers = selective.product(initial, final)
    assert.same({ 1, 2, 1 }, answers.predictions) -- of equals the first
    assert.same({ 0.7 * 0.6, 0.35 * 0.8, 0.5 * 0.25 }, answers.scores)
  end)

  it("are scored by a softmax over the products in the reference's way", function()
    local answers = selective.softmax_product(initial, final)
    assert.same({ 1, 2, 1 }, answers.predictions)
    local p = { 0.42, 0.06, 0.01 }
    local expected = math.exp(p[1]) / (math.exp(p[1]) + math.exp(p[2]) + math.exp(p[3]))
    assert.is_true(math.abs(expected - answers.scores[1]) < 1e-15)
  end)

  it("are given in the hard mode where both predict the same", function()
    local answers = selective.agreement(initial, final)
    assert.same({ 1, 1, 1 }, answers.predictions)
    assert.same({ 1, 0, 0 }, answers.scores)
    assert.equal(1 / 3, selective.evaluate(answers, { 1, 1, 1 }, 0).coverage)
    assert.error_matches(function() selective.threshold(answers.scores, { coverage = 0.67 }) end,
      "0.67 of 3 scores is 2, but those in places 2 to 3 are all 0: 1 or 3 can be kept", 1, true)
  end)

  it("take tensors as well", function()
    local answers = selective.product(mt.tensor(initial), mt.tensor(final))
    assert.same({ 1, 2, 1 }, answers.predictions)
    assert.is_true(math.abs(answers.scores[1] - 0.42) < 1e-7)
    assert.same({ 1, 1, 1 }, selective.softmax_response(mt.tensor(initial)).predictions)
  end)

  it("refuse what is no probabilities, naming argument, place and value", function()
    local function message(...)
      local ok, text = pcall(...)
      assert.is_false(ok)
      return text
    end
    local nan = 0 / 0
    for text, value in pairs {
      ["argument 'final': row 2, class 1 is nan, expected a probability in [0, 1]"] =
        { { 0.5, 0.5 }, { nan, 0.5 } },
      ["argument 'final': row 1, class 2 is 1.5, expected a probability"] = { { 0.5, 1.5 }, { 0.5, 0.5 } },
      ["argument 'final': row 2 sums to 1.2, expected 1"] = { { 0.5, 0.5 }, { 0.6, 0.6 } },
      ["argument 'final': row 2 is 3 values, expected 2 probabilities"] = { { 0.5, 0.5 }, { 0, 0, 1 } },
      ["argument 'final': row 2 is 7, expected 2 probabilities"] = { { 0.5, 0.5 }, 7 },
      ["argument 'final': 1 row or more expected, got 0"] = {},
      ["argument 'final': 1 class or more expected, got 0"] = { {} },
      ["argument 'final': tensor {N,k} or list of rows expected, got nil"] = false,
      ["argument 'final': float32 tensor {N,k} expected, got int32"] = mt.ones(2, 2):to("int32"),
      ["argument 'final': tensor with 2 axes {N,k} expected, got {4}"] = mt.ones(4),
      ["initial is {2,2} and final {1,2}, expected the same images and classes"] = { { 0.5, 0.5 } },
      ["initial is {2,2} and final {2,1}, expected the same"] = { { 1 }, { 1 } },
    } do
      local got = message(selective.product, { { 0.5, 0.5 }, { 0.5, 0.5 } }, value or nil)
      assert.truthy(got:gsub("%-nan", "nan"):find("mt.selective.product: " .. text, 1, true), got)
    end
  end)
end)

describe("a model's probabilities", function()
  it("are softmax of its logits in eval mode, in double precision", function()
    local model, set = tiny.model(3), tiny.data(10, 1)
    model:train()
    local rows = selective.predict(model, set, { batch = 3 })
    assert.is_true(model:is_training())
    model:eval()
    local logits = model(mt.image.batch(set.images, mt.arange(1, 11, "int32"))):totable()
    for n, row in ipairs(rows) do
      local p = 1 / (1 + math.exp(logits[n][2] - logits[n][1]))
      assert.is_true(math.abs(row[1] - p) < 1e-6)
      assert.is_true(math.abs(row[1] + row[2] - 1) < 1e-15)
    end
    assert.equal(10, #rows)
  end)

  it("tell sure images apart that are all 1 in float32", function()
    local lead
    local model = { -- a net whose logits lead by the image's mean
      is_training = function() return false end, eval = function() end, train = function() end,
      forward = function() end,
    }
    setmetatable(model, { __call = function() return mt.tensor(lead) end })
    lead = { { 20, 0 }, { 25, 0 } }
    local set = mt.data.subset(tiny.data(2, 1), 2)
    local rows = selective.predict(model, set)
    assert.is_true(rows[1][1] < rows[2][1] and rows[2][1] < 1)
  end)
end)
