local mt = require "masktune"
local nn = mt.nn

--- A module that owns `layer` and has this forward.
local function module_with(forward, fields)
  fields = fields or {}
  fields.layer = fields.layer or nn.Linear(2, 2)
  fields.forward = forward
  return nn.Module(fields)
end

local function refused(pattern, module)
  local ok, message = pcall(module.clone, module)
  assert.is_false(ok)
  assert.matches(pattern, message, 1, true)
end

describe("clone, where a forward reaches its layers other than through self", function()
  local layer = nn.Linear(2, 2)

  it("names the upvalue of a layer, inside the net or not", function()
    local whole = "clone: 'forward' of this Module reaches a Linear through its upvalue 'layer', which the copy would "
      .. "share with the original; make it a field and reach it through self"
    refused(whole, module_with(function(_, x) return layer(x) end, { layer = layer }))
    refused("of module 'block.0' reaches a Linear through its upvalue 'layer'", nn.Sequential{
      { "block", nn.Sequential{ module_with(function(_, x) return layer(x) end) } },
    })
    local net
    net = module_with(function(_, x) return net.layer(x) end)
    refused("reaches a Module through its upvalue 'net'", net)
  end)

  it("follows lists, tables, functions and the functions inside forward", function()
    local list, tree = { nn.ReLU(), layer }, { deep = { er = { layer } } }
    local function helper(x) return layer(x) end
    local function outer(x) return helper(x) end
    refused("its upvalue 'list'[1]", module_with(function(_, x) return list[1](x) end))
    refused("a Linear through its upvalue 'tree'.deep.er[1]", module_with(function(_, x) return tree.deep.er[1](x) end))
    refused("its upvalue 'outer' and that one's upvalue 'helper' and that one's upvalue 'layer'",
      module_with(function(_, x) return outer(x) end))
    refused("its upvalue 'layer'", module_with(function(_, x)
      local function inside() return layer(x) end
      return inside()
    end))
    refused("its upvalue 'tree'.deep", module_with(function(_, x)
      for _, part in pairs(tree) do x = part.er[1](x) end
      return x
    end))
    refused("its upvalue 'object'.layer", (function()
      local class = { layer = layer }
      local object = setmetatable({}, { __index = class })
      return module_with(function(_, x) return object.layer(x) end)
    end)())
    refused("'activation' of this Module reaches a Linear through its upvalue 'layer'",
      module_with(function(self, x) return self.activation(x) end, { activation = function(x) return layer(x) end }))
    refused("'tools.run' of this Module reaches a Linear through its upvalue 'layer'",
      module_with(function(self, x) return self.tools.run(x) end, {
        tools = { run = function(x) return layer(x) end },
      }))
  end)

  it("finds globals, and parameters", function()
    _G.global_layer = layer
    refused("its global 'global_layer'", module_with(load "return function(_, x) return global_layer(x) end"()))
    assert.is_true(mt.is_module(module_with(load "return function(_, x) return other_layer(x) end"()):clone()))
    _G.global_layer = nil
    local weight, loose = mt.ones(2), mt.ones(2):requires_grad(true)
    refused("a parameter through its upvalue 'weight'",
      module_with(function(_, x) return x * weight end, { weight = weight }))
    refused("a parameter through its upvalue 'loose'", module_with(function(_, x) return x * loose end))
  end)

  it("lets functions use what is no layer, and tables that also hold nets they do not mean", function()
    local scale, constant = 3, mt.ones(2)
    local kit = { double = function(x) return x * 2 end, other_net = nn.Linear(2, 2), tool = { net = layer } }
    local net = module_with(function(self, x) return kit.double(self.layer(x)) * scale + constant end)
    kit.this_net = net
    local copy = net:clone()
    copy.layer.weight, copy.layer.bias = mt.zeros(2, 2), mt.zeros(2)
    assert.same({ { 1, 1 } }, copy(mt.ones(1, 2)):totable())
    assert.are_not.same({ { 1, 1 } }, net(mt.ones(1, 2)):totable())
  end)

  it("looks a few levels deep, and never without end", function()
    local round = {}
    round.round = round
    local function recursive(x) return x and round.round.round and recursive(false) or x end
    assert.is_true(mt.is_module(module_with(function(self, x) return self.layer(recursive(x)) end):clone()))
    local wide = {}
    for i = 1, 300000 do wide[i] = {} end
    assert.is_true(mt.is_module(module_with(function(self, x) return wide[1] and self.layer(x) end):clone()))
  end)

  it("stops the recipe, whose result would be one net under two names", function()
    local data = mt.data.synthetic_digits{ count = 20, seed = 1 }
    local head = nn.Linear(3, 10)
    local function forward(self, x) return head(mt.global_avg_pool(self.body(x))) end
    local net = nn.Module{ body = nn.Conv2d(3, 3, 3), head = head, forward = forward, classes = 10, cam_layer = "body" }
    local ok, message = pcall(mt.masktune, net, { train = data, val = data, epochs = 1 })
    assert.is_false(ok)
    assert.matches("clone: 'forward' of this Module reaches a Linear through its upvalue 'head'", message, 1, true)
  end)
end)
