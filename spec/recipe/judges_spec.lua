local mt = require "masktune"
local judges = require "masktune.recipe.judges"

--- Images of 2x2 pixels: the top-left one is the cue (255 on class 1), the bottom-right one the object: 200 on class 1,
-- 100 on class 2. `faint` images have an object of 150, which only a reader of the cue can tell.
local CUE, OBJECT = 1, 4

local function image(cue, object) return string.char(cue, 0, 0, object) end

local function set_of(rows)
  local bytes, labels = {}, {}
  for i, row in ipairs(rows) do
    bytes[i], labels[i] = image(row.cue, row.object), row.label
  end
  return {
    images = mt.from_bytes(table.concat(bytes), "uint8", { #rows, 2, 2, 1 }),
    labels = mt.tensor(labels, { dtype = "int32" }),
    classes = 2,
    name = "cues",
  }
end

local function cues(count)
  local rows = {}
  for i = 1, count do
    local label = i % 2 + 1
    rows[i] = { cue = label == 1 and 255 or 0, object = label == 1 and 200 or 100, label = label }
  end
  return rows
end

--- A model of what it says of the cue's and the object's value in [0,1]: positive for class 1.
local function reader(says)
  return mt.nn.Module {
    forward = function(_, x)
      local pixels = x:reshape(x:size(1), 4)
      local first = says(pixels:narrow(2, CUE, 1), pixels:narrow(2, OBJECT, 1))
      return mt.cat({ first, first * 0 }, 2)
    end,
  }
end

local function reads_cue(cue) return cue - 0.5 end

local function reads_object(_, object) return object - 150 / 255 end

--- Goes by the cue where it is there, else by the object.
local function reads_both(cue, object) return cue * 10 + object - 150 / 255 end

--- Masks that hide the pixels at the given places.
local function hiding(count, places)
  local bytes = {}
  for p = 1, 4 do
    bytes[p] = places[p] and "\0" or "\1"
  end
  return mt.from_bytes(table.concat(bytes):rep(count), "uint8", { count, 2, 2 })
end

local function measure(judge, says) return judges.measure(reader(says), { judge }) end

describe("the judge of candidates", function()
  local set = set_of(cues(40))
  local judge = judges.new(reader(reads_cue), set, hiding(40, { [CUE] = true }), 1)

  it("tells a net that still reads the cue from one that does not, where masked images cannot", function()
    local both, object = measure(judge, reads_both), measure(judge, reads_object)
    assert.equal(1, both.val_accuracy)
    assert.equal(1, object.val_accuracy)
    assert.equal(0, both.exchanged_accuracy)
    assert.equal(1, object.exchanged_accuracy)
    assert.same({ 0.5 }, both.judged)
    assert.equal(0.5, both.score)
    assert.equal(1, object.score)
  end)

  it("prefers it though it is a little worse on masked images", function()
    local rows = cues(40)
    rows[2].object = 190 -- class 1, and beyond what the second net below takes for it
    local some = judges.new(reader(reads_cue), set_of(rows), hiding(40, { [CUE] = true }), 1)
    local strict = measure(some, function(_, object) return object - 195 / 255 end)
    local both = measure(some, reads_both)
    assert.is_true(both.val_accuracy > strict.val_accuracy)
    assert.is_true(strict.score > both.score)
  end)

  it("shows what it looked at on images of another class, which keep their labels and everything else", function()
    local exchanged = judge.exchanged
    assert.is_true(#exchanged.images >= 10)
    local labels = exchanged.labels:totable()
    for i = 1, #labels do
      assert.equal(2, labels[i]) -- the donors, with the cue, are all of class 1
      assert.equal(image(255, 100), exchanged.images[i]:bytes())
    end
  end)

  it("takes for donors only images whose answer changes when they are masked", function()
    local rows = cues(40)
    rows[1].cue, rows[2].cue = 255, 0 -- an exception of either class: image 1 is of class 2, image 2 of class 1
    local some = set_of(rows)
    local one = judges.new(reader(reads_cue), some, hiding(40, { [CUE] = true }), 1)
    for i, label in ipairs(one.exchanged.labels:totable()) do
      assert.equal(2, label)
      assert.equal(255, one.exchanged.images[i]:bytes():byte(CUE))
    end
    -- masks on what the masker does not heed change no answer
    local none = judges.new(reader(reads_cue), some, hiding(40, { [OBJECT] = true }), 1)
    assert.is_nil(none.exchanged)
    local measured = measure(none, reads_both)
    assert.is_nil(measured.exchanged_accuracy)
    assert.equal(measured.val_accuracy, measured.score)
  end)

  it("has nothing to exchange where all images are of one class, or there are no masks", function()
    local rows = {}
    for i = 1, 6 do
      rows[i] = { cue = 255, object = 200, label = 1 }
    end
    assert.is_nil(judges.new(reader(reads_cue), set_of(rows), hiding(6, { [CUE] = true }), 1).exchanged)
    local plain = judges.new(reader(reads_cue), set, nil, 1)
    assert.is_nil(plain.exchanged)
    assert.equal(set, plain.masked)
  end)

  it("mixes by the share that soft masks hide, and takes float images", function()
    local floats = mt.tables.merged(set, { images = mt.image.batch(set.images, mt.arange(1, 41, "int32")) })
    local keep = hiding(40, { [CUE] = true }):to("float32") * 0.75 + 0.25
    local soft = judges.new(reader(reads_cue), floats, keep, 1).exchanged
    assert.equal("float32", soft.images:dtype())
    local pixels = soft.images[1]:reshape(4):totable()
    assert.is_true(math.abs(pixels[CUE] - 0.75) < 1e-6) -- a quarter of the host's nothing, three of the donor's cue
    assert.is_true(math.abs(pixels[OBJECT] - 100 / 255) < 1e-6)
  end)

  it("depends on its seed alone", function()
    local rows = cues(40)
    for i, row in ipairs(rows) do
      row.object = row.object + i
    end
    local some, keep = set_of(rows), hiding(40, { [CUE] = true })
    local function bytes(seed) return judges.new(reader(reads_cue), some, keep, seed).exchanged.images:bytes() end
    assert.equal(bytes(1), bytes(1))
    assert.not_equal(bytes(1), bytes(2))
  end)
end)
