local drawings = require "support.drawings"
local mt = require "masktune"

local function content(count)
  local captions = {}
  for i = 1, count do
    captions[i] = { { text = "line " .. i }, { text = "right", color = mt.figure.good } }
  end
  return {
    images = mt.full({ count, 28, 28, 3 }, 255):to("uint8"),
    before = mt.rand(count, 8, 8),
    after = mt.zeros(count, 8, 8),
    keep = mt.ones(count, 28, 28):to("uint8"),
    captions = captions,
    title = "A title",
    subtitle = "below it",
    columns = { { "image", "" }, { "before", "" }, { "mask", "" }, { "after", "" } },
  }
end

describe("the figure", function()
  it("grows by one row of panels for each image", function()
    local one, three = mt.figure.comparison(content(1)), mt.figure.comparison(content(3))
    assert.equal(one.width, three.width)
    assert.equal(2 * (168 + 16), three.height - one.height)
  end)

  it("shows what a mask hides in the mask's colour, and what it keeps as it is", function()
    local options = content(1)
    local half = mt.cat({ mt.ones(1, 28, 14), mt.zeros(1, 28, 14) }, 3):to("uint8")
    options.keep = half
    if not drawings.has_cairo then return pending "no Cairo" end
    local canvas = mt.figure.comparison(options):image()
    local counts = {}
    for _, row in ipairs(canvas:totable()) do
      for _, pixel in ipairs(row) do
        local key = table.concat(pixel, ",")
        counts[key] = (counts[key] or 0) + 1
      end
    end
    assert.equal(168 * 84 + 16 * 16, counts["205,92,60"]) -- half a panel, and the key's square
    assert.is_true(counts["0,120,80"] > 20) -- the caption in green
  end)

  it("takes soft masks", function()
    local options = content(1)
    options.keep = mt.rand(1, 28, 28)
    assert.has_no.errors(function() mt.figure.comparison(options) end)
  end)

  it("refuses parts that do not belong together", function()
    local options = content(2)
    options.after = mt.zeros(1, 8, 8)
    assert.error_matches(function() mt.figure.comparison(options) end, "option 'after': 2 entries expected")
    options = content(1)
    options.columns = nil
    assert.error_matches(function() mt.figure.comparison(options) end, "option 'columns'")
  end)
end)
