local mt = require "masktune"
local nn = mt.nn

local function names(iterate, ...)
  local list = {}
  for name in iterate(...) do
    list[#list + 1] = name
  end
  return list
end

local function through_layers(self, x)
  for _, layer in ipairs(self.layers) do
    x = layer(x)
  end
  return x
end

local function fails(pattern, f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.matches(pattern, message, 1, true)
end

describe("tables of modules in the fields of a Module", function()
  it("are registered under PyTorch's names, at any depth, and trained", function()
    local net = nn.Module{
      layers = { nn.Linear(2, 3), nn.Linear(3, 2, { bias = false }) },
      blocks = { stem = nn.Linear(2, 2), inner = { nn.ReLU(), { nn.Linear(1, 1) } } },
      scales = { mt.ones(2), mt.zeros(2) },
      forward = function(self, x) return through_layers(self, x) * self.scales[1] + self.scales[2] end,
    }
    assert.same({
      "blocks.inner.1.0.weight", "blocks.inner.1.0.bias", "blocks.stem.weight", "blocks.stem.bias", "layers.0.weight",
      "layers.0.bias", "layers.1.weight", "scales.0", "scales.1",
    }, names(net.named_parameters, net))
    assert.equal("ModuleList", net.layers:class())
    assert.equal("ModuleDict", net.blocks:class())
    assert.equal("ParameterList", net.scales:class())
    net(mt.ones(1, 2)):sum():backward()
    for _, name in ipairs{ "layers.0.weight", "layers.0.bias", "layers.1.weight", "scales.0", "scales.1" } do
      assert.is_not_nil(net:grad_dict()[name], name)
    end
    local before = net.layers[2].weight:bytes()
    mt.optim.sgd(net:parameters(), { lr = 1 }):step()
    assert.are_not.equal(before, net.layers[2].weight:bytes())
  end)

  it("are read by position, name, ipairs, pairs and #, as the tables were", function()
    local a, b, c = nn.ReLU(), nn.Flatten(), nn.Identity()
    local net = nn.Module{ layers = { a, b, last = c }, sizes = { kernel = 3, conv = c }, forward = through_layers }
    assert.equal(2, #net.layers)
    assert.equal(a, net.layers[1])
    assert.equal(c, net.layers.last)
    assert.is_nil(net.layers[3])
    assert.is_nil(net.layers[0])
    local seen = {}
    for i, layer in ipairs(net.layers) do
      seen[i] = layer
    end
    assert.same({ a, b }, seen)
    local keys = {}
    for key, layer in pairs(net.layers) do
      keys[#keys + 1] = tostring(key) .. " " .. layer:class()
    end
    assert.same({ "1 ReLU", "2 Flatten", "last Identity" }, keys)
    assert.same({ a, b }, { table.unpack(net.layers) })
    assert.equal(3, net.sizes.kernel)
    local fields = {}
    for key, value in pairs(net.sizes) do
      fields[key] = value
    end
    assert.same({ kernel = 3, conv = c }, fields)
    assert.same({ "layers", "sizes", "forward" }, names(pairs, net))
  end)

  it("are saved, loaded, copied, switched and printed like everything else", function()
    local function make()
      return nn.Module{ layers = { nn.BatchNorm1d(2), { nn.Linear(2, 2) } }, forward = through_layers }
    end
    local net, other = make(), make()
    other:load_state_dict(net:state_dict())
    assert.equal(net.layers[2][1].weight:bytes(), other.layers[2][1].weight:bytes())
    assert.equal("Module(\n  (layers): ModuleList(\n    (0): BatchNorm1d(2, eps 1e-05, momentum 0.1)           4\n"
      .. "    (1): ModuleList(\n      (0): Linear(2, 2)                                    6\n    )\n  )\n)\n"
      .. "10 parameters",
      tostring(net))
    net:eval()
    assert.is_false(net.layers[1]:is_training())
    local copy = net:clone()
    assert.are_not.equal(net.layers[2][1], copy.layers[2][1])
    copy.layers[2][1].weight = mt.zeros(2, 2)
    assert.are_not.equal(net.layers[2][1].weight:bytes(), copy.layers[2][1].weight:bytes())
    assert.equal(net, net:get "")
    assert.equal(net.layers[2][1], net:get "layers.1.0")
  end)

  it("may come later, whole or one by one, into what was an empty table", function()
    local net = nn.Module{ layers = {}, forward = through_layers }
    for i = 1, 3 do
      net.layers[i] = nn.Linear(2, 2)
    end
    assert.equal(3 * 6, net:num_parameters())
    assert.equal("ModuleList", net.layers:class())
    table.insert(net.layers, nn.Linear(2, 2))
    net.layers[5] = { nn.ReLU(), nn.Linear(2, 2) }
    assert.equal(5 * 6, net:num_parameters())
    net.layers[1] = nn.Linear(2, 2, { bias = false })
    assert.equal(5 * 6 - 2, net:num_parameters())
    net.more = { a = nn.Linear(1, 1) }
    net.more.b = nn.Linear(1, 1)
    net.more = { c = nn.Linear(3, 3) } -- in the place of the other
    assert.same({ "c" }, names(net.more.children, net.more))
    assert.same({ "layers", "more" }, names(net.children, net))
  end)

  it("are found in a table that is a field of a module deep in a net, whoever asks first", function()
    for _, ask in ipairs{
      function(m) return m:parameters() end, function(m) return m:state_dict() end, function(m) return m:eval() end,
      function(m) return m:clone() end, function(m) return tostring(m) end, function(m) return m:get "0.layers.0" end,
      function(m) return m:modules() end, function(m) m:zero_grad() end, function(m) return m:num_parameters() end,
    } do
      local inner = nn.Module{ layers = {}, forward = through_layers }
      local net = nn.Sequential{ inner }
      inner.layers[1] = nn.Sequential{ nn.Linear(2, 2) }
      ask(net)
      assert.equal("ModuleList", inner.layers:class())
      assert.equal(6, net:num_parameters())
    end
  end)

  it("stay plain tables where they hold neither modules nor tensors, however deep and round", function()
    local round = { 1, "two", { three = true } }
    round.self = round
    local chain = {}
    for _ = 1, 100000 do
      chain = { chain }
    end
    local net = nn.Module{ data = round, chain = chain, forward = through_layers }
    assert.equal(round, net.data)
    assert.equal(chain, net.chain)
    assert.equal(0, net:num_parameters())
  end)

  it("are errors where they cannot be registered", function()
    local net = nn.Module{ forward = through_layers }
    local function assign(value)
      return function() net.field = value end
    end
    fails("Module: field 'field': item 2 is number, expected a module or a tensor", assign{ nn.ReLU(), 5 })
    fails("Module: field 'field': item 2 is nil", assign{ nn.ReLU(), nil, nn.ReLU() })
    fails("Module: field 'field': item 2 is table", assign{ nn.ReLU(), {} })
    fails("Module: field 'field': names and items 1, 2, ... without gaps expected", assign{ [2.5] = nn.ReLU() })
    fails("Module: field 'field' holds modules or tensors in a table with a metatable",
      assign(setmetatable({ nn.ReLU() }, {})))
    fails("or modules as keys", assign{ [nn.ReLU()] = true })
    fails("ModuleDict: 'train' is a method and cannot be assigned", assign{ train = nn.ReLU() })
    fails("name is 'a.b'", assign{ ["a.b"] = nn.ReLU() })
    fails("parameter '0' is int32, expected float32", assign{ mt.ones(2):to "int32" })
    local x = mt.ones(2):requires_grad(true)
    fails("parameter 'sum' is the result of an operation", assign{ sum = x + x })
    local round = { nn.ReLU() }
    round.again = round
    fails("Module: field 'field': tables are nested more than 64 deep; does one stand inside itself?", assign(round))
    fails("a module cannot stand inside itself", assign{ net })
    fails("Module: item 1 is number, expected a module", nn.Module, { 5, forward = through_layers })
    net.late = setmetatable({}, { __index = table })
    net.late[1] = nn.ReLU()
    fails("Module: field 'late' holds modules or tensors in a table with a metatable", net.parameters, net)
  end)

  it("leave no room for anything else among their items", function()
    local net = nn.Module{ layers = { nn.ReLU() }, forward = through_layers }
    fails("ModuleList: child 3 does not exist, there are 1", function() net.layers[3] = nn.ReLU() end)
    fails("ModuleList: item 2 is number, expected a module or a tensor", function() net.layers[2] = 5 end)
    fails("ModuleList: item 1 is nil", function() net.layers[1] = nil end)
    fails("ModuleList: runs nothing by itself; call what is in it", net.layers, mt.ones(1, 2))
  end)
end)

describe("ModuleList, ModuleDict, ParameterList, ParameterDict", function()
  it("are made by name too", function()
    local list = nn.ModuleList{ nn.ReLU() }
    list[2] = nn.Linear(1, 2)
    assert.equal(2, #list)
    assert.equal(0, #nn.ModuleList())
    local dict = nn.ModuleDict{ a = nn.Linear(1, 1) }
    dict.b = nn.Linear(1, 1)
    assert.equal(4, dict:num_parameters())
    local parameters = nn.ParameterList{ mt.ones(2) }
    parameters[2] = mt.zeros(3)
    assert.same({ 0, 0, 0 }, parameters[2]:totable())
    assert.equal(5, parameters:num_parameters())
    local named = nn.ParameterDict{ w = mt.ones(2) }
    assert.same({ 1, 1 }, named.w:totable())
    local net = nn.Module{ list = list, dict = dict, forward = function(self, x) return self.dict.a(x) end }
    assert.same({ "dict.a.weight", "dict.a.bias", "dict.b.weight", "dict.b.bias", "list.1.weight", "list.1.bias" },
      names(net.named_parameters, net))
  end)

  it("refuse what does not belong in them", function()
    fails("plain table of modules expected", nn.ModuleList, { mt.ones(1) })
    fails("plain table of tensors expected", nn.ParameterList, { nn.ReLU() })
    fails("table with names expected, got a list", nn.ModuleDict, { nn.ReLU() })
    fails("bad argument #1 to 'ModuleList' (table expected, got number)", nn.ModuleList, 5)
    fails("ModuleList: item 1 is string", nn.ModuleList, { "relu" })
  end)
end)
