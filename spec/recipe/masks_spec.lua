local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

local quiet = { progress = false }

describe("mt.masktune.explain", function()
  it("gives the heatmaps and predictions of xGradCAM at the model's layer", function()
    local model, set = tiny.model(1), tiny.data(11, 1)
    local heat, predicted = mt.masktune.explain(model, set, quiet)
    local expected, classes = mt.cam.xgradcam(model, set.images, { layer = "features.2" })
    assert.same({ 11, 14, 14 }, heat:shape())
    assert.equal(expected:bytes(), heat:bytes())
    assert.same(classes:totable(), predicted:totable())
  end)

  it("explains data sets longer than one call's worth like their parts", function()
    local model, set = tiny.model(1), tiny.data(1100, 1)
    local heat = mt.masktune.explain(model, set, quiet)
    local tail = mt.masktune.explain(model, mt.data.subset(set, { 1024, 1025, 1100 }), quiet)
    assert.equal(heat:index({ 1024, 1025, 1100 }):bytes(), tail:bytes())
  end)

  it("takes another layer by name, and refuses one that is not there", function()
    local model, set = tiny.model(1), tiny.data(2, 1)
    assert.same({ 2, 7, 7 }, mt.masktune.explain(model, set, { layer = "features.3", progress = false }):shape())
    local function explain(images, layer)
      return mt.masktune.explain(model, images, { layer = layer, progress = false })
    end
    assert.error_matches(function() explain(set, "features.9") end, "9")
    assert.error_matches(function() explain(mt.data.subset(set, 0)) end, "1 image or more")
  end)
end)

describe("mt.masktune.mask_dataset", function()
  local model, set = tiny.model(1), tiny.data(12, 1)
  local heat = mt.masktune.explain(model, set, quiet)

  local function masked_with(options)
    options.progress, options.heat = false, options.heat or heat
    return mt.masktune.mask_dataset(model, set, options)
  end

  local function expect(keep, masked, info)
    assert.equal(keep:bytes(), info.keep:bytes())
    assert.equal(mt.mask.apply(set.images, keep):bytes(), masked.images:bytes())
  end

  it("masks where the heatmap is above the rule's threshold", function()
    for _, protocol in ipairs { "reference", "paper" } do
      for _, k in ipairs { 0, 1, 2, 3 } do
        local keep = mt.mask.threshold(heat, { protocol = protocol, k = k, size = { 16, 16 } })
        expect(keep, masked_with { protocol = protocol, k = k })
      end
      local keep = mt.mask.threshold(heat, { protocol = protocol, rule = "topk", top = 5, size = { 16, 16 } })
      expect(keep, masked_with { protocol = protocol, rule = "topk", top = 5 })
      local mean = mt.mask.mean(heat, { protocol = protocol, size = { 16, 16 } })
      keep = mt.mask.threshold(heat, { protocol = protocol, rule = "global_mean", mean = mean, size = { 16, 16 } })
      expect(keep, masked_with { protocol = protocol, rule = "global_mean" })
      keep = mt.mask.threshold(heat, { protocol = protocol, rule = "soft", size = { 16, 16 } })
      expect(keep, masked_with { protocol = protocol, rule = "soft" })
    end
  end)

  it("hides the hottest window, and nothing where heat is the same everywhere", function()
    local some = mt.data.subset(set, 3)
    local spots = mt.zeros { 3, 4, 4 }
    spots[{ 1, 1, 4 }], spots[{ 2, 4, 1 }] = 1, 1
    local quarter = mt.masktune.mask_dataset(model, some, { rule = "window", heat = spots, protocol = "paper" })
    local _, found = mt.masktune.mask_dataset(model, some, {
      rule = "window", window = 0.5, heat = spots, protocol = "paper",
    })
    local size = some.images:size(2)
    local side = size // 2
    local keep = found.keep:to("uint8")
    assert.same({ side * side, side * side, 0 }, keep:eq(0):to("float32"):sum({ 2, 3 }):totable())
    assert.equal(0, keep[{ 1, 2, size - 1 }]:item())
    assert.equal(0, keep[{ 2, size - 1, 2 }]:item())
    assert.equal(1, found.empty)
    assert.same(some.images:shape(), quarter.images:shape())
  end)

  it("computes the heatmaps where none are given", function()
    local with, without = select(2, masked_with {}), select(2, mt.masktune.mask_dataset(model, set, quiet))
    assert.equal(with.keep:bytes(), without.keep:bytes())
    assert.equal(heat:bytes(), without.heat:bytes())
  end)

  it("keeps images as uint8 and everything else as it is", function()
    local masked = masked_with { k = 1 }
    assert.equal("uint8", masked.images:dtype())
    assert.equal(set.labels, masked.labels)
    assert.equal(set.biased, masked.biased)
    assert.equal(2, masked.classes)
    assert.not_equal(set.images:bytes(), masked.images:bytes())
  end)

  it("says which share of the pixels it hides", function()
    local _, info = masked_with { k = 1 }
    local hidden = 0
    for _, image in ipairs(info.keep:totable()) do
      for _, row in ipairs(image) do
        for _, value in ipairs(row) do
          hidden = hidden + 1 - value
        end
      end
    end
    assert.is_true(hidden > 0)
    assert.near(hidden / (12 * 16 * 16), info.fraction, 1e-6)
  end)

  it("masks squares at random, the same for the same seed", function()
    local function squares(seed) return select(2, masked_with { masks = "square", seed = seed }).keep:bytes() end
    assert.equal(squares(3), squares(3))
    assert.not_equal(squares(3), squares(4))
    local _, info = mt.masktune.mask_dataset(model, set, { masks = "square", progress = false })
    assert.is_nil(info.heat)
  end)

  it("masks at random as much of each image as MaskTune would", function()
    local _, random = masked_with { masks = "area", k = 1 }
    local _, own = masked_with { k = 1 }
    for i = 1, 12 do
      assert.equal(own.keep[i]:to("int32"):sum():item(), random.keep[i]:to("int32"):sum():item())
    end
    assert.not_equal(own.keep:bytes(), random.keep:bytes())
    _, random = masked_with { masks = "area", rule = "soft" }
    _, own = masked_with { rule = "soft" }
    for i = 1, 12 do
      assert.near(own.keep[i]:sum():item(), random.keep[i]:to("int32"):sum():item(), 0.5001)
    end
  end)
end)

