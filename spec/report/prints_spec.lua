-- What values print as in a REPL, and what messages say of values that look like something else.
local mt = require "masktune"
local tiny = require "support.tiny"

local function message(f, ...) return tostring(select(2, pcall(f, ...))) end

describe("print", function()
  it("of mt lists its parts, and pairs gives them", function()
    local text, seen = tostring(mt), {}
    for name, value in pairs(mt) do
      seen[name] = value
    end
    for _, name in ipairs { "diagnose", "models", "conv2d", "masktune" } do
      assert.truthy(text:find("%f[%w_]" .. name .. "%f[^%w_]"), name)
      assert.is_not_nil(seen[name])
    end
    assert.truthy(tostring(mt.models):find "small_cnn +the small net")
  end)

  it("of a data set says how many images of what it holds, of any part of it too", function()
    local set = mt.data.biased_mnist { source = mt.data.synthetic_digits { count = 20, seed = 1 } }
    assert.matches("^biased synthetic digits .*: 20 images {28,28,3} uint8, 2 classes\n  1 %d+, 2 %d+\n  each with "
      .. "attribute, biased, digits, group$", tostring(set))
    local train, val = mt.data.split(set, { count = 5 })
    assert.truthy(tostring(train):find(": 15 images ", 1, true))
    assert.truthy(tostring(val):find(": 5 images ", 1, true))
    assert.truthy(tostring(mt.data.concat { train, val }):find(": 20 images ", 1, true))
  end)

  it("of a history and of a result says what was done", function()
    local result = mt.masktune(tiny.model(), {
      train = tiny.data(32, 1), val = tiny.data(16, 2), epochs = 2, batch = 8, progress = false,
    })
    local lines = tostring(result.history)
    assert.matches("^epoch +rate +loss +accuracy +validation loss +accuracy +seconds\n", lines)
    assert.equal(4, select(2, lines:gsub("\n", "")))
    assert.matches("^ERM of 2 epochs, the best is %d\nmasks 1: hide %d+%.%d %% of the pixels", tostring(result))
    assert.truthy(tostring(result):find("\nfields: best, best_epoch, final, finetune, history,", 1, true))
  end)
end)

describe("a message", function()
  local net = mt.models.small_cnn { classes = 2 }

  it("says that images look like N,C,H,W, or like one image, and how to convert them; and that works", function()
    local nchw = mt.rand { 2, 3, 28, 28 }
    assert.truthy(message(net, nchw):find("looks like {N,C,H,W}: x:permute(1, 3, 4, 2) makes it {N,H,W,C}", 1, true))
    net(nchw:permute(1, 3, 4, 2))
    local chw = mt.rand { 3, 28, 28 }
    assert.truthy(message(net, chw):find("one image {C,H,W}: x:permute(2, 3, 1):unsqueeze(1) makes it", 1, true))
    net:eval()
    net(chw:permute(2, 3, 1):unsqueeze(1))
    assert.truthy(message(net, mt.rand { 28, 28, 3 }):find("one image {H,W,C}: x:unsqueeze(1) makes it", 1, true))
    assert.falsy(message(net, mt.rand { 2, 28, 28, 4 }):find("looks like", 1, true))
  end)

  it("says that labels begin at 1, and how to shift them; and that works", function()
    local labels = mt.tensor({ 0, 1 }, { dtype = "int32" })
    local said = message(mt.cross_entropy, mt.rand { 2, 2 }, labels)
    assert.truthy(said:find('labels count from 1 here: (labels + 1):to("int32")', 1, true), said)
    mt.cross_entropy(mt.rand { 2, 2 }, (labels + 1):to "int32")
  end)

  it("says what a misspelled field was meant to be", function()
    local said = message(mt.train, net, { train = { images = mt.rand { 2, 28, 28, 3 }, lables = 1 }, epochs = 1 })
    assert.truthy(said:find("'lables'", 1, true), said)
  end)

  it("says that float images look like 0..255", function()
    local lines = {}
    local before = mt.notice.to(function(line) lines[#lines + 1] = line end)
    local labels = mt.tensor({ 1, 2, 1, 2 }, { dtype = "int32" })
    mt.evaluate(net, { images = mt.rand { 4, 28, 28, 3 } * 255, labels = labels, classes = 2 })
    mt.notice.to(before)
    assert.truthy(table.concat(lines):find("look like 0..255", 1, true))
  end)
end)
