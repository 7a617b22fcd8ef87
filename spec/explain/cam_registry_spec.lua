local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

--- Calls f with `folder`/?.lua on package.path, where masktune/cam/NAME.lua holds the text for each name.
local function with_files(files, f)
  process.with_folder(function(folder)
    assert(process.run("mkdir -p " .. process.quoted(folder .. "/masktune/cam")))
    for name, text in pairs(files) do
      write(folder .. "/masktune/cam/" .. name .. ".lua", text)
    end
    local path = package.path
    package.path = folder .. "/?.lua;" .. path
    local ok, problem = pcall(f)
    package.path = path
    for name in pairs(files) do
      package.loaded["masktune.cam." .. name] = nil
    end
    if not ok then error(problem, 0) end
  end)
end

describe("a heatmap method of one's own", function()
  local model, images = tiny.model(3), tiny.data(6, 1).images

  it("is one file on package.path", function()
    with_files({ spec_outside = [[
      return { summary = "a method from outside", options = { power = { type = "number", default = 1 } },
        rule = function(tap, context) return tap.gradient:mean{ 2, 3 } ^ context.options.power end }
    ]] }, function()
      assert.equal("a method from outside", mt.cam.spec_outside.summary)
      local heat, predicted = mt.cam.spec_outside(model, images)
      local expected, classes = mt.cam.gradcam(model, images)
      assert.is_true((heat - expected):abs():max():item() <= 1e-6 * expected:max():item())
      assert.same(classes:totable(), predicted:totable())
      assert.is_truthy(tostring(mt.cam):find("\nspec_outside +a method from outside"))
      assert.has_error(function() mt.cam.spec_outside(model, images, { power = "x" }) end,
        "mt.cam.spec_outside: option 'power': number expected, got 'x'")
      assert.is_true(mt.explain(model, images, { cam = "spec_outside", power = 2 }):min():item() >= 0)
      mt.cam.spec_outside = nil
    end)
  end)

  it("may have a name that no file can have", function()
    with_files({ spec_named = [[
      return { entries = { ["cam*2"] = function(tap) return tap.value:mean{ 2, 3 } end } }
    ]] }, function()
      assert.equal("cam*2", mt.cam["cam*2"].name)
      assert.is_nil(mt.cam.spec_named)
      assert.is_truthy((mt.cam["cam*2"](model, images)))
      mt.cam["cam*2"] = nil
    end)
  end)

  it("is a function, or a table, given by value", function()
    local expected = mt.cam.hirescam(model, images)
    local function rule(tap) return (tap.gradient * tap.value):sum(4) end
    assert.equal(expected:bytes(), mt.explain(model, images, { cam = rule }):bytes())
    assert.equal(expected:bytes(), mt.explain(model, images, { cam = { rule = rule } }):bytes())
    assert.equal(expected:bytes(), mt.explain(model, images, { cam = "hirescam" }):bytes())
    assert.equal(expected:bytes(), mt.explain(model, images, { cam = mt.cam.hirescam }):bytes())
    assert.equal(mt.cam.xgradcam(model, images):bytes(), mt.explain(model, images):bytes())
    mt.cam.spec_mine = rule
    assert.equal(expected:bytes(), mt.cam.spec_mine(model, images):bytes())
    mt.cam.spec_mine = nil
    assert.is_nil(mt.cam.spec_mine)
  end)

  it("sees what the documentation promises", function()
    local seen
    mt.explain(model, images, { target = 2, layers = { "features.0", "features.2" }, batch = 4, cam = {
      options = { strength = { type = "number", default = 3 } },
      rule = function(tap, context)
        seen = seen or { tap = tap, context = context }
        assert.is_false(mt.is_grad_enabled())
        assert.is_false(tap.value:requires_grad())
        return tap.value:sum(4)
      end,
    } })
    local tap, context = seen.tap, seen.context
    assert.equal("features.0", tap.name)
    assert.equal(model:get("features.0"), tap.module)
    assert.same({ 4, 14, 14, 4 }, tap.value:shape())
    assert.same({ 4, 14, 14, 4 }, tap.gradient:shape())
    assert.same({ 4, 16, 16, 3 }, context.images:shape())
    assert.equal("float32", context.images:dtype())
    assert.same({ 4, 2 }, context.logits:shape())
    assert.same({ 2, 2, 2, 2 }, context.target:totable())
    assert.equal(4, #context.predicted)
    assert.equal(model, context.model)
    assert.equal(3, context.options.strength)
    assert.equal("features.2", context.taps[2].name)
    assert.is_true((context:forward(context.images) - context.logits):abs():max():item() < 1e-5)
  end)

  it("may score what it likes", function()
    local heat = mt.explain(model, images, { cam = {
      score = function(logits, context)
        assert.is_true(mt.is_grad_enabled())
        assert.equal(6, #context.target)
        return (logits:narrow(2, 1, 1) - logits:narrow(2, 2, 1)) ^ 2
      end,
      rule = function(tap) return (tap.gradient * tap.value):relu():sum(4) end,
    } })
    local logits, taps = mt.capture(model, images, { layers = { "features.2" } })
    local difference = (logits:narrow(2, 1, 1) - logits:narrow(2, 2, 1)):detach()
    logits:backward(mt.cat({ 2 * difference, -2 * difference }, 2))
    local expected = (taps[1].value:grad() * taps[1].value:detach()):relu():sum(4)
    assert.is_true(heat:max():item() > 0)
    assert.is_true((heat - expected):abs():max():item() <= 1e-5 * expected:max():item())
  end)

  it("that is none is refused with what is wrong", function()
    local function explain(cam) return function() mt.explain(model, images, { cam = cam }) end end
    for message, f in pairs{
      ["mt.explain: option 'cam': CAM expected (one of ablationcam, eigencam,"] = explain "nosuch",
      ["got 'nosuch'"] = explain "nosuch",
      ["mt.explain: option 'cam': CAM expected"] = explain(3),
      ["CAM 'function': option 'rule': function expected, got nil"] = explain{},
      ["CAM 'function': unknown option 'rules'"] = explain{ rules = print },
      ["mt.explain: the rule gives {6}, expected a float32 map {6,h,w} or channel weights {6,4}"] =
        explain(function(tap) return tap.value:mean{ 2, 3, 4 } end),
      ["mt.explain: the rule gives {6,3}, expected"] = explain(function() return mt.zeros(6, 3) end),
      ["mt.explain: the rule gives nil, expected"] = explain(function() end),
      ["mt.explain: the rule gives int32, expected"] = explain(function() return mt.zeros({ 6, 4 }, "int32") end),
      ["on purpose"] = explain(function() error "on purpose" end),
      ["CAM 'spec_bad': function or table with a rule expected, got 3"] = function() mt.cam.spec_bad = 3 end,
    } do
      local ok, problem = pcall(f)
      assert.is_false(ok, message)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
    with_files({ spec_wrong = "return { rule = 3 }" }, function()
      local ok, problem = pcall(function() return mt.cam.spec_wrong end)
      assert.is_false(ok)
      local expected = "CAM 'spec_wrong' (masktune.cam.spec_wrong): option 'rule': function expected, got 3"
      assert.is_truthy(problem:find(expected, 1, true), problem)
    end)
  end)
end)
