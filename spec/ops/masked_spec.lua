--- nonzero, masked_select and masked_fill.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

local nan = 0 / 0

--- Shape of the tensor, shape and values of the mask.
local cases = {
  { { 2, 3 }, { 2, 3 }, { 0, 1, 1, 0, 0, 1 } }, { { 2, 3 }, { 3 }, { 1, 0, 1 } }, { { 3 }, { 2, 1 }, { 0, 1 } },
  { { 2, 2, 2 }, { 2, 1 }, { 1, 0 } }, { { 4 }, { 4 }, { 0, 0, 0, 0 } }, { {}, { 3 }, { 1, 0, 1 } },
}

describe("masked", function()
  for _, case in ipairs(cases) do
    local shape, mask_shape, marks = table.unpack(case)
    local mask = { shape = mask_shape, values = marks, dtype = "uint8" }
    local text = ("{%s} by {%s}"):format(table.concat(shape, ","), table.concat(mask_shape, ","))

    it("select of " .. text .. " matches the reference, values and gradients", function()
      gradcheck.check{
        ours = function(x, m) return x:masked_select(m) end,
        reference = function(x, m)
          local chosen = { shape = {} }
          local pairs_of = reference.build(reference.broadcast_shape(x.shape, m.shape), function(p)
            return { reference.broadcast_at(x, p), reference.broadcast_at(m, p) }
          end)
          for _, pair in ipairs(pairs_of) do
            if pair[2] ~= 0 then chosen[#chosen + 1] = pair[1] end
          end
          chosen.shape[1] = #chosen
          return chosen
        end,
        inputs = { { shape = shape }, mask },
      }
    end)

    it("fill of " .. text .. " matches the reference, values and gradients", function()
      gradcheck.check{
        ours = function(x, m) return x:masked_fill(m, 2.5) end,
        reference = function(x, m) return reference.zip(x, m, function(v, mark) return mark ~= 0 and 2.5 or v end) end,
        inputs = { { shape = shape }, mask },
      }
    end)
  end

  it("take masks of any type, in which NaN marks", function()
    local t = mt.arange(3)
    assert.same({ 0.0, 2.0 }, t:masked_select(mt.tensor{ nan, 0, 0.5 }):totable())
    assert.same({ 9.0, 1.0, 9.0 }, t:masked_fill(mt.tensor{ nan, -0.0, 0.5 }, 9):totable())
    assert.same({ 1.0 }, t:masked_select(mt.tensor({ 0, -1, 0 }, "int32")):totable())
  end)

  it("keep the type, and the tensor itself as it is", function()
    local t = mt.tensor({ 1, 2 }, "uint8")
    local filled = t:masked_fill(mt.tensor({ 1, 0 }, "uint8"), 7)
    assert.equal("uint8", filled:dtype())
    assert.same({ 7, 2 }, filled:totable())
    assert.same({ 1, 2 }, t:totable())
    assert.error_matches(function() t:masked_fill(t, 256) end, "a value of uint8 expected, got 256")
    assert.error_matches(function() t:masked_fill(t, t) end, "number expected, got masktune.Tensor")
    assert.error_matches(function() t:masked_select(mt.ones(3)) end, "masked_select: shapes {2} and {3} do not fit")
    assert.error_matches(function() t:masked_fill(mt.ones(3), 1) end, "where: shapes")
  end)

  it("minus infinity makes softmax ignore what is masked", function()
    local logits = mt.tensor({ 1, 2, 3 }, { requires_grad = true })
    local p = logits:masked_fill(mt.tensor({ 0, 0, 1 }, "uint8"), -math.huge):softmax()
    assert.equal(0.0, p[3]:item())
    p[1]:backward()
    assert.equal(0.0, logits:grad()[3]:item())
  end)
end)

describe("nonzero", function()
  it("gives coordinates in row-major order", function()
    local found = mt.tensor{ { 0, 2, 0 }, { -1, 0, nan } }:nonzero()
    assert.equal("int32", found:dtype())
    assert.same({ { 1, 2 }, { 2, 1 }, { 2, 3 } }, found:totable())
    assert.same({ { 2, 1, 2 } }, mt.tensor({ { { 0, 0 } }, { { 0, 7 } } }, "uint8"):nonzero():totable())
  end)

  it("has a row for each element found, also of none and without axes", function()
    assert.same({ 0, 2 }, mt.zeros(2, 3):nonzero():shape())
    assert.same({ 0, 1 }, mt.zeros(0):nonzero():shape())
    assert.same({ 1, 0 }, mt.tensor(3):nonzero():shape())
    assert.same({ 0, 0 }, mt.tensor(0):nonzero():shape())
  end)
end)
