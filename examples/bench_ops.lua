-- The speed of single operations beside PyTorch's: `make bench BENCH_FLAGS=--ops`.
--
-- Ours are measured here, PyTorch's in a process of its own (bench_ops.py, which has the same operations under the same
-- names). The rounds alternate: in each, all operations of one size and number of threads are measured on one side,
-- then on the other. A measurement is the shortest of many batches of at least a millisecond, over all rounds: what
-- other processes do at the same time makes batches longer, never shorter. Both sides' results are compared.
--
-- "forward" records nothing; "backward" is a forward pass that records, and the backward pass.
local mt = require "masktune"
local process = dofile((arg[0]:gsub("[^/]*$", "bench_process.lua")))
local median, quoted = process.median, process.quoted

local usage = [[
usage: bench.lua --ops [--quick] [--only PATTERN,...] [--sizes small,cached,large] [--threads 1,2] [--rounds N]
                       [--no-torch] [--json FILE]
--quick: two short rounds. --only: operations whose name has one of the Lua patterns.
PyTorch is looked for in $MASKTUNE_PYTHON, else python3. ATEN_CPU_CAPABILITY=avx2 and MASKTUNE_ISA=avx2 hold both sides
to AVX2.
]]

--- Sizes: matrices of n x n, images of n^2 values with so many channels.
local sizes = {
  small = { n = 32, image = { 1, 8, 8, 16 } },
  cached = { n = 256, image = { 4, 16, 16, 64 } },
  large = { n = 2048, image = { 16, 64, 64, 64 } },
}

