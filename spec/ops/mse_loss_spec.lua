local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

describe("mse_loss", function()
  for _, reduction in ipairs{ "mean", "sum", "none" } do
    it("and both gradients agree with doubles: " .. reduction, function()
      gradcheck.check{
        ours = function(x, t) return mt.mse_loss(x, t, { reduction = reduction }) end,
        reference = function(x, t)
          local squares = reference.zip(x, t, function(a, b) return (a - b) ^ 2 end)
          if reduction == "none" then return squares end
          local sum = 0.0
          for i = 1, #squares do
            sum = sum + squares[i]
          end
          return reduction == "sum" and sum or sum / #squares
        end,
        inputs = { { shape = { 4, 3, 2 } }, { shape = { 4, 3, 2 } } },
      }
    end)
  end

  it("broadcasts nothing and takes floats alone", function()
    local function fails(text, ...)
      local ok, message = pcall(mt.mse_loss, ...)
      assert.is_false(ok)
      assert.matches(text, message, 1, true)
    end
    fails("mse_loss: target has shape {3}, expected {3,1}", mt.zeros(3, 1), mt.zeros(3))
    fails("mse_loss: target is uint8, expected float32", mt.zeros(3), mt.zeros(3, "uint8"))
    fails("mse_loss: input is int32, expected float32", mt.zeros(3, "int32"), mt.zeros(3))
  end)
end)
