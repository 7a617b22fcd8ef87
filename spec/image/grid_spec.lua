--- Many images in one picture.
local mt = require "masktune"
local contents = require "support.contents"
local process = require "support.process"

local grid = mt.image.grid

describe("grid", function()
  local three = mt.tensor({ { { { 1 }, { 2 } } }, { { { 3 }, { 4 } } }, { { { 5 }, { 6 } } } }, "uint8")

  --- The first channel, which is like the others where the images are gray.
  local function seen(picture)
    assert.equal(3, picture:size(3))
    return picture[{ {}, {}, 1 }]:totable()
  end

  it("lays images out row by row, with padding around them", function()
    assert.same({
      { 0, 0, 0, 0, 0, 0, 0 },
      { 0, 1, 2, 0, 3, 4, 0 },
      { 0, 0, 0, 0, 0, 0, 0 },
      { 0, 5, 6, 0, 0, 0, 0 },
      { 0, 0, 0, 0, 0, 0, 0 },
    }, seen(grid(three, { columns = 2, padding = 1 })))
    assert.same({ { 1, 2, 3, 4, 5, 6 } }, seen(grid(three, { padding = 0 })))
    assert.same({ 5, 14, 3 }, grid(three):shape())
  end)

  it("takes a background and a scale", function()
    local picture = grid(three:narrow(1, 1, 1), { padding = 1, scale = 2, background = { 7, 8, 9 } })
    assert.same({ 4, 6, 3 }, picture:shape())
    assert.same({ 7, 8, 9 }, picture[1][1]:totable())
    assert.same({ { 7, 1, 1, 2, 2, 7 }, { 7, 1, 1, 2, 2, 7 } }, { seen(picture)[2], seen(picture)[3] })
  end)

  it("takes colour images and floats in [0,1]", function()
    local images = mt.tensor({ { { { 255, 0, 128 } } }, { { { 1, 2, 3 } } } }, "uint8")
    assert.same({ { { 255, 0, 128 }, { 1, 2, 3 } } }, grid(images, { padding = 0 }):totable())
    assert.equal(grid(images):bytes(), grid(mt.image.batch(images, { 1, 2 })):bytes())
    assert.same({ { { 0, 0, 0 }, { 255, 255, 255 } } },
      grid(mt.tensor{ { { { 0 / 0 } } }, { { { 3 } } } }, { padding = 0 }):totable())
  end)

  it("says what is wrong", function()
    local function fails(f, message) assert.error_matches(f, message) end
    fails(function() grid(mt.zeros(2, 2, 3)) end, "grid: images has shape {2,2,3}, expected {N,H,W,C} with one or more")
    fails(function() grid(mt.zeros(0, 2, 2, 3)) end, "grid: images has shape {0,2,2,3}")
    fails(function() grid(mt.zeros(1, 2, 2, 4)) end, "C 1 or 3")
    fails(function() grid(mt.zeros(1, 2, 2, 1):to "int32") end, "grid: image is int32, expected uint8 or float32")
    fails(function() grid(three, { columns = 0 }) end, "option 'columns': integer in %[1, 65536%] expected, got 0")
    fails(function() grid(three, { rows = 2 }) end, "unknown option 'rows'")
    fails(function() grid(three, { background = 3 }) end,
      "option 'background': table of three integers in %[0, 255%] expected, got 3")
    fails(function() grid(mt.zeros({ 1, 1 << 20, 1, 1 }, "uint8"), { scale = 64, padding = 1024 }) end,
      "grid: 2112 x 67110912 pixels, expected at most 268435456 in all")
  end)
end)

describe("save_grid", function()
  local images = mt.rand(5, 6, 7, 3)

  it("writes PNG and JPEG files", function()
    process.with_folder(function(folder)
      mt.image.save_grid(folder .. "/a.png", images, { columns = 3 })
      assert.equal(grid(images, { columns = 3 }):bytes(), mt.image.read_png(folder .. "/a.png"):bytes())
      for _, name in ipairs{ "/a.jpg", "/a.jpeg" } do
        mt.image.save_grid(folder .. name, images)
        assert.same(grid(images):shape(), mt.image.read_jpeg(folder .. name):shape())
      end
    end)
  end)

  it("refuses other names, and leaves the old file where the images are wrong", function()
    for _, name in ipairs{ "a.bmp", "png", ".png", "" } do
      assert.error_matches(function() mt.image.save_grid(name, images) end, "path ")
    end
    contents.assert_refused(function(path, value) mt.image.save_grid(path .. ".png", value) end, {
      ["grid: images has shape {2,2}"] = mt.zeros(2, 2),
    })
  end)
end)
