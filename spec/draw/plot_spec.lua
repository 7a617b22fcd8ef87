local drawings = require "support.drawings"
local mt = require "masktune"

local with_pixels = drawings.has_cairo and it or pending

--- The pixels of a plot.
local function lines(o) return mt.plot.lines(o):image() end

local function options(more)
  local o = {
    x = { label = "coverage" }, y = { label = "error" },
    series = { { name = "line", x = { 0, 50, 100 }, y = { 0, 1, 4 }, color = { 255, 0, 0 } } },
    width = 600, height = 400,
  }
  for name, value in pairs(more or {}) do
    o[name] = value
  end
  return o
end

--- Whether the pixel at x of a row of values has the colour, to a few steps.
local function has(row, x, color)
  for c = 1, 3 do
    if math.abs(row[3 * x - 3 + c] - color[c]) > 8 then return false end
  end
  return true
end

--- The columns and rows a colour appears in, and in how many pixels.
local function extent(image, color)
  local found = { left = math.huge, right = -math.huge, top = math.huge, bottom = -math.huge, count = 0 }
  local bytes, width = image:bytes(), image:size(2)
  for y = 1, image:size(1) do
    local row = { bytes:byte(3 * width * (y - 1) + 1, 3 * width * y) }
    for x = 1, width do
      if has(row, x, color) then
        found.left, found.right = math.min(found.left, x), math.max(found.right, x)
        found.top, found.bottom = math.min(found.top, y), math.max(found.bottom, y)
        found.count = found.count + 1
      end
    end
  end
  return found
end

