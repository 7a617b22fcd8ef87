local mt = require "masktune"

local function int32(list) return mt.tensor(list):to("int32") end

--- The loss and its gradient with respect to x.
local function run(f, x, ...)
  x:zero_grad()
  local y = f(x, ...)
  y:backward(y:numel() > 1 and mt.arange(0, y:numel()):to("float32") or nil)
  return y:detach(), x:grad():clone()
end

-- With PyTorch's values it is compared in spec/oracle/training.lua.
describe("nll_loss", function()
  it("of log_softmax is cross_entropy, with every option, and so is the gradient", function()
    local labels = int32{ 1, 3, 2, 2, 4 }
    for _, reduction in ipairs{ "mean", "sum", "none" } do
      for _, options in ipairs{ {}, { ignore_index = 2 }, { weight = mt.tensor{ 0.5, 2, 1, 3 }, ignore_index = 4 } } do
        options.reduction = reduction
        local x = mt.rand(5, 4, { generator = mt.generator(2) }):requires_grad(true)
        local loss, gradient = run(mt.cross_entropy, x, labels, options)
        local same, same_gradient = run(function(logits, ...) return mt.nll_loss(logits:log_softmax(2), ...) end, x,
          labels, options)
        assert.is_true((loss - same):abs():max():item() < 1e-6)
        assert.is_true((gradient - same_gradient):abs():max():item() < 2e-6)
      end
    end
  end)

  it("is NaN as the mean over no samples", function()
    local mean = mt.nll_loss(mt.zeros(0, 3), int32{}):item()
    assert.is_true(mean ~= mean)
  end)

  it("refuses what does not fit, naming it", function()
    local function fails(text, ...)
      local ok, message = pcall(mt.nll_loss, ...)
      assert.is_false(ok)
      assert.matches(text, message, 1, true)
    end
    fails("nll_loss: labels[2] is 4, expected 1 to 3", mt.zeros(2, 3), int32{ 1, 4 })
    fails("nll_loss: labels[1] is 0, expected 1 to 3 or ignore_index 9", mt.zeros(2, 3), int32{ 0, 9 },
      { ignore_index = 9 })
    fails("nll_loss: log_probabilities has shape {3}, expected {N,k}", mt.zeros(3), int32{ 1 })
    fails("nll_loss: labels is float32, expected int32", mt.zeros(2, 3), mt.zeros(2, 3))
    fails("nll_loss: weight has shape {1}, expected {3}", mt.zeros(2, 3), int32{ 1, 1 }, { weight = mt.ones(1) })
    fails("unknown option 'label_smoothing'", mt.zeros(2, 3), int32{ 1, 1 }, { label_smoothing = 0.1 })
  end)
end)
