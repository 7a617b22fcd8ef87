--- A frozen first part of a net, computed once for each image, against the whole net on the pixels.
local cut = require "masktune.experiment.cut"
local encoded = require "masktune.data.encoded"
local miniatures = require "support.miniatures"
local mt = require "masktune"
local process = require "support.process"

local function with(f)
  process.with_folder(function(folder)
    miniatures.waterbirds(folder)
    local model = mt.models.resnet20 { classes = 2 }
    model.preprocess = mt.data.preprocess { { "normalize", mean = { 0.4, 0.5, 0.6 }, std = { 0.2, 0.2, 0.2 } } }
    model:eval()
    local first, rest = cut(model, "layer2.0")
    rest.cam_layer = "layer3.2"
    local calls = 0
    local by = encoded.by(first, function(images)
      calls = calls + #images
      return model.preprocess(images)
    end, "resnet20 up to layer2.0", mt.checkpoint.digest)
    local pixels = mt.data.waterbirds { root = folder, size = 12 }
    local set = mt.tables.merged(pixels, { images = by(pixels.images), preprocess = false })
    f(model, rest, pixels, set, function() return calls end)
  end)
end

describe("encoded images", function()
  it("give the rest of a net what the whole net computes, each image once", function()
    with(function(model, rest, pixels, set, calls)
      assert.same({ 60, 12, 12, 3 }, set.images:shape())
      assert.equal(mt.evaluate(model, pixels).loss, mt.evaluate(rest, set).loss)
      assert.equal(61, calls()) -- the first one more, for its shape
      mt.evaluate(rest, set, { batch = 7 })
      mt.evaluate(rest, mt.tables.merged(set, { images = set.images:index(mt.arange(1, 61, "int32")) }))
      local heat = mt.masktune.explain(model, pixels, { layer = "layer3.2", progress = false })
      local same = mt.masktune.explain(rest, set, { progress = false })
      assert.equal(heat:bytes(), same:bytes())
      assert.equal(pixels.images[3]:bytes(), set.images[3]:bytes())
    end)
  end)

  it("can be masked and pasted as pixels are", function()
    with(function(model, rest, pixels, set, calls)
      local keep = mt.mask.random(60, { kind = "square", size = { 12, 12 }, generator = mt.generator(1) })
      local masked = { model = mt.tables.merged(pixels, { images = pixels.images:masked(keep) }) }
      masked.rest = mt.tables.merged(set, { images = set.images:masked(keep) })
      assert.equal(mt.evaluate(model, masked.model).loss, mt.evaluate(rest, masked.rest).loss)
      local before = calls()
      mt.evaluate(rest, mt.tables.merged(set, { images = set.images:masked(keep:clone()) }))
      assert.equal(before, calls()) -- the same masks again
      local hidden = keep:eq(0)
      local function pasted(one) return one.images:masked(keep):plus(one.images:masked(hidden)) end
      assert.equal(mt.evaluate(model, mt.tables.merged(pixels, { images = pasted(pixels) })).loss,
        mt.evaluate(rest, mt.tables.merged(set, { images = pasted(set) })).loss)
    end)
  end)

  it("are trained on like the whole net with its first part frozen", function()
    with(function(model, rest, pixels, set)
      for name, part in model:children() do
        if name == "conv1" or name == "bn1" or name == "layer1" then part:freeze() end
      end
      model.layer2[1]:freeze()
      local copy = model:clone()
      local options = { epochs = 2, batch = 16, lr = 0.05, seed = 3, progress = false }
      mt.train(copy, mt.tables.merged(options, { train = pixels }))
      mt.train(rest, mt.tables.merged(options, { train = set }))
      local whole, part = copy:state_dict(), rest:state_dict()
      for name, tensor in pairs(part) do
        assert.is_true((whole[name]:to "float32" - tensor:to "float32"):abs():max():item() <= 1e-5, name)
      end
    end)
  end)
end)

describe("cutting a net", function()
  it("keeps the parts' names", function()
    local model = mt.models.efficientnet_lite0 { classes = 2 }
    local first, rest = cut(model, "_blocks.10")
    local whole = model:state_dict()
    local seen = 0
    for _, part in ipairs { first, rest } do
      for name, tensor in pairs(part:state_dict()) do
        seen = seen + 1
        assert.equal(whole[name]:bytes(), tensor:bytes(), name)
      end
    end
    local count = 0
    for _ in pairs(whole) do count = count + 1 end
    assert.equal(count, seen)
    assert.equal(model:get("_blocks.11._bn0"), rest:get "_blocks.11._bn0")
  end)

  it("refuses what is no chain", function()
    local model = mt.models.resnet20 { classes = 2 }
    assert.error_matches(function() cut(model, "layer1.0.conv1") end, "'layer1.0.conv1': only a chain of parts")
    assert.error_matches(function() cut(model, "layer9") end, "layer9")
  end)
end)
