local mt = require "masktune"
local tiny = require "support.tiny"

local mean, std = { 0.2, 0.3, 0.4 }, { 0.5, 0.6, 0.7 }
local normalise = mt.data.preprocess { { "normalize", mean = mean, std = std } }

local function normalised(count, seed)
  local set = tiny.data(count, seed)
  set.preprocess = normalise
  return set
end

--- The same images, normalised by hand and kept as float32.
local function by_hand(set)
  local images = mt.image.batch(set.images, mt.arange(1, #set.images + 1, "int32"))
  return mt.tables.merged(set, {
    images = (images - mt.tensor(mean):reshape(1, 1, 1, 3)) / mt.tensor(std):reshape(1, 1, 1, 3),
    preprocess = false,
  }, {})
end

describe("mt.data.preprocess", function()
  it("resizes, takes the middle and normalises", function()
    local images = mt.rand(2, 12, 10, 3)
    local prepare = mt.data.preprocess {
      { "resize", size = { 6, 8 } }, { "center_crop", size = { 4, 5 } }, { "normalize", mean = mean, std = std },
    }
    local expected = mt.image.resize(images, { size = { 6, 8 }, antialias = true }):narrow(2, 2, 4):narrow(3, 2, 5)
    expected = (expected - mt.tensor(mean):reshape(1, 1, 1, 3)) / mt.tensor(std):reshape(1, 1, 1, 3)
    local got = prepare(images)
    assert.same({ 2, 4, 5, 3 }, got:shape())
    assert.is_true((got - expected):abs():max():item() < 1e-6)
    assert.equal("resize(size = {6, 8}), center_crop(size = {4, 5}), "
      .. "normalize(mean = {0.2, 0.3, 0.4}, std = {0.5, 0.6, 0.7})", tostring(prepare))
  end)

  it("refuses what it does not know, and images that do not fit", function()
    for message, steps in pairs {
      ["step 1: {kind, option = value, ...} with a kind of center_crop, normalize, resize expected, got 'flip'"] =
        { { "flip" } },
      ["step 1 (normalize): option 'std': 1 numbers (as many as 'mean') expected, got {1, 2}"] =
        { { "normalize", mean = { 1 }, std = { 1, 2 } } },
      ["option 'size'"] = { { "resize" } },
    } do
      local ok, problem = pcall(mt.data.preprocess, steps)
      assert.is_false(ok)
      assert.truthy(tostring(problem):find(message, 1, true), problem)
    end
    assert.error_matches(function() mt.data.preprocess { { "center_crop", size = 9 } }(mt.zeros(1, 4, 5, 3)) end,
      "center_crop to 9x9, but the images are 4x5")
  end)

  it("is the same for training, evaluation, heatmaps, masks and selective prediction", function()
    local train, val = normalised(40, 1), normalised(20, 2)
    local function run(train_set, val_set)
      local model = tiny.model(1)
      local result = mt.train(model, {
        train = train_set, val = val_set, epochs = 2, batch = 8, lr = 0.05, progress = false,
      })
      return model, result
    end
    local model, result = run(train, val)
    local plain_train, plain_val = by_hand(train), by_hand(val)
    plain_train.preprocess, plain_val.preprocess = nil, nil
    local other, expected = run(plain_train, plain_val)
    assert.near(expected.history[2].train_loss, result.history[2].train_loss, 1e-5)
    assert.near(expected.history[2].val_loss, result.history[2].val_loss, 1e-5)

    local quiet = { progress = false }
    local heat = mt.masktune.explain(model, val, quiet)
    local hand_heat = mt.masktune.explain(model, plain_val, quiet)
    assert.is_true((heat - hand_heat):abs():max():item() < 1e-5 * math.max(1, hand_heat:max():item()))
    local masked = mt.masktune.mask_dataset(model, val, { progress = false, heat = heat, k = 1 })
    assert.equal("uint8", masked.images:dtype()) -- pixels are masked, before they are normalised
    assert.equal(normalise, masked.preprocess)
    assert.near(mt.evaluate(model, plain_val).loss, mt.evaluate(model, val).loss, 1e-5)
    assert.near(mt.selective.predict(model, plain_val)[3][1], mt.selective.predict(model, val)[3][1], 1e-5)
    assert.is_true(mt.evaluate(other, plain_val).accuracy >= 0.5)
  end)

  it("goes with subsets, splits and masks, and must agree where sets meet", function()
    local set = normalised(20, 1)
    local rest, drawn = mt.data.split(set, { count = 5, seed = 1 })
    assert.equal(normalise, rest.preprocess)
    assert.equal(normalise, drawn.preprocess)
    assert.equal(normalise, mt.data.concat({ rest, drawn }).preprocess)
    assert.error_matches(function() mt.data.concat { set, tiny.data(4, 1) } end, "is preprocessed by nothing, expected")
    assert.error_matches(function()
      mt.train(tiny.model(1), { train = set, val = tiny.data(4, 1), epochs = 1, progress = false })
    end, "option 'val' is preprocessed by nothing, option 'train' by normalize")
    set.preprocess = 3
    assert.error_matches(function() mt.evaluate(tiny.model(1), set) end, "preprocess is a function")
  end)

  it("comes after random changes, which see pixels in [0,1]", function()
    local set, seen = normalised(10, 1), {}
    local loader = mt.data.loader {
      dataset = set, batch = 10,
      augment = function(images)
        seen[1] = images:min():item() >= 0 and images:max():item() <= 1
        return images
      end,
    }
    assert.is_true(loader:epoch(1)().images:min():item() < 0)
    assert.is_true(seen[1])
  end)
end)