describe("a masked data set", function()
  it("can be joined to others, and looked at image by image", function()
    local model, set = tiny.model(1), tiny.data(12, 1)
    local masked = mt.masktune.mask_dataset(model, set, { k = 1, progress = false })
    local both = mt.data.concat { set, masked }
    assert.equal(set.images:bytes() .. masked.images:bytes(), both.images:bytes())
    assert.equal(24, #both.labels)
    assert.equal(masked.images[3]:bytes(), both.images[15]:bytes())
    assert.equal(mt.data.subset(both, { 14, 13 }).images:bytes(), mt.data.subset(masked, { 2, 1 }).images:bytes())
  end)
end)

describe("masks in a file", function()
  local model, set = tiny.model(1), tiny.data(12, 1)

  local function masked_in(path, more)
    local options = mt.tables.merged({ file = path, progress = false, k = 1 }, more)
    return mt.masktune.mask_dataset(options.model or model, options.set or set,
      mt.tables.without(options, { "model", "set" }))
  end

  it("are made once, and then need no model's answer", function()
    process.with_folder(function(folder)
      local path = folder .. "/masks.safetensors"
      local plain, info = mt.masktune.mask_dataset(model, set, { k = 1, progress = false })
      local masked, made = masked_in(path)
      assert.equal(info.keep:bytes(), made.keep:bytes())
      assert.equal(plain.images:bytes(), masked.images:bytes())
      local again, read = masked_in(path)
      assert.is_nil(read.heat)
      assert.equal(plain.images:bytes(), again.images:bytes())
      assert.same({ info.fraction, info.empty }, { read.fraction, read.empty })
      assert.same({ 12, 32 }, mt.load(path).masks:shape())
      for _, masks in ipairs { "square", "area" } do
        local random = select(2, mt.masktune.mask_dataset(model, set, { masks = masks, k = 1, progress = false }))
        for _ = 1, 2 do
          local _, kept = masked_in(folder .. "/" .. masks, { masks = masks })
          assert.equal(random.keep:bytes(), kept.keep:bytes())
        end
      end
      assert.equal("float32", select(2, masked_in(folder .. "/soft", { rule = "soft" })).keep:dtype())
    end)
  end)

  it("are gone on with after an error", function()
    process.with_folder(function(folder)
      local core, path = require "masktune.core", folder .. "/masks.safetensors"
      local large, pack = tiny.data(1100, 1), core.data.pack
      local calls = 0
      core.data.pack = function(keep)
        calls = calls + 1
        if calls == 2 then error("stopped", 0) end
        return pack(keep)
      end
      local ok, message = pcall(masked_in, path, { set = large })
      core.data.pack = pack
      assert.is_false(ok)
      assert.equal("stopped", message)
      local wanted = select(2, mt.masktune.mask_dataset(model, large, { k = 1, progress = false }))
      assert.equal(wanted.keep:bytes(), select(2, masked_in(path, { set = large })).keep:bytes())
    end)
  end)

  it("are refused where model, layer, rule or data set are others", function()
    process.with_folder(function(folder)
      local path = folder .. "/masks.safetensors"
      masked_in(path)
      for name, more in pairs {
        model = { model = tiny.model(2) }, layer = { layer = "features.3" }, k = { k = 2 },
        protocol = { protocol = "reference" }, rule = { rule = "soft", masks = "area" }, cam = { cam = "gradcam" },
        data_set = { set = tiny.data(12, 2) },
      } do
        local ok, message = pcall(masked_in, path, more)
        assert.is_false(ok)
        assert.truthy(tostring(message):find("other settings: .*" .. name .. " is "), message)
      end
    end)
  end)

  it("show in exported pictures", function()
    process.with_folder(function(folder)
      local masked, info = mt.masktune.mask_dataset(model, set, { k = 1, progress = false, export = folder .. "/a" })
      mt.masktune.export(set, folder .. "/b", { keep = info.keep })
      local names = mt.list_directory(folder .. "/a")
      assert.equal(12, #names)
      assert.same(names, mt.list_directory(folder .. "/b"))
      for i, name in ipairs(names) do
        assert.equal(("%02d.png"):format(i), name)
        assert.equal(masked.images[i]:bytes(), mt.image.read_png(folder .. "/a/" .. name):bytes())
        assert.equal(masked.images[i]:bytes(), mt.image.read_png(folder .. "/b/" .. name):bytes())
      end
    end)
  end)
end)
