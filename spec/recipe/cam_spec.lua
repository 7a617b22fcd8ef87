local mt = require "masktune"
local tiny = require "support.tiny"

local set = tiny.data(24, 1)

local function explained(more)
  return mt.masktune.explain(tiny.model(1), set, mt.tables.merged({ progress = false }, more))
end

describe("the recipe's heatmaps", function()
  it("come from any method of mt.cam, by name or as a rule, and from several layers", function()
    local model = tiny.model(1)
    for name in pairs(mt.cam) do
      local heat = mt.masktune.explain(model, set, { cam = name, progress = false })
      assert.equal(24, heat:size(1))
      assert.is_true(heat:min():item() >= 0, name)
    end
    local by_rule = explained { cam = function(tap) return tap.gradient:mean { 2, 3 } end }
    assert.is_true((explained({ cam = "gradcam" }) - by_rule):abs():max():item() < 1e-6)
    assert.same({ 24, 16, 16 }, explained({ layers = { "features.2", "features.3" } }):shape())
    assert.error_matches(function() explained { cam = "peekcam" } end,
      "option 'cam': CAM expected %(one of ablationcam")
  end)

  it("change the masks, and are kept apart on disk", function()
    local seen = {}
    for _, cam in ipairs { "xgradcam", "gradcam", "random", "integrated_gradients" } do
      local result = mt.masktune(tiny.model(1), {
        train = set, val = tiny.data(12, 2), epochs = 1, batch = 8, cam = cam, k = 1, progress = false,
      })
      local bytes = result.masks[1].keep:bytes()
      assert.is_nil(seen[bytes], cam)
      seen[bytes] = cam
    end
  end)

  it("need no layer where the method looks at the image", function()
    local model = tiny.model(1)
    model.cam_layer = nil
    local function run(cam)
      return mt.masktune(model, { train = set, epochs = 1, batch = 8, cam = cam, progress = false })
    end
    assert.equal(1, run("input_x_gradient").finetune.iterations)
    assert.error_matches(function() run "xgradcam" end, "option 'layer': name of a layer expected")
  end)
end)
