local mt = require "masktune"

local WEIGHT = { [1] = 1 / 6, [2] = 1 / 12 } -- by |dy| + |dx|

--- The largest violation of the equations, one for each masked pixel: x times the weights inside the image = the
-- weighted sum of its neighbours.
local function residual(filled, keep)
  local height, width, channels = #filled, #filled[1], #filled[1][1]
  local worst = 0
  for y = 1, height do
    for x = 1, width do
      for c = 1, keep[y][x] == 0 and channels or 0 do
        local sum, weights = 0, 0
        for dy = -1, 1 do
          for dx = -1, 1 do
            local weight = WEIGHT[math.abs(dy) + math.abs(dx)]
            local row = filled[y + dy]
            if weight and row and row[x + dx] then
              sum, weights = sum + weight * row[x + dx][c], weights + weight
            end
          end
        end
        worst = math.max(worst, math.abs(filled[y][x][c] * weights - sum))
      end
    end
  end
  return worst
end

describe("mt.mask.impute", function()
  it("fills one pixel with the weighted mean of its neighbours", function()
    local image = mt.tensor{ { { { 1 }, { 2 }, { 3 } }, { { 4 }, { 99 }, { 6 } }, { { 7 }, { 8 }, { 9 } } } }
    local keep = mt.ones({ 1, 3, 3 }, "uint8")
    keep[1][2][2] = 0
    local filled = mt.mask.impute(image, keep)
    local expected = (2 + 4 + 6 + 8) / 6 + (1 + 3 + 7 + 9) / 12
    assert.is_true(math.abs(filled[1][2][2][1]:item() - expected) < 1e-6)
    keep[1][2][2], keep[1][1][1] = 1, 0 -- a corner: two direct neighbours, one diagonal
    filled = mt.mask.impute(image, keep)
    local corner = (2 / 6 + 4 / 6 + 99 / 12) / (1 / 6 + 1 / 6 + 1 / 12)
    assert.is_true(math.abs(filled[1][1][1][1]:item() - corner) < 1e-4)
    assert.equal(99.0, filled[1][2][2][1]:item())
    assert.equal(1.0, image[1][1][1][1]:item())
  end)

  it("continues what is linear", function()
    local image = mt.zeros(1, 9, 8, 2)
    for y = 1, 9 do
      for x = 1, 8 do
        image[1][y][x] = mt.tensor{ 0.1 * y - 0.05 * x, x }
      end
    end
    local keep = mt.ones({ 1, 9, 8 }, "uint8")
    for y = 3, 7 do
      for x = 2, 6 do
        keep[1][y][x] = 0
      end
    end
    local holed = mt.mask.apply(image, keep)
    assert.is_true((mt.mask.impute(holed, keep) - image):abs():max():item() < 1e-5)
  end)

  it("solves its equations on random images and masks, whatever their size", function()
    mt.manual_seed(6)
    for _, case in ipairs{
      { 1, 1, 1, 0.5 }, { 7, 5, 3, 0.3 }, { 1, 13, 2, 0.9 }, { 16, 16, 1, 0.95 }, { 23, 31, 3, 0.8 },
    } do
      local height, width, channels, share = table.unpack(case)
      local images = mt.rand(6, height, width, channels)
      local keep = mt.rand(6, height, width):ge(share)
      local filled = mt.mask.impute(images, keep)
      for n = 1, 6 do
        if keep[n]:max():item() == 1 then
          assert.is_true(residual(filled[n]:totable(), keep[n]:totable()) < 1e-6)
        else
          assert.equal(0, filled[n]:abs():max():item())
        end
      end
      local kept = keep:to("float32"):unsqueeze(4)
      assert.equal((images * kept):bytes(), (filled * kept):bytes())
    end
  end)

  it("gives the same for every number of threads", function()
    mt.manual_seed(7)
    local images, keep = mt.rand(9, 12, 12, 3), mt.rand(9, 12, 12):ge(0.7)
    local before = mt.get_num_threads()
    mt.set_num_threads(1)
    local one = mt.mask.impute(images, keep)
    mt.set_num_threads(3)
    assert.equal(one:bytes(), mt.mask.impute(images, keep):bytes())
    mt.set_num_threads(before)
  end)

  it("leaves nothing of an image without a kept pixel, and takes none", function()
    local filled = mt.mask.impute(mt.ones(2, 3, 3, 1), mt.cat({ mt.zeros({ 1, 3, 3 }, "uint8"),
      mt.ones({ 1, 3, 3 }, "uint8") }, 1))
    assert.equal(0, filled[1]:max():item())
    assert.equal(1, filled[2]:min():item())
    assert.same({ 0, 3, 3, 1 }, mt.mask.impute(mt.zeros(0, 3, 3, 1), mt.zeros({ 0, 3, 3 }, "uint8")):shape())
  end)

  it("says what is wrong", function()
    local images, keep = mt.rand(2, 3, 3, 1), mt.ones({ 2, 3, 3 }, "uint8")
    local function fails(message, ...)
      local ok, problem = pcall(mt.mask.impute, ...)
      assert.is_false(ok)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
    fails("impute: keep has shape {2,3,3}, expected {2,4,3}", mt.rand(2, 4, 3, 1), keep)
    fails("impute: images has shape {3,3,1}, expected {N,H,W,C}", images[1], keep)
    fails("impute: keep is float32, expected uint8", images, mt.ones(2, 3, 3))
    fails("impute: images is uint8, expected float32", images:to("uint8"), keep)
    images[2][1][1] = math.huge
    fails("impute: image 2 holds NaN or infinity, expected finite values", images, keep)
  end)
end)
