--- Layers against PyTorch's values: spec/golden/layers.py is the other side and says what a case is.
local mt = require "masktune"
local reference = require "support.reference"

local layers = {}

local FORWARD, GRADIENT = 1e-5, 1e-4

function layers.build(case)
  local list = {}
  for i, layer in ipairs(case.layers) do
    local arguments = { table.unpack(layer.args or {}) }
    arguments[#arguments + 1] = layer.options
    list[i] = mt.nn[layer.layer](table.unpack(arguments))
  end
  return mt.nn.Sequential(list)
end

--- The tensors whose names begin so, without that beginning.
local function part(tensors, beginning)
  local found = {}
  for name, tensor in pairs(tensors) do
    if name:sub(1, #beginning) == beginning then found[name:sub(#beginning + 1)] = tensor end
  end
  return found
end

--- The relative error of `got`; a gradient that is zero but for rounding (of a bias before a batch norm) by `scale`.
local function compare(complaints, name, got, expected, tolerance)
  local a, b = reference.from_tensor(got), reference.from_tensor(expected)
  if table.concat(a.shape, ",") ~= table.concat(b.shape, ",") then
    complaints[#complaints + 1] = ("  %s has shape {%s}, PyTorch's {%s}"):format(name, table.concat(a.shape, ","),
      table.concat(b.shape, ","))
    return
  end
  local relative = reference.relative_error(a, b)
  if relative ~= relative or relative > tolerance then
    complaints[#complaints + 1] = ("  %s: relative error %.3g, allowed %.3g"):format(name, relative, tolerance)
  end
end

local function compare_all(complaints, kind, ours, theirs, tolerance)
  for name, expected in pairs(theirs) do
    if ours[name] then
      compare(complaints, kind .. name, ours[name], expected, tolerance)
    else
      complaints[#complaints + 1] = "  " .. kind .. name .. " is missing"
    end
  end
end

--- Raises with everything that is too far from PyTorch's.
function layers.check(case, theirs)
  local model = layers.build(case)
  local report = model:load_state_dict(part(theirs, "state."), { strict = false })
  assert(#report.unexpected == 0 and #report.mismatched == 0, case.name .. ": the state does not fit")
  model:train(case.train ~= false)
  local x = theirs.x:clone()
  if x:dtype() == "float32" then x:requires_grad(true) end
  local y = model(x)
  y:backward(theirs.r)
  local complaints = {}
  compare(complaints, "y", y, theirs.y, FORWARD)
  if theirs.grad_x then compare(complaints, "grad_x", x:grad(), theirs.grad_x, GRADIENT) end
  local gradients, state = model:grad_dict(), model:state_dict()
  compare_all(complaints, "grad.", gradients, part(theirs, "grad."), GRADIENT)
  compare_all(complaints, "after.", state, part(theirs, "after."), FORWARD)
  local counted = 0
  for name in pairs(state) do
    counted = counted + 1
    assert(theirs["state." .. name] or name:find "num_batches_tracked$", name .. " is not in PyTorch's state dict")
  end
  if #complaints > 0 then
    table.sort(complaints)
    error(case.name .. " differs from PyTorch:\n" .. table.concat(complaints, "\n"), 0)
  end
end

return layers
