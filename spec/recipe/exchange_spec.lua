-- What fine-tuning against a cue sees.
local exchange = require "masktune.recipe.exchange"
local masks = require "masktune.recipe.masks"
local mt = require "masktune"
local tiny = require "support.tiny"

--- Images of 2x2 pixels: the top-left one is the cue (255 on class 1), the last one tells the images apart.
local function cues(count)
  local bytes, labels = {}, {}
  for i = 1, count do
    labels[i] = i % 2 + 1
    bytes[i] = string.char(labels[i] == 1 and 255 or 0, 0, 0, i)
  end
  return {
    images = mt.from_bytes(table.concat(bytes), "uint8", { count, 2, 2, 1 }),
    labels = mt.tensor(labels, { dtype = "int32" }), classes = 2, name = "cues",
  }
end

local reads_cue = mt.nn.Module { forward = function(_, x)
  local cue = x:reshape(x:size(1), 4):narrow(2, 1, 1) - 0.5
  return mt.cat({ cue, cue * 0 }, 2)
end }

--- The same mask for each image.
local function keep_of(count, mask)
  return mt.from_bytes(string.char(table.unpack(mask)):rep(count), "uint8", { count, 2, 2 })
end

describe("the images for fine-tuning against a cue", function()
  local set = cues(40)
  local keep = keep_of(40, { 0, 1, 1, 1 })

  it("are as they are, masked, and with the cue on the other class, which keeps its label", function()
    local found = exchange(reads_cue, set, keep, masks.apply(set, keep), 3)
    assert.equal(100, mt.data.size(found))
    assert.equal(set.images:bytes(), found.images:narrow(1, 1, 40):bytes())
    assert.same(set.labels:totable(), found.labels:narrow(1, 1, 40):totable())
    assert.same(set.labels:totable(), found.labels:narrow(1, 41, 40):totable())
    for i, row in ipairs(found.images:narrow(1, 41, 40):reshape(40, 4):totable()) do
      assert.same({ 0, 0, 0, i }, row)
    end
    local shown = 0
    for i = 81, 100 do
      local row, label = found.images[i]:reshape(4):totable(), found.labels[i]:item()
      assert.equal(2, label)
      assert.equal(label, row[4] % 2 + 1)
      shown = shown + (row[1] == 255 and 1 or 0)
    end
    assert.equal(20, shown)
  end)

  it("are the masked ones where no answer changes when they are masked", function()
    local nothing = keep_of(40, { 1, 1, 0, 1 })
    local masked = masks.apply(set, nothing)
    assert.equal(masked, exchange(reads_cue, set, nothing, masked, 3))
  end)

  it("are what mt.masktune fine-tunes on with exchange = true, by its seed alone", function()
    local function tuned(options)
      local model = tiny.model(1)
      local result = mt.masktune(model, mt.tables.merged({
        train = tiny.data(48, 1), val = tiny.data(24, 2), epochs = 2, batch = 8, lr = 0.05, seed = 3,
        progress = false, finetune_steps = 12, rule = "window", window = 0.8, protocol = "paper",
      }, options))
      return tiny.bytes(model:state_dict()), result.masks[1].chosen
    end
    local with, chosen = tuned { exchange = true }
    assert.is_true(with == tuned { exchange = true })
    local without, plain = tuned {}
    assert.is_false(with == without)
    assert.equal(12, plain.steps)
    assert.is_true(chosen.steps >= 12)
  end)
end)
