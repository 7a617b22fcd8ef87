--- Arrays of Lua doubles for checking tensors against plain arithmetic.
-- An array is { shape = {...}, [1..n] = number }, row-major. Nothing here uses the code under test.
local reference = {}

--- The number of elements of a shape.
function reference.count(shape)
  local n = 1
  for _, size in ipairs(shape) do
    n = n * size
  end
  return n
end

--- An array filled by f(flat index).
function reference.new(shape, f)
  local array = { shape = { table.unpack(shape) } }
  for i = 1, reference.count(shape) do
    array[i] = f(i)
  end
  return array
end

--- f applied to each element.
function reference.map(array, f)
  return reference.new(array.shape, function(i)
    return f(array[i])
  end)
end

--- Row-major strides of a shape.
function reference.strides(shape)
  local strides, step = {}, 1
  for axis = #shape, 1, -1 do
    strides[axis] = step
    step = step * shape[axis]
  end
  return strides
end

--- 1-based coordinates of a flat 1-based index.
function reference.coordinates(shape, index)
  local position, rest = {}, index - 1
  for axis = #shape, 1, -1 do
    position[axis] = rest % shape[axis] + 1
    rest = rest // shape[axis]
  end
  return position
end

--- The flat index of 1-based coordinates.
function reference.flat(shape, position)
  local index = 0
  for axis = 1, #shape do
    index = index * shape[axis] + position[axis] - 1
  end
  return index + 1
end

--- An array of `shape` whose element at `position` is f(position).
function reference.build(shape, f)
  return reference.new(shape, function(i)
    return f(reference.coordinates(shape, i))
  end)
end

--- The element of `array` that broadcasts to `position` of a larger shape.
function reference.broadcast_at(array, position)
  local own = {}
  local missing = #position - #array.shape
  for axis, size in ipairs(array.shape) do
    own[axis] = size == 1 and 1 or position[axis + missing]
  end
  return array[reference.flat(array.shape, own)]
end

--- The shape two shapes broadcast to.
function reference.broadcast_shape(a, b)
  local shape = {}
  local n = math.max(#a, #b)
  for axis = 1, n do
    local x, y = a[axis - n + #a] or 1, b[axis - n + #b] or 1
    shape[axis] = x == 1 and y or x
  end
  return shape
end

--- f(a, b) with broadcasting; numbers are allowed.
function reference.zip(a, b, f)
  a = type(a) == "number" and { shape = {}, a } or a
  b = type(b) == "number" and { shape = {}, b } or b
  return reference.build(reference.broadcast_shape(a.shape, b.shape), function(position)
    return f(reference.broadcast_at(a, position), reference.broadcast_at(b, position))
  end)
end

--- The values along `axes` (a list) gathered for each output element: f(list of values) gives the output.
function reference.reduce(array, axes, f, keepdim)
  local reduced, shape, kept = {}, {}, {}
  for _, axis in ipairs(axes) do
    reduced[axis] = true
  end
  for axis, size in ipairs(array.shape) do
    kept[axis] = reduced[axis] and 1 or size
    if keepdim or not reduced[axis] then
      shape[#shape + 1] = kept[axis]
    end
  end
  local groups = {}
  for i = 1, reference.count(kept) do
    groups[i] = {}
  end
  for i = 1, #array do
    local position = reference.coordinates(array.shape, i)
    for axis in pairs(reduced) do
      position[axis] = 1
    end
    table.insert(groups[reference.flat(kept, position)], array[i])
  end
  return reference.new(shape, function(i)
    return f(groups[i])
  end)
end

--- A tensor's values as an array.
function reference.from_tensor(tensor)
  local array = { shape = tensor:shape() }
  local format = ({ float32 = "<f", uint8 = "B", int32 = "<i4" })[tensor:dtype()]
  local bytes, at = tensor:bytes(), 1
  for i = 1, tensor:numel() do
    array[i], at = string.unpack(format, bytes, at)
  end
  return array
end

--- The double nearest to what a float32 can hold.
function reference.to_float32(x)
  return (string.unpack("<f", string.pack("<f", x)))
end

--- |a - b| / |b| (norms over all elements); |a| where b is all zeros.
function reference.relative_error(a, b)
  local difference, size = 0.0, 0.0
  for i = 1, math.max(#a, #b) do
    difference = difference + (a[i] - b[i]) ^ 2
    size = size + b[i] ^ 2
  end
  if size == 0 then
    return math.sqrt(difference)
  end
  return math.sqrt(difference / size)
end

--- The error function, by its Taylor series: for |x| < 4.
function reference.erf(x)
  local term, sum, n = x, x, 0
  while math.abs(term) > 1e-20 * math.abs(sum) do
    n = n + 1
    term = -term * x * x / n
    sum = sum + term / (2 * n + 1)
  end
  return 2 / math.sqrt(math.pi) * sum
end

--- A small generator of its own (xorshift64*), so that inputs do not depend on the one under test.
function reference.generator(seed)
  local state = seed * 2654435769 + 88172645463325252
  return function(low, high)
    state = state ~ (state >> 12)
    state = state ~ (state << 25)
    state = state ~ (state >> 27)
    local unit = ((state * 2685821657736338717) >> 11) * 2.0 ^ -53
    return low + (high - low) * unit
  end
end

return reference
