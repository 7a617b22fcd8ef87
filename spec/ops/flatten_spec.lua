local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

--- {N,...,C} -> {N, C * ...}, channels first.
local function flatten(x)
  local shape = x.shape
  local n, c = shape[1], shape[#shape]
  local spots = #x // (n * c)
  return reference.new({ n, c * spots }, function(i)
    local sample, rest = (i - 1) // (c * spots), (i - 1) % (c * spots)
    local channel, spot = rest // spots, rest % spots
    return x[(sample * spots + spot) * c + channel + 1]
  end)
end

describe("flatten", function()
  for _, shape in ipairs{ { 2, 3, 4, 5 }, { 1, 7, 9, 5 }, { 3, 4, 4, 1 }, { 2, 1, 1, 6 }, { 4, 3 }, { 2, 3, 4 } } do
    it("puts channels first, forward and backward: {" .. table.concat(shape, ",") .. "}", function()
      gradcheck.check{ ours = mt.flatten, reference = flatten, inputs = { { shape = shape } } }
    end)
  end

  it("orders a 2 x 2 image of two channels as PyTorch does", function()
    local image = mt.tensor{ { { { 1, 10 }, { 2, 20 } }, { { 3, 30 }, { 4, 40 } } } }
    assert.same({ { 1, 2, 3, 4, 10, 20, 30, 40 } }, mt.flatten(image):totable())
  end)

  it("takes an empty batch", function()
    assert.same({ 0, 60 }, mt.flatten(mt.zeros(0, 3, 4, 5)):shape())
  end)

  it("refuses vectors and integers", function()
    assert.has_error(function() mt.flatten(mt.ones(4)) end, "flatten: input has shape {4}, expected {N,...,C}")
    assert.has_error(function() mt.flatten(mt.ones(4, 4):to("int32")) end, "flatten: input is int32, expected float32")
  end)
end)
