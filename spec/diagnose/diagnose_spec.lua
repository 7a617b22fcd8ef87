-- Verdicts on nets that were trained to lean on something, and on nets that were not.
local content = require "masktune.diagnose.content"
local mt = require "masktune"
local place = require "masktune.diagnose.place"
local stickers = require "support.stickers"
local windows = require "masktune.windows"

local has_mnist = mt.data.find_mnist() ~= nil

local function digits(real, count)
  if real then return mt.data.subset(mt.data.mnist { split = "train" }, count) end
  return mt.data.synthetic_digits { count = count, seed = 1 }
end

--- A net trained on digits with a bias, or without (`split` "original"), and what is said of it.
local function judged(source, options, epochs)
  local set = mt.data.biased_mnist(mt.tables.merged({ source = source, seed = 1 }, options))
  local train, val = mt.data.split(set, { share = 0.2, seed = 1 })
  mt.manual_seed(1)
  local model = mt.models.small_cnn { classes = 2 }
  mt.train(model, { train = train, val = val, epochs = epochs, progress = false })
  return mt.diagnose(model, val, { progress = false }), model, val
end

local function sticker_net(options)
  local function set(count, seed)
    return stickers.data(mt.tables.merged({ count = count, seed = seed, size = 40 }, options))
  end
  mt.manual_seed(1)
  local model = mt.models.resnet20 { classes = 2 }
  local val = set(120, 2)
  mt.train(model, { train = set(300, 1), val = val, epochs = 4, batch = 16, lr = 0.05, progress = false })
  assert(mt.evaluate(model, val).accuracy > 0.9)
  return mt.diagnose(model, val, { progress = false })
end

