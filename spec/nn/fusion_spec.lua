local mt = require "masktune"
local reference = require "support.reference"
local nn = mt.nn

--- The same layers one call at a time, so that nothing can be fused.
local function apply_each(net, x)
  for _, layer in net:children() do
    x = layer(x)
  end
  return x
end

local function randomise(net)
  for _, module in net:modules() do
    local mean = module.running_mean
    if mean then
      module.running_mean, module.bias = mt.randn(mean:shape()), mt.randn(mean:shape())
      module.running_var, module.weight = mt.rand(mean:shape()) + 0.5, mt.rand(mean:shape()) + 0.5
    end
  end
  return net
end

--- Output, input gradient, parameter gradients and buffers of one forward and backward pass.
local function everything(net, run, x, seed)
  net:zero_grad()
  x = x:clone():requires_grad(true)
  local y = run(net, x)
  mt.manual_seed(seed)
  y:backward(mt.randn(y:shape()))
  local results = { output = y, input = x:grad() }
  for name, gradient in pairs(net:grad_dict()) do
    results["gradient of " .. name] = gradient
  end
  for name, buffer in net:named_buffers() do
    results[name] = buffer:clone()
  end
  return results
end

local function norm(tensor)
  local sum = 0
  for _, v in ipairs(reference.from_tensor(tensor)) do
    sum = sum + v * v
  end
  return math.sqrt(sum)
end

local nets = {
  ["conv, norm, relu, conv, norm, relu"] = function()
    return nn.Sequential{ nn.Conv2d(5, 6, 3, { padding = 1 }), nn.BatchNorm2d(6), nn.ReLU(),
      nn.Conv2d(6, 7, 3, { stride = 2, bias = false }), nn.BatchNorm2d(7), nn.ReLU() }
  end,
  ["conv, norm"] = function() return nn.Sequential{ nn.Conv2d(5, 16, 1), nn.BatchNorm2d(16) } end,
  ["conv, relu, norm, relu"] = function()
    return nn.Sequential{ nn.Conv2d(5, 8, { 3, 2 }), nn.ReLU(), nn.BatchNorm2d(8), nn.ReLU() }
  end,
  ["linear, norm, relu"] = function()
    return nn.Sequential{ nn.Flatten(), nn.Linear(5 * 7 * 9, 6), nn.BatchNorm1d(6), nn.ReLU() }
  end,
}

describe("Sequential gives what its layers give one at a time:", function()
  for name, make in pairs(nets) do
    for _, training in ipairs{ true, false } do
      it(name .. (training and ", training" or ", evaluation"), function()
        mt.manual_seed(5)
        local net = randomise(make()):train(training)
        local twin = net:clone()
        local x = mt.randn(4, 7, 9, 5)
        local fused = everything(net, function(m, input) return m(input) end, x, 8)
        local single = everything(twin, apply_each, x, 8)
        for key, expected in pairs(single) do
          local got, wanted = reference.from_tensor(fused[key]), reference.from_tensor(expected)
          -- The gradient of a bias that a normalisation takes away again is zero but for rounding.
          local cancelled = training and key:find("gradient of %d.bias") and norm(expected) < 1e-3
          if cancelled then
            assert.is_true(norm(fused[key]) < 1e-3, key)
          else
            local distance = reference.relative_error(got, wanted)
            assert.is_true(distance < 2e-5, ("%s differs by %g"):format(key, distance))
          end
        end
      end)
    end
  end
end)

describe("Residual gives what its parts give one at a time:", function()
  local function block(inputs, outputs, relu)
    return nn.Residual{
      { "conv1", nn.Conv2d(inputs, outputs, 3, { padding = 1, bias = false }) }, { "bn1", nn.BatchNorm2d(outputs) },
      { "relu1", nn.ReLU() }, { "conv2", nn.Conv2d(outputs, outputs, 3, { padding = 1, bias = false }) },
      { "bn2", nn.BatchNorm2d(outputs) }, relu = relu,
      downsample = inputs ~= outputs
          and nn.Sequential{ nn.Conv2d(inputs, outputs, 1, { bias = false }), nn.BatchNorm2d(outputs) } or nil,
    }
  end

  local function in_parts(relu)
    return function(net, x)
      local y = net.bn2(net.conv2(net.relu1(net.bn1(net.conv1(x)))))
      local shortcut = net.downsample and net.downsample[2](net.downsample[1](x)) or x
      return relu and (y + shortcut):relu() or y + shortcut
    end
  end

  for _, case in ipairs{ { 4, 4, true }, { 4, 6, true }, { 4, 4, false } } do
    for _, training in ipairs{ true, false } do
      it(("%d to %d channels, relu %s, training %s"):format(case[1], case[2], case[3], training), function()
        mt.manual_seed(6)
        local net = randomise(block(table.unpack(case))):train(training)
        local twin = net:clone()
        local x = mt.randn(3, 5, 6, case[1])
        local fused = everything(net, function(m, input) return m(input) end, x, 8)
        local single = everything(twin, in_parts(case[3]), x, 8)
        for key, expected in pairs(single) do
          local distance = reference.relative_error(reference.from_tensor(fused[key]), reference.from_tensor(expected))
          assert.is_true(distance < 2e-5, ("%s differs by %g"):format(key, distance))
        end
      end)
    end
  end
end)
