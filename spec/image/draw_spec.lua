local mt = require "masktune"
local image = mt.image

local red, blue = { 255, 0, 0 }, { 1, 2, 3 }

local function canvas(height, width)
  return mt.zeros({ height, width, 3 }, "uint8")
end

--- Rows of text: '#' where a pixel is not black.
local function seen(picture)
  local rows = {}
  for y, row in ipairs(picture:totable()) do
    local marks = {}
    for x, pixel in ipairs(row) do
      marks[x] = pixel[1] + pixel[2] + pixel[3] > 0 and "#" or "."
    end
    rows[y] = table.concat(marks)
  end
  return rows
end

describe("fill_rect", function()
  it("fills its pixels and no others, cut off at the border", function()
    local c = canvas(4, 6)
    image.fill_rect(c, 1, 2, 3, 1, blue)
    image.fill_rect(c, 4, -5, 100, 7, red)
    image.fill_rect(c, 0, 0, 0, 4, red)
    image.fill_rect(c, -9, -9, 9, 9, red)
    assert.same({ "....##", "....##", ".###..", "......" }, seen(c))
    assert.same(blue, c:totable()[3][2])
    assert.same(red, c:totable()[1][5])
  end)

  it("says what is wrong", function()
    for message, arguments in pairs{
      ["fill_rect: canvas is float32, expected uint8"] = { mt.zeros(2, 2, 3), 0, 0, 1, 1, red },
      ["fill_rect: canvas has shape {2,2}, expected {H,W,3}"] = { mt.zeros({ 2, 2 }, "uint8"), 0, 0, 1, 1, red },
      ["color: table of three integers in [0, 255] expected"] = { canvas(2, 2), 0, 0, 1, 1, { 0, 256, 0 } },
      ["#6"] = { canvas(2, 2), 0, 0, 1, 1, "red" },
      ["#2"] = { canvas(2, 2), 0.5, 0, 1, 1, red },
      ["#4"] = { canvas(2, 2), 0, 0, -1, 1, red },
    } do
      local ok, problem = pcall(image.fill_rect, table.unpack(arguments))
      assert.is_false(ok)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
  end)
end)

describe("draw_line", function()
  it("draws both ends and everything between, whichever way round", function()
    for _, ends in ipairs{ { 0, 0, 4, 2 }, { 4, 2, 0, 0 } } do
      local c = canvas(3, 5)
      image.draw_line(c, ends[1], ends[2], ends[3], ends[4], red)
      local rows = seen(c)
      assert.equal("#", rows[1]:sub(1, 1))
      assert.equal("#", rows[3]:sub(5, 5))
      for x = 1, 5 do -- one pixel in every column: no gaps
        local _, count = (rows[1]:sub(x, x) .. rows[2]:sub(x, x) .. rows[3]:sub(x, x)):gsub("#", "")
        assert.equal(1, count)
      end
    end
  end)

  it("draws points, thick lines and lines that come from far outside", function()
    local c = canvas(3, 3)
    image.draw_line(c, 1, 1, 1, 1, red)
    assert.same({ "...", ".#.", "..." }, seen(c))
    c = canvas(5, 5)
    image.draw_line(c, -1000000000, 2, 1000000000, 2, red, 3)
    assert.same({ ".....", "#####", "#####", "#####", "....." }, seen(c))
    c = canvas(3, 3)
    image.draw_line(c, -1000000, -1000000, 1000000, 1000000, red)
    assert.same({ "#..", ".#.", "..#" }, seen(c))
    c = canvas(3, 3)
    image.draw_line(c, 10, 0, 10, 3, red)
    assert.same({ "...", "...", "..." }, seen(c))
  end)
end)

describe("paste", function()
  it("copies gray and colour images, enlarged and cut off", function()
    local c = canvas(4, 5)
    image.paste(c, mt.tensor({ { 9, 0 }, { 0, 200 } }, "uint8"), 0, 0, 2)
    assert.same({ "##...", "##...", "..##.", "..##." }, seen(c))
    assert.same({ 200, 200, 200 }, c:totable()[4][4])
    image.paste(c, mt.tensor({ { { 1, 2, 3 } } }, "uint8"), 4, 0)
    assert.same({ 1, 2, 3 }, c:totable()[1][5])
    image.paste(c, mt.full({ 2, 2, 1 }, 7, "uint8"), -1, 3)
    assert.same({ 7, 7, 7 }, c:totable()[4][1])
    assert.error_matches(function()
      image.paste(c, mt.zeros(2, 2), 0, 0)
    end, "paste: image is float32, expected uint8")
  end)
end)

