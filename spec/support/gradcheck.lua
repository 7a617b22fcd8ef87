--- Checks an operation and its gradients against a reference written in Lua doubles.
--
--     gradcheck.check{
--       ours = function(x, w) return x:matmul(w) end,
--       reference = function(x, w) ... return array end,
--       inputs = { { shape = {2, 3}, low = -1, high = 1 }, { shape = {3, 4} } },
--     }
--
-- The forward values are compared with the reference, and the gradients of sum(r * output), r fixed and
-- random, with central differences of the reference in double precision; both as relative norms.
local mt = require "masktune"
local reference = require "support.reference"

local gradcheck = {}

local function make_values(input, random)
  if input.values then
    return reference.new(input.shape or { #input.values }, function(i)
      return input.values[i]
    end)
  end
  local low, high = input.low or -1, input.high or 1
  return reference.new(input.shape, function()
    if input.dtype then
      return math.floor(random(low, high + 1))
    end
    return reference.to_float32(random(low, high))
  end)
end

local formats = { float32 = "<f", uint8 = "B", int32 = "<i4" }

local function make_tensor(array, dtype)
  local parts = {}
  for i = 1, #array do
    parts[i] = string.pack(formats[dtype], array[i])
  end
  return mt.from_bytes(table.concat(parts), dtype, array.shape)
end

local function as_array(value)
  return type(value) == "number" and { shape = {}, value } or value
end

local function weighted_sum(array, weights)
  local sum = 0.0
  for i = 1, #weights do
    sum = sum + weights[i] * array[i]
  end
  return sum
end

local function numeric_gradient(call, arrays, which, weights)
  local x = arrays[which]
  return reference.new(x.shape, function(i)
    local kept = x[i]
    local step = 1e-5 * math.max(1, math.abs(kept))
    x[i] = kept + step
    local above = weighted_sum(as_array(call(table.unpack(arrays))), weights)
    x[i] = kept - step
    local below = weighted_sum(as_array(call(table.unpack(arrays))), weights)
    x[i] = kept
    return (above - below) / (2 * step)
  end)
end

local function fail_unless_close(what, got, expected, tolerance)
  local got_shape, shape = table.concat(got.shape, ","), table.concat(expected.shape, ",")
  if got_shape ~= shape then
    error(("%s has shape {%s}, the reference {%s}"):format(what, got_shape, shape), 3)
  end
  local distance = reference.relative_error(got, expected)
  if distance <= tolerance then
    return
  end
  local lines = {}
  for i = 1, math.min(#got, 8) do
    lines[i] = ("  [%d] %.9g, reference %.9g"):format(i, got[i], expected[i])
  end
  error(("%s: relative error %.3g > %.3g\n%s"):format(what, distance, tolerance, table.concat(lines, "\n")), 3)
end

--- Raises an error that says what is off; returns nothing otherwise.
-- @tparam table case `ours`: tensors -> tensor; `reference`: arrays -> array or number; `inputs`: a list of
--   { shape, low = -1, high = 1 } or { shape, values }, with `dtype` ("int32", "uint8") or `grad = false` for
--   inputs without gradient; `tolerance_forward` = 1e-5, `tolerance_gradient` = 1e-4, `seed` = 1.
function gradcheck.check(case)
  local random = reference.generator(case.seed or 1)
  local arrays, tensors = {}, {}
  for i, input in ipairs(case.inputs) do
    arrays[i] = make_values(input, random)
    tensors[i] = make_tensor(arrays[i], input.dtype or "float32")
    if not input.dtype and input.grad ~= false then
      tensors[i]:requires_grad(true)
    end
  end

  local output = case.ours(table.unpack(tensors))
  local expected = as_array(case.reference(table.unpack(arrays)))
  fail_unless_close("output", reference.from_tensor(output), expected, case.tolerance_forward or 1e-5)

  local weights = reference.new(expected.shape, function()
    return reference.to_float32(random(-1, 1))
  end)
  output:backward(make_tensor(weights, "float32"))
  for i, tensor in ipairs(tensors) do
    if tensor:requires_grad() then
      local gradient = tensor:grad()
      if not gradient then
        error(("input %d has no gradient"):format(i), 2)
      end
      fail_unless_close(
        ("gradient of input %d"):format(i),
        reference.from_tensor(gradient),
        numeric_gradient(case.reference, arrays, i, weights),
        case.tolerance_gradient or 1e-4
      )
    end
  end
end

return gradcheck
