local mt = require "masktune"
local process = require "support.process"

local checkpoint = mt.checkpoint

describe("a checkpoint", function()
  it("gives back tensors and plain values of every depth, to the bit", function()
    process.with_folder(function(folder)
      local path = folder .. "/a.safetensors"
      local state = {
        epoch = 3,
        name = "ERM",
        share = 0.1,
        done = true,
        model = { ["linear.0.weight"] = mt.randn(3, 2), count = mt.tensor({ 7 }, { dtype = "int32" }) },
        optimizer = { lr = 1 / 3, list = { mt.ones(2), mt.zeros(1) } },
        history = { { loss = 0.1 + 0.2 }, { loss = 1e-300 } },
      }
      checkpoint.save(path, state, { seed = 1 })
      local back, settings = checkpoint.load(path)
      assert.same({ seed = 1 }, settings)
      assert.equal(3, back.epoch)
      assert.equal("integer", math.type(back.epoch))
      assert.equal("ERM", back.name)
      assert.equal(0.1, back.share)
      assert.is_true(back.done)
      assert.equal(1 / 3, back.optimizer.lr)
      assert.equal(0.1 + 0.2, back.history[1].loss)
      assert.equal(1e-300, back.history[2].loss)
      assert.equal(state.model["linear.0.weight"]:bytes(), back.model["linear.0.weight"]:bytes())
      assert.equal("int32", back.model.count:dtype())
      assert.same({ 1, 1 }, back.optimizer.list[1]:totable())
      assert.same({ 0 }, back.optimizer.list[2]:totable())
    end)
  end)

  it("is refused by a run with other settings, and the message names every difference", function()
    process.with_folder(function(folder)
      local path = folder .. "/a.safetensors"
      checkpoint.save(path, { epoch = 1 }, { epochs = 20, batch = 128, seed = 1 })
      assert.has_no.errors(function() checkpoint.load(path, { epochs = 20, batch = 128, seed = 1 }) end)
      local ok, message = pcall(checkpoint.load, path, { epochs = 4, batch = 128, protocol = "paper" })
      assert.is_false(ok)
      assert.truthy(message:find("epochs is 20 there, 4 in this run", 1, true), message)
      assert.truthy(message:find("protocol is none there, paper in this run", 1, true), message)
      assert.truthy(message:find("seed is 1 there, none in this run", 1, true), message)
      assert.falsy(message:find("batch is", 1, true), message)
    end)
  end)

  it("is told apart from other safetensors files", function()
    process.with_folder(function(folder)
      local path = folder .. "/weights.safetensors"
      mt.save(path, { w = mt.zeros(1) })
      assert.error_matches(function() checkpoint.load(path) end, "weights.safetensors' is no checkpoint")
      assert.error_matches(function() checkpoint.load(folder .. "/none") end, "none")
    end)
  end)

  it("calls options by their own text, and a function or table without one custom", function()
    assert.equal("none", checkpoint.text(nil))
    assert.equal("custom", checkpoint.text(function() end))
    assert.equal("custom", checkpoint.text({}))
    assert.equal("last", checkpoint.text("last"))
    assert.truthy(checkpoint.text(mt.data.augment { { "horizontal_flip" } }):find("^horizontal_flip"))
    assert.equal("focal(gamma = 2)", checkpoint.text(mt.losses.focal { gamma = 2 }))
  end)

  it("refuses keys it could not read back", function()
    process.with_folder(function(folder)
      local function save(key) checkpoint.save(folder .. "/a", { [key] = mt.zeros(1) }, {}) end
      assert.error_matches(function() save("a/b") end, "key 'a/b'")
      assert.error_matches(function() save("#1") end, "key '#1'")
      assert.error_matches(function() save(true) end, "key true")
      assert.is_false(mt.file_exists(folder .. "/a"))
    end)
  end)

  it("names contents by a digest: equal where the bits are, different where a bit, a shape or a name is not", function()
    local a = mt.arange(6)
    assert.equal(checkpoint.digest(a), checkpoint.digest(a:clone()))
    assert.not_equal(checkpoint.digest(a), checkpoint.digest(a:reshape(2, 3)))
    assert.not_equal(checkpoint.digest(a), checkpoint.digest(a:to("int32")))
    assert.not_equal(checkpoint.digest(a), checkpoint.digest(mt.tensor { 0, 1, 2, 3, 4, 5.0001 }))
    assert.equal(checkpoint.digest { w = a, b = a }, checkpoint.digest { b = a, w = a })
    assert.not_equal(checkpoint.digest { w = a }, checkpoint.digest { v = a })
    assert.equal(12, #checkpoint.digest(mt.zeros(9000, 2)))
    assert.not_equal(checkpoint.digest(mt.zeros(9000, 2)), checkpoint.digest(mt.zeros(9001, 2)))
  end)

  it("refuses to unpack what pack did not make", function()
    local tensors = { x = mt.ones(1) }
    assert.error_matches(function() mt.checkpoint.unpack("3", tensors) end, "'text': a text of checkpoint.pack")
    assert.error_matches(function() mt.checkpoint.unpack("{}", { mt.ones(1) }) end, "'tensors': names .* got 1")
    assert.error_matches(function() mt.checkpoint.unpack('{"a":1}', { ["a/b"] = mt.ones(1) }) end, "got 'a/b'")
  end)
end)