--- The tensors that operations work on.
local function make_data(size)
  local n, image = size.n, size.image
  local channels = image[4]
  mt.manual_seed(1)
  local data = {
    x = mt.randn(n, n),
    y = mt.randn(n, n),
    positive = mt.rand(n, n) + 0.1,
    row = mt.randn(n),
    column = mt.randn(n, 1),
    index = (mt.rand(n, n) * n):floor():to("int32") + 1,
    rows = mt.randperm(n),
    image = mt.randn(table.unpack(image)),
    scale = mt.rand(channels) + 0.5,
    kernel1 = mt.randn(1, 1, channels, channels),
    kernel3 = mt.randn(3, 3, channels, channels),
    kernel5 = mt.randn(5, 5, channels, channels),
    kernel7 = mt.randn(7, 7, channels, channels),
  }
  data.mask = data.x:gt(0)
  data.batch = data.x:reshape(16, n // 4, n // 4)
  data.other_batch = data.y:reshape(16, n // 4, n // 4)
  data.cube = data.x:reshape(n // 8, 8, n)
  return data
end

local function method(name, ...)
  local arguments = { ... }
  return function(d)
    return d.x[name](d.x, table.unpack(arguments))
  end
end

--- { name, function of the data, what is differentiated with respect to ... }
local operations = {
  { "exp", method "exp", "x" },
  { "log", function(d) return d.positive:log() end, "positive" },
  { "sqrt", function(d) return d.positive:sqrt() end, "positive" },
  { "tanh", method "tanh", "x" },
  { "sigmoid", method "sigmoid", "x" },
  { "gelu", method "gelu", "x" },
  { "silu", method "silu", "x" },
  { "relu", method "relu", "x" },
  { "erf", method "erf", "x" },
  { "sin", method "sin", "x" },
  { "abs", method "abs", "x" },
  { "clamp", method("clamp", -1, 1), "x" },
  { "pow", function(d) return d.positive ^ 2.5 end, "positive" },
  { "add", function(d) return d.x + d.y end, "x", "y" },
  { "multiply", function(d) return d.x * d.y end, "x", "y" },
  { "divide", function(d) return d.x / d.positive end, "x", "positive" },
  { "add number", function(d) return d.x + 1.5 end, "x" },
  { "add row", function(d) return d.x + d.row end, "x", "row" },
  { "multiply column", function(d) return d.x * d.column end, "x", "column" },
  { "maximum", function(d) return mt.maximum(d.x, d.y) end, "x", "y" },
  { "less", function(d) return d.x:lt(d.y) end },
  { "where", function(d) return mt.where(d.mask, d.x, d.y) end, "x", "y" },
  { "sum", method "sum", "x" },
  { "sum over axis 1", method("sum", 1), "x" },
  { "sum over axis 2", method("sum", 2), "x" },
  { "mean of middle axis", function(d) return d.cube:mean(2) end, "cube" },
  { "max", method "max", "x" },
  { "max over axis 1", method("max", 1), "x" },
  { "max over axis 2", method("max", 2), "x" },
  { "argmax over axis 2", method("argmax", 2) },
  { "var over axis 1", method("var", 1), "x" },
  { "var over axis 2", method("var", 2), "x" },
  { "norm", method "norm", "x" },
  { "logsumexp", method("logsumexp", 2), "x" },
  { "softmax", method("softmax", 2), "x" },
  { "softmax over axis 1", method("softmax", 1), "x" },
  { "log_softmax", method("log_softmax", 2), "x" },
  { "cross_entropy", function(d) return mt.cross_entropy(d.x, d.rows) end, "x" },
  { "transpose", method "transpose", "x" },
  { "permute", function(d) return d.cube:permute(3, 1, 2) end, "cube" },
  { "cat", function(d) return mt.cat({ d.x, d.y }, 2) end, "x", "y" },
  { "stack", function(d) return mt.stack{ d.x, d.y } end, "x", "y" },
  { "index rows", function(d) return d.x[d.rows] end, "x" },
  { "gather", function(d) return d.x:gather(2, d.index) end, "x" },
  { "cumsum over axis 1", method("cumsum", 1), "x" },
  { "cumsum over axis 2", method("cumsum", 2), "x" },
  { "sort", method("sort", 2), "x" },
  { "topk", method("topk", 5, 2), "x" },
  { "matmul", function(d) return d.x:matmul(d.y) end, "x", "y" },
  { "matrix and vector", function(d) return d.x:matmul(d.row) end, "x", "row" },
  { "batched matmul", function(d) return d.batch:matmul(d.other_batch) end, "batch", "other_batch" },
  { "linear", function(d) return mt.linear(d.x, d.y, d.row) end, "x", "y", "row" },
  { "layer_norm", function(d) return mt.layer_norm(d.x, d.row:size(1), d.row, d.row) end, "x", "row" },
  { "conv2d 1x1", function(d) return mt.conv2d(d.image, d.kernel1) end, "image", "kernel1" },
  { "conv2d 3x3", function(d) return mt.conv2d(d.image, d.kernel3, nil, { padding = 1 }) end, "image", "kernel3" },
  { "conv2d 5x5", function(d) return mt.conv2d(d.image, d.kernel5, nil, { padding = 2 }) end, "image", "kernel5" },
  { "conv2d 7x7/2", function(d) return mt.conv2d(d.image, d.kernel7, nil, { padding = 3, stride = 2 }) end, "image",
    "kernel7" },
  { "max_pool2d", function(d) return mt.max_pool2d(d.image, { kernel = 2 }) end, "image" },
  { "dropout", function(d) return mt.dropout(d.x, 0.5) end, "x", random = true },
  { "rand", function(d) return mt.rand(d.x:size(1), d.x:size(2)) end, random = true },
  { "randn", function(d) return mt.randn(d.x:size(1), d.x:size(2)) end, random = true },
}

-- ---- ours ----

--- The step to repeat, and a function that gives what it computed last.
local function prepare(operation, direction, data)
  local inputs, f = {}, operation[2]
  for i = 3, #operation do
    inputs[#inputs + 1] = data[operation[i]]
  end
  if direction == "forward" then
    return function()
      return f(data)
    end, function()
      return f(data)
    end
  end
  for _, input in ipairs(inputs) do
    input:requires_grad(true)
  end
  local gradient = f(data):detach() * 0 + 1
  local function step()
    for _, input in ipairs(inputs) do
      input:zero_grad()
    end
    f(data):backward(gradient)
  end
  local function result()
    step()
    return inputs[1]:grad()
  end
  local function finish()
    for _, input in ipairs(inputs) do
      input:zero_grad():requires_grad(false)
    end
  end
  return step, result, finish
end

--- Seconds of one step: of the best among batches that take at least a millisecond each.
local function shortest(step, seconds)
  local clock, count, best = mt.clock, 1, math.huge
  local finish = clock() + seconds
  repeat
    local start = clock()
    for _ = 1, count do
      step()
    end
    local now = clock()
    best = math.min(best, (now - start) / count)
    if now - start < 1e-3 then count = count * 2 end
  until now >= finish
  return best
end

--- Sum of the values and of their magnitudes.
local function summary(t)
  t = t:to("float32")
  return { t:sum():item(), t:abs():sum():item() }
end

local function measure_ours(case, data, seconds)
  local step, result, finish = prepare(case.operation, case.direction, data)
  case.summary = case.summary or summary((result()))
  local time = shortest(step, seconds)
  if finish then finish() end
  case.ours = math.min(case.ours or math.huge, time)
end

-- ---- theirs ----

local Torch = {}
Torch.__index = Torch

local function start_torch(python, folder)
  local script = arg[0]:gsub("[^/]*$", "bench_ops.py")
  local self = setmetatable({}, Torch)
  local command = ("%s %s %s"):format(quoted(python), quoted(script), quoted(folder))
  self.replies, self.requests = process.start(command, folder .. "/requests")
  self.version = assert(self.replies:read(), "bench_ops.py did not start")
  return self
end

function Torch:measure(case, size, threads, seconds)
  self.requests:write(("%s\t%s\t%s\t%d\t%g\n"):format(case.operation[1], case.direction, size, threads, seconds))
  local line = self.replies:read() or "the end"
  local time, sum, magnitude = line:match("^(%S+) (%S+) (%S+)$")
  if not time then error(("bench_ops.py answers '%s' to %s"):format(line, case.operation[1]), 0) end
  case.theirs = math.min(case.theirs or math.huge, tonumber(time))
  local difference = math.abs(tonumber(sum) - case.summary[1])
  if not case.operation.random and difference > 1e-3 * tonumber(magnitude) + 1e-3 then
    error(("%s %s: PyTorch's result sums up to %s, ours to %g"):format(case.operation[1], case.direction, sum,
      case.summary[1]), 0)
  end
end

-- ---- the rounds ----

local function is_wanted(name, patterns)
  for _, pattern in ipairs(patterns) do
    if name:find(pattern) then return true end
  end
  return false
end

local function cases_of(options, size, threads)
  local cases = {}
  for _, operation in ipairs(operations) do
    for _, direction in ipairs{ "forward", operation[3] and "backward" or nil } do
      if is_wanted(operation[1], options.only) then
        cases[#cases + 1] = { operation = operation, direction = direction, size = size, threads = threads }
      end
    end
  end
  return cases
end

--- Measures the cases of one size and number of threads; sets their `ours` and `theirs`, in seconds.
local function measure(cases, data, size, threads, torch, options)
  mt.set_num_threads(threads)
  for _ = 1, options.rounds do
    for _, case in ipairs(cases) do
      measure_ours(case, data, options.seconds)
    end
    for _, case in ipairs(torch and cases or {}) do
      torch:measure(case, size, threads, options.seconds)
    end
    os.execute("sleep 0.25") -- PyTorch's threads go on spinning for a while
  end
end

local function time_text(seconds)
  if seconds < 1e-3 then return ("%.1f us"):format(seconds * 1e6) end
  return ("%.2f ms"):format(seconds * 1e3)
end

--- A row for each operation and direction, a column for each size and number of threads.
local function report(columns)
  local head = ("%-20s %-8s"):format("operation", "")
  for _, cases in ipairs(columns) do
    head = head .. (" | %6s, %d: ratio"):format(cases.size, cases.threads)
  end
  print(head)
  for i, first in ipairs(columns[1]) do
    local line = ("%-20s %-8s"):format(first.operation[1], first.direction)
    for _, cases in ipairs(columns) do
      local case = cases[i]
      line = line .. (" | %9s %5s"):format(time_text(case.ours), case.ratio and ("%.2f"):format(case.ratio) or "")
    end
    print(line)
  end
end

local function summarise(columns)
  local all, slower = {}, {}
  for _, cases in ipairs(columns) do
    local ratios = {}
    for _, case in ipairs(cases) do
      ratios[#ratios + 1], all[#all + 1] = case.ratio, case.ratio
      if case.ratio < 1 then
        slower[#slower + 1] = ("%s %s (%s, %d) %.2f"):format(case.operation[1], case.direction, case.size, case.threads,
          case.ratio)
      end
    end
    print(("%s, %d: median %.2f"):format(cases.size, cases.threads, median(ratios)))
  end
  print(("all: median %.2f, %d of %d below 1"):format(median(all), #slower, #all))
  for _, text in ipairs(slower) do
    print("  " .. text)
  end
end

local function write_json(columns, torch, path)
  local list = {}
  for _, cases in ipairs(columns) do
    for _, case in ipairs(cases) do
      list[#list + 1] = {
        operation = case.operation[1],
        direction = case.direction,
        size = case.size,
        threads = case.threads,
        ours = case.ours,
        theirs = case.theirs,
        ratio = case.ratio,
      }
    end
  end
  mt.write_file(path, mt.json.encode{ isa = mt.isa(), torch_version = torch and torch.version, cases = list } .. "\n")
end

local function run(options, folder)
  local data = {}
  for _, size in ipairs(options.sizes) do
    data[size] = make_data(sizes[size])
    mt.save(folder .. "/" .. size, data[size])
  end
  local torch = options.python and start_torch(options.python, folder)
  print(("%s; times are ours, ratios theirs / ours%s"):format(mt.isa(), torch and "; PyTorch " .. torch.version or ""))
  local columns = {}
  for _, size in ipairs(options.sizes) do
    for _, threads in ipairs(options.threads) do
      local cases = cases_of(options, size, threads)
      cases.size, cases.threads = size, threads
      measure(cases, data[size], size, threads, torch, options)
      for _, case in ipairs(cases) do
        case.ratio = case.theirs and case.theirs / case.ours
      end
      columns[#columns + 1] = cases
    end
  end
  report(columns)
  if torch then summarise(columns) end
  if options.json then write_json(columns, torch, options.json) end
end

-- ---- the command line ----

local function list_of(text, convert)
  local list = {}
  for word in text:gmatch("[^,]+") do
    list[#list + 1] = convert(word)
  end
  return list
end

local function parse(arguments)
  local options = { rounds = 5, seconds = 0.02, only = { "" }, sizes = { "small", "cached", "large" } }
  options.threads = mt.machine().cores > 1 and { 1, mt.machine().cores } or { 1 }
  options.python = os.getenv("MASKTUNE_PYTHON") or "python3"
  local i = 1
  local function value()
    i = i + 1
    return arguments[i] or error(arguments[i - 1] .. ": a value is missing", 0)
  end
  local function count(text)
    return math.tointeger(tonumber(text)) or error(("%s is '%s', expected a number"):format(arguments[i - 1], text), 0)
  end
  while arguments[i] do
    local name = arguments[i]
    if name == "--quick" then
      options.rounds, options.seconds = 2, 0.005
    elseif name == "--no-torch" then
      options.python = nil
    elseif name == "--only" then
      options.only = list_of(value(), tostring)
    elseif name == "--json" then
      options.json = value()
    elseif name == "--rounds" then
      options.rounds = count(value())
    elseif name == "--threads" then
      options.threads = list_of(value(), count)
    elseif name == "--sizes" then
      options.sizes = list_of(value(), function(size)
        return sizes[size] and size or error(("--sizes has '%s', expected small, cached or large"):format(size), 0)
      end)
    elseif name ~= "--ops" then
      error(("unknown option '%s'\n%s"):format(name, usage), 0)
    end
    i = i + 1
  end
  if options.python and not os.execute(quoted(options.python) .. " -c 'import torch' 2>/dev/null") then
    print(options.python .. " has no torch: measuring ours only")
    options.python = nil
  end
  return options
end

return function(arguments)
  process.with_folder(run, parse(arguments))
end