describe("a line plot", function()
  with_pixels("has the size that was asked for", function()
    assert.same({ 400, 600, 3 }, lines(options()):shape())
    local defaults = options()
    defaults.width, defaults.height = nil, nil
    assert.same({ 840, 1200, 3 }, lines(defaults):shape())
  end)

  with_pixels("draws a line from where it starts to where it ends, between the axes", function()
    local red = { 255, 0, 0 }
    local line = { x = { 0, 100 }, y = { 0, 4 }, color = red }
    local found = extent(lines(options { series = { line } }), red)
    assert.is_true(found.left > 100 and found.left < 160)
    assert.is_true(found.right > 530 and found.right < 585)
    assert.is_true(found.top < 60 and found.bottom > 270 and found.bottom < 300)
    local half = { x = { 0, 50 }, y = { 0, 2 }, color = red }
    local shorter = extent(lines(options {
      series = { half }, x = { label = "x", min = 0, max = 100 }, y = { label = "y", min = 0, max = 4 },
    }), red)
    assert.is_true(math.abs(shorter.right - (found.left + found.right) / 2) <= 4)
    assert.is_true(math.abs(shorter.top - (found.top + found.bottom) / 2) <= 4)
  end)

  with_pixels("cuts off what lies outside the axes", function()
    local red = { 255, 0, 0 }
    local inside = extent(lines(options {
      series = { { x = { -100, 200 }, y = { -10, 20 }, color = red } },
      x = { label = "x", min = 0, max = 100 }, y = { label = "y", min = 0, max = 10 },
    }), red)
    assert.is_true(inside.left > 100 and inside.bottom < 300 and inside.count > 100)
  end)

  with_pixels("draws bands lighter than their lines, and marks as discs", function()
    local green = { 0, 200, 0 }
    local image = lines(options {
      series = { { x = { 0, 100 }, y = { 2, 2 }, low = { 1, 1 }, high = { 3, 3 }, color = green } },
    })
    local light = { 255 - 0.18 * 255, 255 - 0.18 * 55, 255 - 0.18 * 255 }
    local band, line = extent(image, light), extent(image, green)
    assert.is_true(band.top < line.top and band.bottom > line.bottom and band.count > 10 * line.count)
    local marks = extent(lines(options { series = { { x = { 1 }, y = { 1 }, marks = true, color = green } } }),
      green)
    assert.is_true(math.abs(marks.right - marks.left - 12) <= 2 and math.abs(marks.bottom - marks.top - 12) <= 2)
  end)

  with_pixels("puts the legend where the lines are not", function()
    local red = { 255, 0, 0 }
    local function legend_top(y)
      local x, values = {}, {}
      for i = 1, 101 do
        x[i], values[i] = i, y(i)
      end
      local image = lines(options { series = { { name = "a", x = x, y = values, color = { 0, 0, 255 } }, {
        name = "b", x = x, y = values, color = red, marks = true } } })
      return extent(image, red)
    end
    assert.is_true(legend_top(function(i) return i ^ 3 end).left < 200) -- top left is free
    assert.is_true(legend_top(function(i) return (101 - i) ^ 3 end).right > 500)
  end)

  with_pixels("gives a series another colour in the legend where one is asked for", function()
    local red, green = { 255, 0, 0 }, { 0, 200, 0 }
    local marks = { name = "a", x = { 1 }, y = { 1 }, marks = true, color = red }
    assert.equal(0, extent(lines(options { series = { marks } }), green).count)
    local both = extent(lines(options { series = { marks } }), red).count
    marks.legend_color = green
    local image = lines(options { series = { marks } })
    assert.is_true(extent(image, red).count < 0.6 * both) -- the point itself
    assert.is_true(extent(image, green).count > 0.4 * both)
  end)

  it("refuses what cannot be drawn, naming option and value", function()
    local function refused(pattern, more)
      assert.error_matches(function() mt.plot.lines(options(more)) end, pattern, 1, true)
    end
    refused("option 'series'", { series = {} })
    refused("option 'series'[1]: option 'y': 2 numbers expected (one per x), got 1",
      { series = { { x = { 1, 2 }, y = { 1 } } } })
    refused("option 'series'[1]: options 'low' and 'high': both or neither",
      { series = { { x = { 1 }, y = { 1 }, low = { 1 } } } })
    refused("option 'series'[1]: option 'x': rising numbers expected",
      { series = { { x = { 2, 1 }, y = { 1, 1 }, low = { 1, 1 }, high = { 1, 1 } } } })
    refused("option 'series'[1]: option 'y': list", { series = { { x = { 1 }, y = { 0 / 0 } } } })
    refused("option 'x': option 'label': string expected, got nil", { x = {} })
    refused("option 'width': integer in [300, 10000] expected, got 5", { width = 5 })
  end)

  it("draws a single point and lines without any height", function()
    assert.has_no.errors(function()
      mt.plot.lines(options { series = { { x = { 3 }, y = { 3 } } } })
      mt.plot.lines(options { series = { { x = { 1, 2 }, y = { 0, 0 } } } })
      mt.plot.lines(options { series = { { x = { 1, 2 }, y = { 0, 0 } } }, y = { label = "y", min = 0 } })
      mt.plot.lines(options { series = { { x = { 1, 2 }, y = { 1e-9, 2e-9 } } } })
      mt.plot.lines(options { series = { { x = { 1, 2 }, y = { 1e12, -2e12 } } } })
    end)
  end)

  it("is the same as SVG", function()
    local text = mt.plot.lines(options {
      title = "T <1>", series = {
        { name = "a & b", x = { 0, 100 }, y = { 0, 4 }, dashed = true, dots = true },
        { x = { 0, 100 }, y = { 1, 2 }, low = { 0, 1 }, high = { 2, 3 } },
      },
    }):svg()
    assert.truthy(text:find(">T &lt;1&gt;</text>", 1, true))
    assert.truthy(text:find(">a &amp; b</text>", 1, true))
    assert.truthy(text:find('stroke-dasharray="16 10" points="134,288 556,', 1, true), text)
    assert.equal(2, select(2, text:gsub("<title>a &amp; b: ", "")))
    assert.equal(1, select(2, text:gsub('<polygon fill="#d55e00" fill%-opacity="0.18"', "")))
  end)
end)

describe("learning curves", function()
  it("show what the history has", function()
    local history = {
      { epoch = 1, train_accuracy = 0.5, val_loss = 2 }, { epoch = 2, train_accuracy = 0.9, val_loss = 1 },
    }
    local accuracy = mt.plot.curves(history, "accuracy"):svg()
    assert.truthy(accuracy:find(">training</text>", 1, true))
    assert.falsy(accuracy:find(">validation</text>", 1, true))
    assert.truthy(mt.plot.curves(history, "loss", { title = "L" }):svg():find(">L</text>", 1, true))
    assert.is_nil(mt.plot.curves({ { epoch = 1 } }, "loss"))
    assert.is_nil(mt.plot.curves({}, "accuracy"))
    assert.error_matches(function() mt.plot.curves(history, "lost") end, "argument 'what'")
  end)
end)
