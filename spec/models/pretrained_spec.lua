local loopback = require "data.loopback"
local mt = require "masktune"
local pretrained = require "masktune.models.parts.pretrained"
local process = require "support.process"
local tiny = require "support.tiny"

--- Calls f with a folder and a function that gives the notices so far.
local function with(f)
  process.with_folder(function(folder)
    local lines = {}
    local before = mt.notice.to(function(line) lines[#lines + 1] = line end)
    local ok, problem = pcall(f, folder, lines)
    mt.notice.to(before)
    assert(ok, problem)
  end)
end

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return message
end

local function sha256(path)
  local _, output = process.run("sha256sum " .. process.quoted(path))
  return output:match("^%x+")
end

describe("pretrained weights", function()
  it("load from a file, and leave a head for other classes new, and say so", function()
    with(function(folder, lines)
      local source = mt.models.resnet18 { classes = 7 }
      mt.save(folder .. "/weights.safetensors", source:state_dict())
      local same = mt.models.resnet18 { classes = 7, pretrained = folder .. "/weights.safetensors" }
      assert.equal(tiny.bytes(source:state_dict()), tiny.bytes(same:state_dict()))
      assert.same({}, lines)
      local other = mt.models.resnet18 { classes = 2, pretrained = folder .. "/weights.safetensors" }
      assert.equal(source.layer4[1].conv1.weight:bytes(), other.layer4[1].conv1.weight:bytes())
      assert.same({ 2, 512 }, other.fc.weight:shape())
      local said = "resnet18: the weights have 7 classes, the net 2: its head ('fc') starts anew"
      assert.truthy(lines[1]:find(said, 1, true))
    end)
  end)

  it("bring the preprocessing they were trained with, which a data set may overrule", function()
    with(function(folder)
      mt.save(folder .. "/weights.safetensors", mt.models.resnet18({ classes = 2 }):state_dict())
      local model = mt.models.resnet18 { classes = 2, pretrained = folder .. "/weights.safetensors" }
      assert.equal("normalize(mean = {0.485, 0.456, 0.406}, std = {0.229, 0.224, 0.225})", tostring(model.preprocess))
      assert.equal(model.preprocess, model:clone().preprocess)
      local set = tiny.data(6, 1)
      local own, none = mt.tables.merged(set, { preprocess = model.preprocess }), mt.tables.merged(set)
      none.preprocess = false
      local expected = mt.evaluate(model, own).loss
      assert.equal(expected, mt.evaluate(model, set).loss)
      assert.not_equal(expected, mt.evaluate(model, none).loss)
      local heat = mt.masktune.explain(model, own, { progress = false }):bytes()
      assert.equal(heat, mt.masktune.explain(model, set, { progress = false }):bytes())
      assert.equal(mt.selective.predict(model, own)[2][1], mt.selective.predict(model, set)[2][1])
      model.preprocess = nil
      assert.not_equal(expected, mt.evaluate(model, set).loss)
      assert.error_matches(function() model.preprocess = 3 end, "preprocess is number, expected a function")
    end)
  end)

  it("of another net, or missing, are errors that say what is wrong", function()
    with(function(folder)
      mt.save(folder .. "/weights.safetensors", mt.models.resnet18({ classes = 2 }):state_dict())
      local message = message_of(mt.models.resnet34, { classes = 2, pretrained = folder .. "/weights.safetensors" })
      assert.truthy(message:find("layer1.2", 1, true), message)
      message = message_of(mt.models.resnet18, { pretrained = folder .. "/none.pth" })
      assert.truthy(message:find("none.pth", 1, true), message)
    end)
  end)

  it("are trained but for the backbone where that is frozen", function()
    local model = mt.models.resnet18 { classes = 2, freeze = "backbone" }
    local trained = {}
    for name, parameter in model:named_parameters() do
      if parameter:requires_grad() then trained[#trained + 1] = name end
    end
    assert.same({ "fc.weight", "fc.bias" }, trained)
  end)

  local function published(folder, server, behaviour)
    return {
      file = "net.pth", sha256 = sha256(folder .. "/net.pth"):sub(1, 8), head = { "fc.weight", "fc.bias" },
      url = server.url .. behaviour .. "/",
    }
  end

  it("are fetched from where they are published, checked, and kept #nosan", function()
    local missing = loopback.missing() or not process.has("sha256sum") and "sha256sum is not installed"
    if missing then return pending(missing) end
    with(function(folder, lines)
      mt.write_file(folder .. "/net.pth", ("weights"):rep(1000))
      local cache = require("masktune.data.folders").cache
      require("masktune.data.folders").cache = function(name) return folder .. "/cache/" .. name end
      local server = loopback.start(folder)
      local ok, problem = pcall(function()
        local wrong = message_of(pretrained.find, "net", published(folder, server, "half"))
        assert.truthy(wrong:find("its SHA-256 begins with", 1, true), wrong)
        assert.truthy(wrong:find("To place it by hand: get net.pth (http://127.0.0.1:", 1, true), wrong)
        assert.truthy(wrong:find(folder .. "/cache/weights/net.pth", 1, true), wrong)
        local path = pretrained.find("net", published(folder, server, "good"))
        assert.equal(folder .. "/cache/weights/net.pth", path)
        assert.equal(mt.read_file(folder .. "/net.pth"), mt.read_file(path))
        local before = #lines
        assert.equal(path, pretrained.find("net", published(folder, server, "slow"))) -- it is there already
        assert.equal(before, #lines)
        mt.write_file(path, "damaged")
        assert.truthy(message_of(pretrained.find, "net", published(folder, server, "good")):find("is damaged", 1, true))
      end)
      server.stop()
      require("masktune.data.folders").cache = cache
      assert(ok, problem)
    end)
  end)
end)
