local mt = require "masktune"

describe("mt.mask.rank", function()
  it("orders each heatmap's values, the highest first, of equals the first in row order", function()
    local heat = mt.tensor{ { { 0.5, 2, -1 }, { 2, 0.5, 3 } }, { { 0, 0, 0 }, { 0, 0, 0 } } }
    local ranks = mt.mask.rank(heat)
    assert.equal("int32", ranks:dtype())
    assert.same({ { { 4, 2, 6 }, { 3, 5, 1 } }, { { 1, 2, 3 }, { 4, 5, 6 } } }, ranks:totable())
    assert.same({ 0, 3, 3 }, mt.mask.rank(mt.zeros(0, 3, 3)):shape())
  end)

  it("agrees with a sort on many images", function()
    mt.manual_seed(4)
    local heat = (mt.rand(70, 9, 11) * 20):to("int32"):to("float32") -- with ties
    local ranks = mt.mask.rank(heat):reshape(70, 99):totable()
    for n, row in ipairs(heat:reshape(70, 99):totable()) do
      local order = {}
      for i = 1, 99 do
        order[i] = i
      end
      table.sort(order, function(a, b)
        if row[a] ~= row[b] then return row[a] > row[b] end
        return a < b
      end)
      for rank, i in ipairs(order) do
        assert.equal(rank, ranks[n][i])
      end
    end
  end)

  it("says what is wrong", function()
    local broken = mt.zeros(2, 3, 3)
    broken[2][1][1] = 0 / 0
    assert.error_matches(function() mt.mask.rank(broken) end, "rank: heat of image 2 holds NaN, expected finite values")
    assert.error_matches(function() mt.mask.rank(mt.zeros(3, 3)) end, "rank: heat has shape {3,3}, expected {N,h,w}")
    assert.error_matches(function() mt.mask.rank(mt.zeros({ 1, 3, 3 }, "int32")) end, "rank: heat is int32")
  end)
end)
