local mt = require "masktune"

local nan, inf = 0 / 0, math.huge

--- Float images with one value put into image `i`, at a place in it.
local function with(images, i, place, value)
  local flat = images:reshape(#images, -1):totable()
  flat[i][place] = value
  return mt.tensor(flat):reshape(images:shape())
end

describe("image.first_bad", function()
  local images = mt.rand(20, 31, 7, 3) -- an image does not fill whole vectors

  it("gives the first image with a NaN or an infinity, wherever in it", function()
    assert.is_nil(mt.image.first_bad(images))
    for _, value in ipairs { nan, -nan, inf, -inf } do
      for _, place in ipairs { 1, 300, 31 * 7 * 3 } do
        for _, i in ipairs { 1, 13, 20 } do
          assert.equal(i, mt.image.first_bad(with(images, i, place, value)))
        end
      end
    end
    assert.equal(4, mt.image.first_bad(with(with(images, 17, 5, inf), 4, 600, nan)))
  end)

  it("gives the same with any number of threads, for large images too", function()
    local threads = mt.get_num_threads()
    local large = with(with(mt.zeros(40, 50, 40, 3), 29, 6000, nan), 31, 1, nan)
    for n = 1, 3 do
      mt.set_num_threads(n)
      assert.equal(29, mt.image.first_bad(large))
      assert.is_nil(mt.image.first_bad(large:narrow(1, 32, 9)))
    end
    mt.set_num_threads(threads)
  end)

  it("takes the largest and the smallest numbers for what they are", function()
    assert.is_nil(mt.image.first_bad(mt.tensor { { 3.4028234e38, -3.4028234e38, 1e-45, -0.0 } }))
  end)

  it("takes any shape and dtype with a first axis", function()
    assert.equal(2, mt.image.first_bad(mt.tensor { 1, nan }))
    assert.is_nil(mt.image.first_bad(mt.zeros(0, 3, 3, 1)))
    assert.is_nil(mt.image.first_bad(mt.zeros(3, 0)))
    assert.is_nil(mt.image.first_bad(mt.ones({ 2, 2 }, "uint8")))
    assert.error_matches(function() mt.image.first_bad(mt.tensor(1)) end, "got a scalar")
    assert.error_matches(function() mt.image.first_bad {} end, "Tensor expected")
  end)
end)

describe("image.range", function()
  it("gives the smallest and the largest value, wherever they are", function()
    local images = mt.rand(9, 40, 50, 3)
    assert.same({ images:min():item(), images:max():item() }, { mt.image.range(images) })
    for _, i in ipairs { 1, 5, 9 } do
      for _, place in ipairs { 1, 17, 6000 } do
        local low, high = mt.image.range(with(with(images, i, place, -3), 10 - i, 6001 - place, 7.5))
        assert.same({ -3, 7.5 }, { low, high })
      end
    end
    local bytes = (images * 255):to "uint8"
    assert.same({ bytes:min():item(), bytes:max():item() }, { mt.image.range(bytes) })
    assert.same({ 9, 9 }, { mt.image.range((mt.zeros(3) + 9):to "uint8") })
  end)

  it("passes NaN over, but not infinities", function()
    assert.same({ -2, 5 }, { mt.image.range(mt.tensor { nan, 5, nan, -2 }) })
    assert.same({ 1, inf }, { mt.image.range(mt.tensor { 1, inf, nan }) })
    assert.same({ -inf, -inf }, { mt.image.range(mt.tensor { -inf }) })
  end)

  it("gives nothing where there is no value", function()
    assert.same({}, { mt.image.range(mt.zeros(0, 3)) })
    assert.same({}, { mt.image.range(mt.zeros({ 0 }, "uint8")) })
    assert.same({}, { mt.image.range(mt.tensor { nan, nan }) })
    assert.error_matches(function() mt.image.range(mt.zeros({ 2 }, "int32")) end,
      "float32 or uint8 expected, got int32")
  end)
end)
