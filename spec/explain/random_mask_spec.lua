local mt = require "masktune"

--- The hole of a mask given as rows: top, left, height, width and whether it is a full rectangle; nil without a hole.
local function hole_of(rows)
  local top, left, bottom, right, count = math.huge, math.huge, 0, 0, 0
  for y, row in ipairs(rows) do
    for x, keep in ipairs(row) do
      if keep == 0 then
        top, bottom = math.min(top, y), math.max(bottom, y)
        left, right = math.min(left, x), math.max(right, x)
        count = count + 1
      end
    end
  end
  if count > 0 then
    local height, width = bottom - top + 1, right - left + 1
    return { top = top, left = left, height = height, width = width, full = count == height * width, count = count }
  end
end

describe("random squares", function()
  it("are one hole an image, square inside and cut off at the border, of every side from 2 to 14", function()
    local masks = mt.mask.random(2000, { size = { 28, 30 }, generator = mt.generator(3) })
    assert.same({ 2000, 28, 30 }, masks:shape())
    assert.equal("uint8", masks:dtype())
    local sides, at_border = {}, 0
    for _, rows in ipairs(masks:totable()) do
      local hole = hole_of(rows)
      assert.is_true(hole.full)
      local bottom, right = hole.top + hole.height - 1, hole.left + hole.width - 1
      if hole.top > 1 and hole.left > 1 and bottom < 28 and right < 30 then
        assert.equal(hole.height, hole.width)
        sides[hole.height] = (sides[hole.height] or 0) + 1
      else
        at_border = at_border + 1
        assert.is_true(hole.height <= 14 and hole.width <= 14)
      end
    end
    assert.is_true(at_border > 100)
    for side = 2, 14 do
      assert.is_true(sides[side] > 20, "side " .. side)
      sides[side] = nil
    end
    assert.is_nil(next(sides))
  end)

  it("have centres that are uniform over the pixels", function()
    -- Side 1: the hole is the centre.
    local masks = mt.mask.random(30000, { size = { 3, 5 }, min = 1, max = 1, generator = mt.generator(4) })
    local holes = masks:to("float32"):sum(1):reshape(15):totable()
    for _, kept in ipairs(holes) do
      assert.near(2000, 30000 - kept, 200) -- 4.6 standard deviations
    end
  end)

  it("come from the generator: the same seed gives the same masks", function()
    local function masks(seed)
      return mt.mask.random(50, { size = 28, generator = mt.generator(seed) }):bytes()
    end
    assert.equal(masks(1), masks(1))
    assert.not_equal(masks(1), masks(2))
    mt.manual_seed(1)
    local first = mt.mask.random(50, { size = 28 }):bytes()
    mt.manual_seed(1)
    assert.equal(first, mt.mask.random(50, { size = 28 }):bytes())
    assert.not_equal(first, mt.mask.random(50, { size = 28 }):bytes())
  end)

  it("may be larger than the image", function()
    assert.equal(0, mt.mask.random(3, { size = 4, min = 100, max = 100 }):to("float32"):sum():item())
    assert.same({ 0, 4, 4 }, mt.mask.random(0, { size = 4 }):shape())
  end)
end)

describe("random masks of the same area", function()
  it("mask as many pixels of each image, in one piece as square as it goes", function()
    local like = (mt.rand(300, 9, 11) + mt.rand(300, 1, 1)):ge(0.9)
    like[1], like[2] = mt.ones({ 9, 11 }, "uint8"), mt.zeros({ 9, 11 }, "uint8")
    local masks = mt.mask.random(300, { kind = "area", keep = like, generator = mt.generator(1) })
    assert.equal("uint8", masks:dtype())
    local given, got = like:totable(), masks:totable()
    for n = 1, 300 do
      local wanted, hole = hole_of(given[n]), hole_of(got[n])
      assert.equal(wanted and wanted.count, hole and hole.count)
      if hole then
        assert.is_true(hole.height * hole.width - hole.count < hole.width) -- only the last row is not full
        local side = math.ceil(math.sqrt(hole.count))
        if side <= 9 then
          assert.is_true(hole.width == side and hole.height <= side)
        end
      end
    end
  end)

  it("lie anywhere", function()
    local like = mt.ones({ 2000, 4, 4 }, "uint8")
    local one = mt.ones({ 4, 4 }, "uint8")
    one[1] = mt.tensor({ 0, 1, 1, 1 }, "uint8")
    for n = 1, 2000 do
      like[n] = one
    end
    local masks = mt.mask.random(2000, { kind = "area", keep = like, generator = mt.generator(2) })
    for _, kept in ipairs(masks:to("float32"):sum(1):reshape(16):totable()) do
      assert.near(125, 2000 - kept, 55)
    end
  end)
end)

describe("random", function()
  it("says what is wrong", function()
    local keep = mt.ones({ 2, 4, 4 }, "uint8")
    for message, arguments in pairs{
      ["option 'size': integer or {height, width} expected, got nil"] = { 2, {} },
      ["option 'max': integer in [5, 2147483647] expected, got 4"] = { 2, { size = 4, min = 5, max = 4 } },
      ["option 'min'"] = { 2, { size = 4, min = 0 } },
      ["option 'keep': only with kind 'area'"] = { 2, { size = 4, keep = keep } },
      ["option 'keep': the masks whose area to match expected, got nil"] = { 2, { kind = "area" } },
      ["option 'keep': n masks {n,H,W} expected"] = { 3, { kind = "area", keep = keep } },
      ["option 'min': only with kind 'square'"] = { 2, { kind = "area", keep = keep, min = 3 } },
      ["option 'size': that of 'keep' expected"] = { 2, { kind = "area", keep = keep, size = 5 } },
      ["random: keep is float32, expected uint8"] = { 2, { kind = "area", keep = keep:to("float32") } },
      ["option 'kind': 'square' or 'area' expected, got 'round'"] = { 2, { kind = "round" } },
      ["option 'generator'"] = { 2, { size = 4, generator = 7 } },
      ["#1"] = { -1, { size = 4 } },
    } do
      local ok, problem = pcall(mt.mask.random, table.unpack(arguments))
      assert.is_false(ok, message)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
  end)
end)