describe("colormap", function()
  -- Matplotlib's viridis at 0, 1/2 and 1; the polynomial is within a few steps of it.
  local published = {
    viridis = { { 68, 1, 84 }, { 33, 145, 140 }, { 253, 231, 37 } },
    gray = { { 0, 0, 0 }, { 128, 128, 128 }, { 255, 255, 255 } },
  }

  for map, colors in pairs(published) do
    it("runs through the published colours of " .. map, function()
      local got = image.colormap(mt.tensor{ { 0, 0.5, 1 } }, { map = map }):totable()[1]
      for i = 1, 3 do
        for c = 1, 3 do
          assert.near(colors[i][c], got[i][c], 6)
        end
      end
    end)
  end

  it("agrees with D3's form of the turbo polynomial (d3-scale-chromatic, turbo.js)", function()
    local function d3(t)
      return {
        34.61 + t * (1172.33 - t * (10793.56 - t * (33300.12 - t * (38394.49 - t * 14825.05)))),
        23.31 + t * (557.33 + t * (1225.33 - t * (3574.96 - t * (1073.77 + t * 707.56)))),
        27.2 + t * (3211.1 - t * (15327.97 - t * (27814 - t * (22569.18 - t * 6838.66)))),
      }
    end
    for i = 0, 16 do
      local got = image.colormap(mt.tensor{ { i / 16 } }, { map = "turbo", low = 0, high = 1 }):totable()[1][1]
      for c, value in ipairs(d3(i / 16)) do
        assert.near(math.max(0, math.min(255, value)), got[c], 6)
      end
    end
  end)

  it("scales each image by itself, or all by low and high", function()
    local heat = mt.tensor{ { { 0, 1 } }, { { 10, 30 } } }
    local own = image.colormap(heat, { map = "gray" }):totable()
    assert.same({ { { { 0, 0, 0 }, { 255, 255, 255 } } }, { { { 0, 0, 0 }, { 255, 255, 255 } } } }, own)
    local shared = image.colormap(heat, { map = "gray", low = 0, high = 20 }):totable()
    assert.same({ 13, 13, 13 }, shared[1][1][2])
    assert.same({ 128, 128, 128 }, shared[2][1][1])
    assert.same({ 255, 255, 255 }, shared[2][1][2])
  end)

  it("shows constant maps as the start, NaN as black and infinity as the end", function()
    local got = image.colormap(mt.tensor{ { 5, 5 } }):totable()[1]
    assert.same(got[1], got[2])
    assert.near(84, got[1][3], 6)
    got = image.colormap(mt.tensor{ { 0, 0 / 0, 1, math.huge } }, { map = "viridis" }):totable()[1]
    assert.same({ 0, 0, 0 }, got[2])
    assert.same(got[3], got[4])
  end)

  it("says what is wrong", function()
    assert.error_matches(function()
      image.colormap(mt.zeros(3))
    end, "colormap: heat has shape {3}, expected {H,W} or {N,H,W}")
    assert.error_matches(function()
      image.colormap(mt.zeros(3, 3), { map = "jet" })
    end, "option 'map': 'viridis' or 'turbo' or 'gray' expected, got 'jet'")
    assert.error_matches(function()
      image.colormap(mt.zeros(3, 3), { low = 3 })
    end, "both or neither")
  end)
end)

describe("overlay", function()
  it("mixes the colours of the resized heatmap into gray and colour images", function()
    local heat = mt.tensor{ { 0, 1 } }
    local gray = mt.full({ 2, 2, 1 }, 100, "uint8")
    local mixed = image.overlay(gray, heat, { map = "gray", alpha = 0.25 }):totable()
    assert.same({ { 75, 75, 75 }, { 139, 139, 139 } }, mixed[1])
    assert.same(mixed[1], mixed[2])
    local color = mt.tensor({ { { { 10, 20, 30 }, { 40, 50, 60 } } } }, "uint8")
    assert.same({ { { { 10, 20, 30 }, { 40, 50, 60 } } } },
      image.overlay(color, heat:reshape(1, 1, 2), { alpha = 0 }):totable())
  end)

  it("takes floats in [0,1], as image.batch gives them", function()
    local images = mt.tensor({ { { { 10, 20, 30 }, { 40, 50, 60 } } }, { { { 0, 128, 255 }, { 1, 2, 3 } } } }, "uint8")
    local batch, heat = mt.image.batch(images, { 1, 2 }), mt.rand(2, 1, 2)
    assert.equal(image.overlay(images, heat):bytes(), image.overlay(batch, heat):bytes())
    assert.equal(image.overlay(images[2], heat[2]):bytes(), image.overlay(batch[2], heat[2]):bytes())
    local one = image.overlay(mt.image.batch(images, { 2 }), heat:narrow(1, 2, 1))
    assert.same({ 1, 1, 2, 3 }, one:shape())
    assert.equal(image.overlay(images, heat)[2]:bytes(), one:bytes())
    assert.same({ { { 0, 0, 0 }, { 255, 255, 255 } } },
      image.overlay(mt.tensor{ { { -1 }, { 2 } } }, mt.zeros(1, 1), { alpha = 0 }):totable())
    assert.error_matches(function() image.overlay(mt.zeros({ 1, 1, 1 }, "int32"), mt.zeros(1, 1)) end,
      "overlay: image is int32, expected uint8 or float32 in %[0,1%]")
  end)

  it("wants one heatmap an image", function()
    assert.error_matches(function()
      image.overlay(mt.zeros({ 2, 4, 4, 3 }, "uint8"), mt.zeros(3, 4, 4))
    end, "overlay: heat has shape {3,4,4}, expected a plane for each image of {2,4,4,3}")
    assert.error_matches(function()
      image.overlay(mt.zeros({ 4, 4, 2 }, "uint8"), mt.zeros(4, 4))
    end, "overlay: image has shape {4,4,2}")
  end)
end)
