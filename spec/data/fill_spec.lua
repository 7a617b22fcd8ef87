local fill = require "masktune.data.fill"
local mt = require "masktune"
local process = require "support.process"
local masks = require "masktune.recipe.masks"
local streamed = require "masktune.data.streamed"

--- Noisy gray images with a white square, and masks that hide it.
local function squares(count)
  local images = mt.rand({ count, 24, 24, 3 }, { generator = mt.generator(1) }) * 0.2 + 0.3
  local rows = mt.arange(1, 25, "int32")
  local inside = (rows:ge(5) * rows:le(12)):reshape(24, 1) * rows:ge(17):reshape(1, 24)
  local hidden = inside:to("float32"):reshape(1, 24, 24):expand(count, 24, 24)
  images = images * (1 - hidden:unsqueeze(4)) + hidden:unsqueeze(4)
  return (images * 255):to "uint8", hidden:eq(0)
end

describe("what takes the place of masked pixels", function()
  it("is black, as in the paper, unless it is asked for otherwise", function()
    local images, keep = squares(2)
    assert.is_true(fill(images, keep):bytes() == mt.mask.apply(images, keep):bytes())
  end)

  it("is like its surroundings with 'impute', in brightness and in grain, and nothing else changes", function()
    local images, keep = squares(3)
    local filled = fill(images, keep, "impute")
    local kept = keep:unsqueeze(4):to "float32"
    assert.equal(0, ((filled - images) * kept):abs():max():item())
    local patch = filled:narrow(2, 5, 8):narrow(3, 17, 8):to("float32") / 255
    local around = filled:narrow(2, 14, 8):narrow(3, 2, 8):to("float32") / 255
    assert.is_true(math.abs(patch:mean():item() - around:mean():item()) < 0.03)
    local ratio = patch:reshape(-1):std():item() / around:reshape(-1):std():item()
    assert.is_true(ratio > 0.7 and ratio < 1.5, ratio)
  end)

  it("does not depend on the images beside it, and float images stay float", function()
    local images, keep = squares(70)
    local all, one = fill(images, keep, "impute"), fill(images:narrow(1, 66, 1), keep:narrow(1, 66, 1), "impute")
    assert.is_true(all:narrow(1, 66, 1):bytes() == one:bytes())
    local float = fill(images:narrow(1, 1, 2):to("float32") / 255, keep:narrow(1, 1, 2), "impute")
    assert.equal("float32", float:dtype())
  end)

  it("is black, and said so, for images that stay in their files", function()
    process.with_folder(function(folder)
      local images, keep = squares(4)
      local paths = {}
      for i = 1, 4 do
        paths[i] = ("%s/%d.png"):format(folder, i)
        mt.image.write_png(paths[i], images[i])
      end
      local set = { images = streamed(paths, { 24, 24, 3 }), labels = mt.ones({ 4 }, "int32"), classes = 1 }
      local said = {}
      local before = mt.notice.to(function(line) said[#said + 1] = line end)
      local masked = masks.apply(set, keep, "impute").images
      mt.notice.to(before)
      assert.truthy((said[1] or ""):find("masks are black: images that stay in their files", 1, true))
      assert.is_true(masked:narrow(1, 1, 4):bytes() == mt.mask.apply(images, keep):bytes())
    end)
  end)

  it("cannot follow from soft masks", function()
    local tiny = require "support.tiny"
    local ok, message = pcall(mt.masktune, tiny.model(), {
      train = tiny.data(16, 1), val = tiny.data(8, 2), epochs = 1, batch = 8, progress = false, rule = "soft",
      fill = "impute",
    })
    assert.is_false(ok)
    assert.truthy(message:find("'impute' needs hard masks", 1, true), message)
  end)
end)