describe("mt.diagnose", function()
  for _, real in ipairs { false, true } do
    local name = real and "MNIST" or "drawn digits"
    it("names the square of biased " .. name, function()
      if real and not has_mnist then return pending("MNIST is not there") end
      local found = judged(digits(real, 5000), { bias = "square" }, 3)
      assert.is_true(found.leans)
      assert.truthy(found.verdict:find("^leans on: top%-left corner %(blue%), %d+ %% of class 1$"), found.verdict)
      local class = found.classes[1]
      assert.is_true(class.carried > 3 * class.carried_random)
      assert.is_true(found.accuracy.most < found.accuracy.random)
      assert.is_true(class.entropy < found.classes[2].entropy and class.outer > 1)
    end)

    it("raises no alarm on unbiased " .. name, function()
      if real and not has_mnist then return pending("MNIST is not there") end
      local found = judged(digits(real, 5000), { split = "original" }, 3)
      assert.equal("no sign of one cue", found.verdict)
      assert.is_true(found.score < 0.1 and not found.leans)
    end)

    it("says of biased backgrounds in " .. name .. " that they are colour, which no mask hides", function()
      if real and not has_mnist then return pending("MNIST is not there") end
      local found = judged(digits(real, 4000), { bias = "background" }, 2)
      assert.truthy(found.verdict:find("^leans on: colour wherever it lies"), found.verdict)
    end)
  end

  it("names a sticker in a corner of photos, and the images that are not carried by it", function()
    local found = sticker_net { place = "corner" }
    local expected = "^leans on: bottom%-right corner %(yellow%), %d+ %% of class cross$"
    assert.truthy(found.verdict:find(expected), found.verdict)
    assert.is_true(found.classes[1].carried > 0.2 + found.classes[1].carried_random, tostring(found))
  end)

  it("raises no alarm on photos without stickers", function()
    local found = sticker_net { share = 0 }
    assert.equal("no sign of one cue", found.verdict)
  end)

  it("is the same for the same seed, leaves the net as it was, and prints", function()
    local found, model, val = judged(digits(false, 3000), { bias = "square" }, 2)
    model:train()
    local again = mt.diagnose(model, val, { progress = false })
    assert.is_true(model:is_training())
    assert.equal(tostring(found), tostring(again))
    assert.truthy(tostring(found):find("\nlooked at 400 images of biased synthetic digits", 1, true), found)
    local rows = found.classes[1].ranking
    assert.equal(found.classes[1].images, #rows)
    for i = 2, #rows do
      assert.is_true(rows[i - 1].spuriosity >= rows[i].spuriosity)
    end
  end)

  it("gives no verdict where no class can be judged, and refuses what is no set of images", function()
    local images = mt.rand { 6, 16, 16, 3 }
    local set = { images = images, labels = mt.tensor({ 1, 2, 1, 2, 1, 2 }, { dtype = "int32" }), classes = 2 }
    local model = mt.models.small_cnn { classes = 2, input = { 16, 16, 3 } }
    assert.truthy(mt.diagnose(model, set, { progress = false }).verdict:find "^no verdict: too few images")
    assert.has_error(function() mt.diagnose(model, {}) end)
    local ok, message = pcall(mt.diagnose, model, set, { windw = 0.2 })
    assert.is_false(ok)
    assert.truthy(message:find("did you mean 'window'?", 1, true), message)
  end)
end)

describe("windows of images", function()
  it("are found where heat is, whatever its resolution", function()
    local heat = mt.zeros { 2, 8, 8 }
    heat[1][{ 2, 7 }] = 1
    heat[2][{ 8, 1 }] = 1
    local hottest = windows.extremes(heat, 32, 32, 8)
    for i, expected in ipairs { { 6, 26 }, { 30, 2 } } do
      local row, column = hottest.rows[i], hottest.columns[i]
      assert.is_true(row <= expected[1] and expected[1] < row + 8, row)
      assert.is_true(column <= expected[2] and expected[2] < column + 8, column)
    end
  end)

  it("hide exactly their pixels", function()
    local keep = windows.keep({ rows = { 1, 3 }, columns = { 2, 1 }, side = 2 }, 4, 3)
    assert.same({ { { 1, 0, 0 }, { 1, 0, 0 }, { 1, 1, 1 }, { 1, 1, 1 } },
      { { 1, 1, 1 }, { 1, 1, 1 }, { 0, 0, 1 }, { 0, 0, 1 } } }, keep:totable())
  end)

  it("show what they show", function()
    local image = mt.arange(0, 12, "int32"):reshape(1, 4, 3, 1)
    assert.same({ { { { 4 }, { 5 } }, { { 7 }, { 8 } } } },
      windows.cut(image, { rows = { 2 }, columns = { 2 }, side = 2 }):totable())
  end)

  it("lie where most of them lie", function()
    local found = place.densest({ rows = { 1, 2, 2, 15, 1 }, columns = { 20, 21, 20, 3, 19 }, side = 4 }, 24, 24)
    assert.equal("top-right corner", found.name)
    assert.equal(0.8, found.share)
  end)
end)

describe("shuffled pieces", function()
  it("are the image's own pixels in another order, the same in all images", function()
    local trials = require "masktune.diagnose.trials"
    local seen
    local net = mt.nn.Module { forward = function(_, x)
      seen = x
      return x:reshape(#x, -1):narrow(2, 1, 2)
    end }
    local row = mt.arange(0, 49, "int32"):to("uint8"):reshape(1, 7, 7, 1)
    local labels = mt.tensor({ 1, 2 }, { dtype = "int32" })
    local set = { images = mt.cat({ row, (row + 50):to "uint8" }, 1), labels = labels }
    for _, size in ipairs { 1, 3 } do
      trials.shuffled(net, set, 2, mt.generator(1), size)
      local pixels = (seen * 255 + 0.5):floor():reshape(2, 49)
      local sorted = pixels:sort(2)
      assert.same(mt.arange(0, 49):totable(), sorted[1]:totable())
      assert.same((pixels[1] + 50):totable(), pixels[2]:totable())
      assert.not_same(mt.arange(0, 49):totable(), pixels[1]:totable())
      if size == 3 then -- the seventh row and column are in no piece
        assert.same(mt.arange(42, 49):totable(), pixels[1]:narrow(1, 43, 7):totable())
        assert.equal(pixels[1][1]:item() + 1, pixels[1][2]:item())
      end
    end
  end)
end)

describe("average heat", function()
  it("has entropy 1 where it is spread evenly and 0 in one cell", function()
    local _, even, outer = place.average(mt.ones { 3, 4, 4 })
    assert.is_true(math.abs(even - 1) < 1e-6 and math.abs(outer - 1) < 1e-6)
    local spot = mt.zeros { 1, 4, 4 }
    spot[{ 1, 1, 1 }] = 2
    local mean, none, corner = place.average(spot)
    assert.equal(1, mean[{ 1, 1 }]:item())
    assert.equal(0, none)
    assert.is_true(math.abs(corner - 16 / 12) < 1e-6)
  end)
end)

describe("what windows show", function()
  it("has a colour's name", function()
    for name, rgb in pairs {
      blue = { 0.1, 0.1, 0.9 }, yellow = { 0.9, 0.8, 0.1 }, black = { 0, 0, 0 }, white = { 1, 1, 0.95 },
      gray = { 0.5, 0.5, 0.5 }, red = { 0.6, 0.1, 0.1 }, green = { 0.1, 0.4, 0.1 },
    } do
      assert.equal(name, content.color(rgb))
    end
  end)

  it("is the same colour, wherever in the window it lies", function()
    local generator = mt.generator(5)
    local gray = mt.rand({ 20, 16, 16, 1 }, { generator = generator }) * mt.ones { 1, 1, 1, 3 }
    local cuts = gray:narrow(1, 1, 10):clone()
    for i = 1, 8 do
      local row, column = generator:integer(1, 9), generator:integer(1, 9)
      cuts[{ i, { row, row + 7 }, { column, column + 7 } }] = mt.tensor { 1, 0.85, 0 } * mt.ones { 8, 8, 3 }
    end
    local found = content.commonest(cuts, gray:narrow(1, 11, 10))
    assert.is_true(found.share > 0.75 and found.share < 0.85, found.share)
    assert.equal(0, found.elsewhere)
    assert.equal("yellow", found.color)
    found = content.commonest(gray:narrow(1, 1, 10), gray:narrow(1, 11, 10))
    assert.is_true(found.share - found.elsewhere < 0.3)
  end)

  it("is the commonest thing among them", function()
    local noise = mt.rand({ 4, 8, 8, 3 }, { generator = mt.generator(3) })
    local same = mt.zeros { 6, 8, 8, 3 } + mt.tensor { 1, 0.9, 0 }
    local found = content.commonest(mt.cat({ noise, same }, 1), mt.rand { 10, 8, 8, 3 })
    assert.is_true(math.abs(found.share - 0.6) < 1e-6)
    assert.equal(0, found.elsewhere)
    assert.equal("yellow", found.color)
    assert.is_true(found.typical > 4)
  end)
end)
