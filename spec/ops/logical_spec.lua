--- any and all.
local mt = require "masktune"

local nan = 0 / 0

describe("any and all", function()
  it("look at every element, of any type, over any axes", function()
    for _, dtype in ipairs{ "float32", "uint8", "int32" } do
      local t = mt.tensor({ { 0, 2, 0 }, { 1, 3, 0 } }, dtype)
      assert.equal("uint8", t:any():dtype())
      assert.equal(1, t:any():item())
      assert.equal(0, t:all():item())
      assert.same({ 1, 1, 0 }, t:any(1):totable())
      assert.same({ 0, 1, 0 }, t:all(1):totable())
      assert.same({ { 1 }, { 1 } }, t:any(2, { keepdim = true }):totable())
      assert.same({ 0, 0 }, t:all(-1):totable())
    end
    local t = mt.zeros(2, 3, 4, "uint8")
    t[2][1][3] = 1
    assert.same({ 1, 0, 0 }, t:any{ 1, 3 }:totable())
    assert.same({ 0, 0, 1, 0 }, t:any{ 1, 2 }:totable())
  end)

  it("count NaN as something, and -0 as nothing", function()
    assert.equal(1, mt.tensor{ nan }:all():item())
    assert.equal(0, mt.tensor{ -0.0 }:any():item())
  end)

  it("are 0 and 1 of nothing, and the element's of a tensor without axes", function()
    assert.equal(0, mt.zeros(0):any():item())
    assert.equal(1, mt.zeros(0):all():item())
    assert.same({ 1, 1 }, mt.zeros(0, 2):all(1):totable())
    assert.same({ 0 }, mt.zeros(0, 2):all(2):shape())
    assert.equal(1, mt.tensor(3):all():item())
  end)

  it("give the same on several threads", function()
    local t = mt.zeros(400, 300, "uint8")
    t[77][200] = 1
    assert.equal(1, t:any():item())
    assert.same({ 77 }, t:any(2):nonzero():reshape(-1):totable())
    assert.equal(299, (1 - t:any(1)):sum():item())
  end)
end)
