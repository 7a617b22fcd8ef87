local drawings = require "support.drawings"
local mt = require "masktune"

local function options(count, more)
  local o = {
    images = mt.zeros({ count, 16, 16, 3 }, { dtype = "uint8" }),
    answers = { predictions = {}, scores = {} },
    labels = {},
    columns = 2,
    rows = 1,
  }
  for n = 1, count do
    o.answers.predictions[n], o.answers.scores[n], o.labels[n] = 1, n / count, 1
  end
  for name, value in pairs(more or {}) do
    o[name] = value
  end
  return o
end

local function count_of(image, color)
  local equal = image:to("int32"):eq(mt.tensor(color, { dtype = "int32" })):to("float32")
  return math.tointeger(equal:sum(3):eq(3):to("float32"):sum():item())
end

describe("the picture of what is kept and rejected", function()
  it("shows the images with the highest and the lowest scores, and no others", function()
    local parts, colors = {}, {}
    for n = 1, 6 do
      colors[n] = { 40 * n, 10, 200 }
      parts[n] = mt.zeros(1, 16, 16, 3) + mt.tensor(colors[n], { dtype = "float32" })
    end
    if not drawings.has_cairo then return pending "no Cairo" end
    local image = mt.selective.gallery(options(6, { images = mt.cat(parts, 1):to("uint8") })):image()
    for n, shown in ipairs { true, true, false, false, true, true } do
      assert.equal(shown and 128 * 128 or 0, count_of(image, colors[n]))
    end
  end)

  it("says in colour whether an answer is right", function()
    local right, wrong = { 0, 120, 80 }, { 196, 62, 0 }
    if not drawings.has_cairo then return pending "no Cairo" end
    local image = mt.selective.gallery(options(4)):image()
    assert.is_true(count_of(image, right) > 20)
    assert.equal(0, count_of(image, wrong))
    local labels = mt.full({ 4 }, 2):to("int32")
    image = mt.selective.gallery(options(4, { labels = labels, names = { "a cat", "a dog" } })):image()
    assert.equal(0, count_of(image, right))
    assert.is_true(count_of(image, wrong) > 20)
  end)

  it("takes gray images, images of any form, long names, and fewer images than places", function()
    assert.has_no.errors(function()
      local wide = mt.zeros({ 3, 9, 300, 1 }, { dtype = "uint8" })
      mt.selective.gallery(options(3, { images = wide, columns = 8, rows = 2 }))
      mt.selective.gallery(options(1, { images = mt.zeros({ 1, 200, 150, 3 }, { dtype = "uint8" }),
        names = { ("naïve "):rep(30) }, title = ("long "):rep(100) }))
    end)
  end)

  it("refuses parts that do not belong together", function()
    assert.error_matches(function() mt.selective.gallery(options(3, { labels = { 1 } })) end,
      "3 images, 3 scores and 1 labels, expected as many of each")
  end)
end)
