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
    assert.same({ missing = {}, unexpected = {}, mismatched = {} }, report)
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
    local ok, message = pcall(m.load_state_dict, m, dict)
    assert.is_false(ok)
    for _, line in ipairs{
      "load_state_dict: the names or shapes do not fit (nothing was loaded)\n  missing: conv.bias, norm.weight\n",
      "\n  unexpected: extra.a, extra.b\n",
      "\n  wrong shape or type: out.weight is float32 {18,2}, expected float32 {2,18}, ",
      ", out.bias is int32 {2}, expected float32 {2}",
    } do
      assert.matches(line, message, 1, true)
    end
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
