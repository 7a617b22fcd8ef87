local mt = require "masktune"
local nn = mt.nn

local function net()
  return nn.Sequential{
    { "conv", nn.Conv2d(2, 3, { 2, 1 }) }, { "norm", nn.BatchNorm2d(3) }, { "flatten", nn.Flatten() },
    { "out", nn.Linear(18, 2) },
  }
end

local function sorted_names(dict)
  local names = {}
  for name in pairs(dict) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function bytes_of(dict)
  local all = {}
  for name, tensor in pairs(dict) do
    all[name] = tensor:bytes()
  end
  return all
end

describe("a state dict", function()
  before_each(function() mt.manual_seed(2) end)

  it("has PyTorch's names, shapes and element types", function()
    local dict = net():state_dict()
    local shapes = {}
    for name, tensor in pairs(dict) do
      shapes[name] = tensor:dtype() .. " " .. table.concat(tensor:shape(), ",")
    end
    assert.same({
      ["conv.weight"] = "float32 3,2,2,1", ["conv.bias"] = "float32 3",
      ["norm.weight"] = "float32 3", ["norm.bias"] = "float32 3", ["norm.running_mean"] = "float32 3",
      ["norm.running_var"] = "float32 3", ["norm.num_batches_tracked"] = "int32 ",
      ["out.weight"] = "float32 2,18", ["out.bias"] = "float32 2",
    }, shapes)
  end)

  it("turns convolution weights from kH,kW,I,O into O,I,kH,kW, value by value, gradients likewise", function()
    local conv = nn.Conv2d(2, 3, { 2, 4 })
    conv(mt.rand(2, 5, 5, 2)):sum():backward()
    local memory, file = conv.weight:totable(), conv:state_dict().weight:totable()
    local memory_gradient, file_gradient = conv.weight:grad():totable(), conv:grad_dict().weight:totable()
    for y = 1, 2 do
      for x = 1, 4 do
        for i = 1, 2 do
          for o = 1, 3 do
            assert.equal(memory[y][x][i][o], file[o][i][y][x])
            assert.equal(memory_gradient[y][x][i][o], file_gradient[o][i][y][x])
          end
        end
      end
    end
  end)

  it("is a copy: neither training nor the copy's owner changes the other", function()
    local m = nn.Linear(2, 1)
    local dict = m:state_dict()
    local before = dict.weight:bytes()
    m.weight = mt.zeros(1, 2)
    assert.equal(before, dict.weight:bytes())
  end)

  it("goes into another net of the same shape, which then computes the same", function()
    local a, b, x = net(), net(), mt.rand(4, 4, 2, 2)
    a(x)
    local report = b:load_state_dict(a:state_dict())
    assert.same({ missing = {}, unexpected = {}, mismatched = {}, ignored = {}, prefix = "" }, report)
    assert.same(bytes_of(a:state_dict()), bytes_of(b:state_dict()))
    assert.equal(a:eval()(x):bytes(), b:eval()(x):bytes())
  end)

  it("names everything that does not fit at once, and then changes nothing", function()
    local m = net()
    local before = bytes_of(m:state_dict())
    local dict = net():state_dict()
    dict["conv.bias"], dict["norm.weight"] = nil, nil
    dict["extra.b"], dict["extra.a"] = mt.ones(1), mt.ones(1)
    dict["out.weight"] = mt.ones(18, 2)
    dict["out.bias"] = mt.ones(2):to("int32")
    assert.has_error(function() return (m:load_state_dict(dict)) end, table.concat({
      "load_state_dict: the names or shapes do not fit (nothing was loaded)",
      "  missing in the state dict (2):",
      "    conv.bias    float32 {3}",
      "    norm.weight  float32 {3}",
      "  unexpected there (2):",
      "    extra.a  float32 {1}",
      "    extra.b  float32 {1}",
      "  of another shape or type there (2):",
      "    out.weight  float32 {18,2}, expected float32 {2,18}",
      "    out.bias    int32 {2}, expected float32 {2}",
    }, "\n"))
    assert.same(before, bytes_of(m:state_dict()))
  end)

  it("loads what fits when it need not be strict, and reports the rest", function()
    local m, dict = net(), net():state_dict()
    local kept = m.conv.bias:bytes()
    dict["conv.bias"], dict.extra, dict["out.weight"] = nil, mt.ones(1), mt.ones(3)
    local report = m:load_state_dict(dict, { strict = false })
    assert.same({ "conv.bias" }, report.missing)
    assert.same({ "extra" }, report.unexpected)
    assert.same({ "out.weight is float32 {3}, expected float32 {2,18}" }, report.mismatched)
    assert.equal(kept, m.conv.bias:bytes())
    assert.equal(dict["conv.weight"]:bytes(), m:state_dict()["conv.weight"]:bytes())
  end)

  it("shows the first few of many, and how many there are", function()
    local dict = {}
    for i = 1, 30 do
      dict[("layer%02d.w"):format(i)] = mt.ones(2)
    end
    local _, message = pcall(nn.Linear(2, 1).load_state_dict, nn.Linear(2, 1), dict)
    assert.matches("\n  unexpected there (30):\n    layer01.w  float32 {2}\n", message, 1, true)
    assert.matches("\n    layer08.w  float32 {2}\n    and 22 more", message, 1, true)
    assert.is_nil(message:find("layer09", 1, true))
  end)

  it("takes off what wrappers add to names, in any combination, where that makes them fit", function()
    local source = net()
    for prefix, wrapped in pairs {
      ["module."] = "module.", ["model."] = "model.", ["module.model."] = "module.model.",
      ["ema.module."] = "ema.module.", ["model.backbone.module."] = "model.backbone.module.",
      ["_orig_mod."] = "", ["module._orig_mod."] = "module.", ["_orig_mod.module."] = "module.",
      ["student.backbone."] = "student.backbone.",
    } do
      local dict, m = {}, net()
      for name, tensor in pairs(source:state_dict()) do
        dict[prefix .. name] = tensor
      end
      local report = m:load_state_dict(dict)
      assert.equal(wrapped, report.prefix)
      assert.same(bytes_of(source:state_dict()), bytes_of(m:state_dict()))
    end
    local dict, m = {}, net()
    for name, tensor in pairs(source:state_dict()) do
      dict[name:gsub("^norm%.", "norm._orig_mod.")] = tensor -- a part that was compiled
    end
    m:load_state_dict(dict)
    assert.same(bytes_of(source:state_dict()), bytes_of(m:state_dict()))
  end)

  it("leaves names as they are where they fit, or where nothing else fits better", function()
    local m = nn.Sequential{ { "module", nn.Linear(2, 1) }, { "model", nn.Linear(2, 1) } }
    assert.equal("", m:load_state_dict(m:state_dict()).prefix)
    assert.equal("", nn.ReLU():load_state_dict({ ["module.weight"] = mt.ones(1) }, { strict = false }).prefix)
    local report = nn.Linear(2, 1):load_state_dict(
      { ["head.weight"] = mt.ones(1, 2), ["head.bias"] = mt.ones(1) }, { strict = false })
    assert.same({ "weight", "bias" }, report.missing)
    assert.same({ "head.bias", "head.weight" }, report.unexpected)
  end)

  it("takes the weights themselves before an average of them, and the one that is asked for", function()
    local dict, m = {}, nn.Linear(2, 1)
    for i, prefix in ipairs { "ema_model.", "online_model.", "ema." } do
      dict[prefix .. "weight"], dict[prefix .. "bias"] = mt.full({ 1, 2 }, i), mt.full({ 1 }, i)
    end
    dict.step = mt.tensor(7)
    local report = m:load_state_dict(dict, { strict = false })
    assert.equal("online_model.", report.prefix)
    assert.same({ { 2, 2 } }, m.weight:totable())
    assert.same({ "step" }, report.ignored)
    assert.equal(4, #report.unexpected)
    local ok, message = pcall(m.load_state_dict, m, dict)
    assert.is_false(ok)
    assert.matches("loaded); names are taken without 'online_model.'\n  unexpected there (4):", message, 1, true)
    report = m:load_state_dict(dict, { prefix = "ema." })
    assert.same({ { 3, 3 } }, m.weight:totable())
    assert.equal(5, #report.ignored)
    assert.has_error(function() m:load_state_dict(dict, { prefix = "none." }) end)
  end)

  it("ignores counters that wrappers keep beside the weights, and nothing else", function()
    local m = nn.Linear(2, 1)
    local dict = { n_averaged = mt.tensor(3), ["module.weight"] = mt.ones(1, 2), ["module.bias"] = mt.ones(1) }
    local report = m:load_state_dict(dict)
    assert.same({ "n_averaged" }, report.ignored)
    assert.same({}, report.unexpected)
    assert.same({ { 1, 1 } }, m.weight:totable())
    dict.table = mt.ones(2)
    assert.error_matches(function() m:load_state_dict(dict) end, "unexpected there %(1%):\n    table  float32 {2}")
    dict.table, dict["loss.scale"] = nil, mt.ones(1)
    assert.error_matches(function() m:load_state_dict(dict) end, "unexpected there %(1%):\n    loss.scale  float32 {1}")
    dict = { ["module.n_averaged"] = mt.tensor(3), ["module._orig_mod.module.weight"] = mt.ones(1, 2),
      ["module._orig_mod.module.bias"] = mt.ones(1) }
    report = m:load_state_dict(dict)
    assert.same({ "module.n_averaged" }, report.ignored)
    assert.equal("module.module.", report.prefix)
    assert.has_error(function()
      m:load_state_dict { n_averaged = mt.tensor(3), weight = mt.ones(1, 2), bias = mt.ones(1) }
    end)
  end)

  it("takes a list of one number for a scalar and the other way round, and whole floats for counters", function()
    local m = net()
    local dict = m:state_dict()
    for _, value in ipairs { mt.tensor({ 7 }, "int32"), mt.tensor(7), mt.tensor { 7 } } do
      m:load_state_dict(net():state_dict())
      dict["norm.num_batches_tracked"] = value
      m:load_state_dict(dict)
      local back = m:state_dict()["norm.num_batches_tracked"]
      assert.equal("int32", back:dtype())
      assert.same({}, back:shape())
      assert.equal(7, back:item())
    end
    local one = nn.Linear(1, 1)
    one:load_state_dict { weight = mt.ones(1, 1), bias = mt.tensor(0.5) }
    assert.same({ 0.5 }, one.bias:totable())
    for _, value in ipairs { mt.tensor(0.5), mt.tensor(0 / 0), mt.tensor(math.huge), mt.tensor { 1, 2 },
      mt.tensor(3e9), mt.ones(1, 1) } do
      dict["norm.num_batches_tracked"] = value
      assert.has_error(function() m:load_state_dict(dict) end)
    end
  end)

  it("does without num_batches_tracked, which old published weights lack", function()
    local m, dict = net(), net():state_dict()
    dict["norm.num_batches_tracked"] = nil
    assert.same({}, m:load_state_dict(dict).missing)
  end)

  it("refuses what is no state dict", function()
    local m = net()
    local dict = m:state_dict()
    dict["out.bias"] = 5
    for pattern, value in pairs{ ["table expected"] = 5, ["'out.bias' is number, expected a tensor"] = dict } do
      local ok, message = pcall(m.load_state_dict, m, value)
      assert.is_false(ok)
      assert.matches(pattern, message, 1, true)
    end
    dict = m:state_dict()
    dict[1] = mt.ones(1)
    assert.has_error(function() m:load_state_dict(dict) end)
    assert.has_error(function() m:load_state_dict(m:state_dict(), { strict = 1 }) end)
  end)

  it("leaves parameters without a gradient out of grad_dict, and everything after zero_grad", function()
    local m = net()
    assert.same({}, m:grad_dict())
    m.out(mt.ones(1, 18)):sum():backward()
    assert.same({ "out.bias", "out.weight" }, sorted_names(m:grad_dict()))
    m:zero_grad()
    assert.same({}, m:grad_dict())
  end)
end)

describe("sharing", function()
  it("lists a shared parameter once, but under every name in the state dict", function()
    local shared = nn.Linear(3, 3)
    local m = nn.Sequential{ shared, nn.ReLU(), shared }
    assert.equal(2, #m:parameters())
    assert.equal(12, m:num_parameters())
    assert.same({ "0.bias", "0.weight", "2.bias", "2.weight" }, sorted_names(m:state_dict()))
  end)
end)

describe("clone", function()
  it("is deep, keeps mode, fields and cam_layer, and drops gradients", function()
    local m = net():eval()
    m.cam_layer, m.classes = "norm", 2
    m.out(mt.ones(1, 18)):sum():backward()
    local copy = m:clone()
    assert.same(bytes_of(m:state_dict()), bytes_of(copy:state_dict()))
    assert.same({}, copy:grad_dict())
    assert.is_false(copy:is_training())
    assert.equal("norm", copy.cam_layer)
    assert.equal(2, copy.classes)
    copy.out.weight = mt.zeros(2, 18)
    assert.are_not.equal(m.out.weight:bytes(), copy.out.weight:bytes())
    assert.are_not.equal(m.out, copy.out)
    copy.cam_layer = "conv"
    assert.equal("norm", m.cam_layer)
    assert.equal(tostring(m), tostring(copy))
  end)

  it("keeps what is shared inside shared, and Lua modules running", function()
    local layer, weight = nn.Linear(2, 2), mt.ones(2)
    local function scale(self, x) return x * self.weight * self.factor end
    local m = nn.Sequential{ layer, layer, nn.Module{ weight = weight, factor = 2, forward = scale },
      nn.Module{ weight = weight, factor = 3, forward = scale } }
    local copy = m:clone()
    assert.equal(copy[1], copy[2])
    assert.equal(#m:parameters(), #copy:parameters())
    local x = mt.rand(3, 2)
    assert.equal(m(x):bytes(), copy(x):bytes())
    copy[3].weight = mt.zeros(2)
    assert.same({ 0, 0 }, copy[4].weight:totable())
    assert.same({ 1, 1 }, weight:totable())
    copy[3].factor = 7
    assert.equal(2, m[3].factor)
  end)
end)
