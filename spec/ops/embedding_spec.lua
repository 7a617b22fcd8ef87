local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"

describe("embedding", function()
  it("gives the rows of a table, counted from 1, and adds up their gradients", function()
    for _, shape in ipairs{ { 5 }, { 2, 3 }, { 0 }, {} } do
      local wide = { table.unpack(shape) }
      wide[#wide + 1] = 3
      gradcheck.check{
        ours = mt.embedding,
        reference = function(indices, weight)
          return reference.build(wide, function(at)
            local place = { table.unpack(at, 1, #shape) }
            return weight[reference.flat(weight.shape, { indices[reference.flat(shape, place)], at[#at] })]
          end)
        end,
        inputs = { { shape = shape, dtype = "int32", low = 1, high = 4 }, { shape = { 4, 3 } } },
      }
    end
  end)

  it("gives a padding row no gradient", function()
    local weight = mt.ones(3, 2):requires_grad(true)
    mt.embedding(mt.tensor({ 1, 2, 2, 3 }, "int32"), weight, { padding_idx = 2 }):sum():backward()
    assert.same({ { 1, 1 }, { 0, 0 }, { 1, 1 } }, weight:grad():totable())
  end)

  it("names the argument, its value and what was expected", function()
    local weight = mt.ones(3, 2)
    local function fails(pattern, ...)
      local ok, message = pcall(mt.embedding, ...)
      assert.is_false(ok)
      assert.matches(pattern, message, 1, true)
    end
    fails("embedding: element 2 of the indices is 4, expected 1..3", mt.tensor({ 1, 4 }, "int32"), weight)
    fails("embedding: element 1 of the indices is 0, expected 1..3", mt.tensor({ 0, 4 }, "int32"), weight)
    fails("embedding: indices is float32, expected int32", mt.ones(2), weight)
    fails("embedding: weight has shape {3}, expected {rows,D}", mt.tensor({ 1 }, "int32"), mt.ones(3))
    fails("expected fewer than 6 axes", mt.ones({ 1, 1, 1, 1, 1, 1 }, "int32"), weight)
    fails("option 'padding_idx': integer in [1, ", mt.tensor({ 1 }, "int32"), weight, { padding_idx = 0 })
  end)
end)
