--- Masks of one bit a pixel.
local core = require "masktune.core"
local mt = require "masktune"
local process = require "support.process"
local row_file = require "masktune.data.row_file"
local streamed = require "masktune.data.streamed"

local sizes = { { 5, 3, 3 }, { 4, 8, 8 }, { 1, 1, 1 }, { 7, 5, 13 }, { 0, 4, 4 } }

local function random_masks(shape)
  return mt.rand(shape[1], shape[2], shape[3]):gt(0.4)
end

local function packed(keep) return core.data.masks(core.data.pack(keep), keep:size(2), keep:size(3)) end

describe("masks of one bit a pixel", function()
  it("are what the tensor is that they were made of", function()
    mt.manual_seed(1)
    for _, shape in ipairs(sizes) do
      local keep = random_masks(shape)
      local masks = packed(keep)
      assert.same(shape, masks:shape())
      assert.equal(shape[1], #masks)
      assert.equal(shape[3], masks:size(-1))
      assert.same(shape, masks:size())
      assert.equal("uint8", masks:dtype())
      assert.equal(keep:bytes(), masks:bytes())
      assert.same(keep:totable(), masks:totable())
      assert.equal(keep:to("float32"):bytes(), masks:to("float32"):bytes())
      assert.same(keep:to("int32"):sum({ 2, 3 }):totable(), masks:counts():totable())
      for i = 1, shape[1] do
        assert.equal(keep[i]:bytes(), masks[i]:bytes())
        assert.same({ shape[2], shape[3] }, masks[i]:shape())
      end
      assert.equal(keep:eq(0):bytes(), masks:complement():bytes())
      local other = random_masks(shape)
      assert.equal((keep:to("int32") * other:to("int32")):to("uint8"):bytes(), masks:both(packed(other)):bytes())
    end
    local keep = random_masks { 6, 5, 3 }
    local masks, list = packed(keep), { 6, 1, 1, 3 }
    assert.equal(keep:index(list):bytes(), masks:index(list):bytes())
    assert.equal(keep:index(list):index({ 3, 1 }):bytes(), masks:index(list):index({ 3, 1 }):bytes())
    assert.equal(keep:narrow(1, 2, 3):bytes(), masks:narrow(1, 2, 3):bytes())
    assert.equal(keep:eq(0):index(list):bytes(), masks:index(list):complement():bytes())
  end)

  it("lie in rows as numpy.unpackbits reads them", function()
    local keep = mt.tensor({ { { 1, 0, 0, 0, 0 }, { 0, 0, 1, 1, 0 } } }, { dtype = "uint8" })
    assert.same({ { 128 + 1, 128 } }, core.data.pack(keep):totable())
    assert.same({ { 255, 192 } }, core.data.pack(mt.full({ 1, 2, 5 }, 7, "uint8")):totable())
  end)

  it("mask images as mt.mask.apply does", function()
    mt.manual_seed(2)
    for _, channels in ipairs { 1, 3 } do
      for _, shape in ipairs(sizes) do
        local images = (mt.rand(shape[1], shape[2], shape[3], channels) * 255):to("uint8")
        local keep = random_masks(shape)
        local expected = mt.mask.apply(images, keep)
        assert.equal(expected:bytes(), mt.mask.apply(images, packed(keep)):bytes())
        assert.equal(expected:bytes(), streamed.of_tensor(images):masked(packed(keep)):bytes())
        local soft = mt.rand(shape[1], shape[2], shape[3])
        assert.equal(mt.mask.apply(images, soft):bytes(), streamed.of_tensor(images):masked(soft):bytes())
        local both = (keep:to("float32") * soft)
        assert.equal(mt.mask.apply(images, both):bytes(),
          streamed.of_tensor(images):masked(packed(keep)):masked(soft):bytes())
        assert.equal(mt.mask.apply(images, both):bytes(), streamed.of_tensor(images):masked(soft):masked(keep):bytes())
        local rest = mt.mask.apply(images, keep:eq(0))
        assert.equal(images:bytes(), streamed.of_tensor(images):masked(keep):plus(streamed.of_tensor(rest)):bytes())
        assert.equal((images + images):to("uint8"):bytes(),
          streamed.of_tensor(images):plus(streamed.of_tensor(images)):bytes())
      end
    end
  end)

  it("stay in their file, of which there is one for each kind", function()
    process.with_folder(function(folder)
      local keep = random_masks { 9, 5, 7 }
      local file = row_file.open("spec", folder .. "/m", {
        name = "masks", dtype = "uint8", shape = { 9, 5 }, settings = {},
      })
      assert.error_matches(function() core.data.masks(file, 5, 7) end, "whole file of masks of 5x7")
      file:put(1, core.data.pack(keep))
      local masks = core.data.masks(file, 5, 7)
      assert.error_matches(function() core.data.masks(file, 7, 7) end, "whole file of masks of 7x7")
      file:close()
      assert.equal(keep:bytes(), masks:bytes())
      assert.equal(keep:index({ 9, 2 }):bytes(), masks:index({ 9, 2 }):bytes())
    end)
  end)

  it("of 162,770 images of 224x224 take less than 1.1 GB", function()
    process.with_folder(function(folder)
      local path = folder .. "/m"
      local file = row_file.open("spec", path, {
        name = "masks", dtype = "uint8", shape = { 162770, 224 * 224 // 8 }, settings = {},
      })
      file:close()
      local handle = io.open(path .. ".partial")
      local size = handle:seek "end"
      handle:close()
      assert.is_true(size < 1.1e9)
      assert.is_true(size > 162770 * 224 * 224 // 8)
    end)
  end)

  it("and images go by the positions that were given, whatever becomes of their tensor", function()
    local images, positions = streamed.of_tensor((mt.rand(6, 2, 2, 1) * 255):to("uint8")), mt.arange(1, 7, "int32")
    local some, masks = images:index(positions), packed(random_masks { 6, 2, 2 }):index(positions)
    local before = some:bytes() .. masks:bytes()
    positions:fill(1 << 30)
    assert.equal(before, some:bytes() .. masks:bytes())
  end)

  it("refuse what does not fit", function()
    local masks = packed(random_masks { 3, 4, 5 })
    assert.error_matches(function() return masks[4] end, "mask 4, expected 1 to 3")
    assert.error_matches(function() return masks[0] end, "mask 0, expected 1 to 3")
    assert.error_matches(function() masks:index { 4 } end, "positions%[1%] is 4, expected 1 to 3")
    assert.error_matches(function() masks:index { 0 } end, "positions%[1%]: position from 1")
    assert.error_matches(function() masks:narrow(1, 2, 3) end, "integer in %[0, 2%]")
    assert.error_matches(function() masks:both(packed(random_masks { 3, 5, 4 })) end, "as many of one size")
    assert.error_matches(function() core.data.pack(mt.rand(2, 2, 2)) end, "keep is float32, expected uint8")
    assert.error_matches(function() core.data.masks(mt.zeros({ 2, 4 }, "uint8"), 4, 5) end, "expected {N,3}")
    local images = streamed.of_tensor(mt.zeros({ 3, 4, 4, 1 }, "uint8"))
    assert.error_matches(function() images:masked(masks) end, "masks {3,4,5}, expected {3,4,4}")
  end)
end)
