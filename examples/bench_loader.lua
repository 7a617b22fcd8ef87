-- From JPEG files to batches of 224x224 floats, beside torchvision's decoding and resizing in a PyTorch DataLoader; and
-- the share of a training's time that is spent waiting for batches. `bench.lua --loader` runs this.
--
-- Each side is a process of its own, pinned to one core where `taskset` is there, that for each line "go" on its
-- standard input makes the batches of one epoch and prints "<images per second of processor time> <images per second>
-- <mean>". Rounds alternate; ratios are the medians of the rounds'. Processor time, not the clock, is what "per core"
-- means here: it does not count what other programs take. The means of all batches must agree.
local mt = require "masktune"
local process = dofile((arg[0]:gsub("[^/]*$", "bench_process.lua")))
local median, quoted = process.median, process.quoted

local usage = [[
usage: bench.lua --loader [--photos DIR] [--images N] [--rounds N] [--batches N] [--json FILE]
--photos: a folder with a folder for each class (default: drawn pictures of 500x375, which is said); --images: how many
of them an epoch has (640); --batches: of how many training batches the waiting is measured (24; 0: not at all).
PyTorch with torchvision is looked for in $MASKTUNE_PYTHON, else python3.
]]

local SIZE, BATCH = 224, 64

local function photos(folder, count)
  local set = mt.data.image_folder { root = folder, size = SIZE, memory_limit = 0 }
  if count and count < mt.data.size(set) then
    set = mt.data.subset(set, mt.generator(1):permutation(mt.data.size(set)):narrow(1, 1, count))
  end
  return set
end

-- ---- a side ----

local function work(folder, count)
  mt.set_num_threads(1)
  local batches = mt.data.loader { dataset = photos(folder, count), batch = BATCH, shuffle = false }
  for line in io.lines() do
    if line == "end" then break end
    local started, used, images, sum = mt.clock(), os.clock(), 0, 0
    for batch in batches:epoch(1) do
      images = images + #batch.images
      sum = sum + batch.images:narrow(1, 1, 1):mean():item()
    end
    print(("%.17g %.17g %.17g"):format(images / (os.clock() - used), images / (mt.clock() - started),
      sum / batches:batches()))
    io.stdout:flush()
  end
end

--- Starts a process that reads lines through a FIFO; a function that runs a round.
local function start(command, folder, name)
  local pin = os.execute("command -v taskset >/dev/null 2>&1") and "taskset -c 0 " or ""
  local output, input = process.start(pin .. command, folder .. "/" .. name)
  return function()
    input:write("go\n")
    local line = output:read() or error(name .. " ended early", 0)
    local rate, wall, mean = line:match "(%S+) (%S+) (%S+)"
    return tonumber(rate), tonumber(wall), tonumber(mean)
  end, function() -- not only by closing the FIFO: sides that were started later have it, too
    input:write("end\n")
    input:close()
    output:close()
  end
end

-- ---- the comparison ----

local function check_means(sides, means)
  for name in pairs(sides) do
    if math.abs(means[name] - means.masktune) > 1.5 / 255 then
      error(("%s makes other images: mean %.5f, ours %.5f"):format(name, means[name], means.masktune), 0)
    end
  end
end

local function compare(options, folder, list)
  local names, sides = { "masktune" }, {}
  local interpreter = arg[-1] or "lua5.4"
  sides.masktune = ("%s %s --worker %s %d"):format(quoted(interpreter), quoted(options.script), quoted(options.photos),
    options.images)
  if options.python then
    for _, way in ipairs { "PIL-0", "PIL-1", "tensor-0", "tensor-1" } do
      names[#names + 1] = "torchvision " .. way
      sides[names[#names]] = ("%s %s %s %s %d %d"):format(quoted(options.python),
        quoted((options.script:gsub("lua$", "py"))), quoted(list), way, SIZE, BATCH)
    end
  end
  local run, stop, rates, walls, means = {}, {}, {}, {}, {}
  for i, name in ipairs(names) do
    run[name], stop[name] = start(sides[name], folder, "side-" .. i)
    run[name]() -- warms up
    rates[name], walls[name] = {}, {}
  end
  for round = 1, options.rounds do
    for _, name in ipairs(names) do
      rates[name][round], walls[name][round], means[name] = run[name]()
    end
  end
  for _, name in ipairs(names) do
    stop[name]()
  end
  check_means(sides, means)
  local results = {}
  print(("%-24s %24s %12s %8s"):format("JPEG to 224x224, 1 core", "images/s of processor", "by the clock", "ours is"))
  for _, name in ipairs(names) do
    local ratios = {}
    for round, rate in ipairs(rates[name]) do
      ratios[round] = rates.masktune[round] / rate
    end
    print(("%-24s %24.0f %12.0f %7.2fx"):format(name, median(rates[name]), median(walls[name]), median(ratios)))
    results[#results + 1] = {
      side = name, images_per_cpu_second = median(rates[name]), images_per_second = median(walls[name]),
      ours_is = median(ratios),
    }
  end
  return results
end

-- ---- waiting ----

local function measure_waiting(options)
  local set = photos(options.photos, options.batches * BATCH)
  local model = mt.models.efficientnet_lite0 { classes = set.classes }
  local optimizer = mt.optim.sgd(model:parameters(), { lr = 0.001, momentum = 0.9 })
  local batches = mt.data.loader {
    dataset = set, batch = BATCH, seed = 1, augment = mt.data.augment { { "horizontal_flip" } },
  }
  local started, images = mt.clock(), 0
  for batch in batches:epoch(1) do
    optimizer:zero_grad()
    mt.cross_entropy(model(batch.images), batch.labels):backward()
    optimizer:step()
    images = images + #batch.images
  end
  local seconds = mt.clock() - started
  print(("EfficientNet-Lite0, batch %d, %d threads: %.1f images/s; waited for images %.2f of %.1f s, %.2f %%"):format(
    BATCH, mt.get_num_threads(), images / seconds, batches.waited, seconds, 100 * batches.waited / seconds))
  return { images_per_second = images / seconds, waited = batches.waited / seconds, threads = mt.get_num_threads() }
end

-- ---- pictures where there are no photos ----

--- Smooth colours with some texture, as large and as hard to decode as a photo of a few dozen kilobytes.
local function draw_photos(folder, count)
  mt.manual_seed(1)
  for i = 1, count do
    local class = ("%s/%d"):format(folder, i % 2)
    mt.make_directory(class)
    local smooth = mt.image.resize(mt.rand(1, 12, 16, 3), { size = { 375, 500 }, antialias = true })
    mt.image.write_jpeg(("%s/%04d.jpg"):format(class, i), smooth * 0.9 + mt.rand(1, 375, 500, 3) * 0.1)
  end
end

local function parse(arguments, script)
  local options = { images = 640, rounds = 7, batches = 24, script = script }
  options.python = os.getenv "MASKTUNE_PYTHON" or "python3"
  local i = 1
  while arguments[i] do
    local name = arguments[i]:match "^%-%-(.*)"
    if name == "help" then
      io.write(usage)
      os.exit(true)
    elseif name ~= "loader" then
      i = i + 1
      local value = arguments[i]
      if name == "images" or name == "rounds" or name == "batches" then value = math.tointeger(tonumber(value)) end
      if not value or not (name == "photos" or name == "json" or options[name]) then
        error(("option '%s': a value is missing, or there is no such option\n%s"):format(arguments[i - 1], usage), 0)
      end
      options[name] = value
    end
    i = i + 1
  end
  if not os.execute(quoted(options.python) .. " -c 'import torch, torchvision, PIL' 2>/dev/null") then
    print(options.python .. " has no torch and torchvision: measuring ours only")
    options.python = nil
  end
  return options
end

local function run(options, folder)
  if not options.photos then
    options.photos = folder .. "/photos"
    draw_photos(options.photos, options.images)
    print "no --photos: drawn pictures of 500x375"
  end
  local set, paths = photos(options.photos, options.images), {}
  for i, place in ipairs(set.file:totable()) do
    paths[i] = set.files[place]
  end
  options.images = #paths
  local list = folder .. "/list"
  mt.write_file(list, table.concat(paths, "\n") .. "\n")
  local results = { images = #paths, loader = compare(options, folder, list) }
  if options.batches > 0 then results.training = measure_waiting(options) end
  if options.json then mt.write_file(options.json, mt.json.encode(results) .. "\n") end
end

local function main(script)
  if arg[1] == "--worker" then return work(arg[2], tonumber(arg[3])) end
  process.with_folder(run, parse(arg, script))
end

local ok, message = pcall(main, debug.getinfo(1, "S").source:sub(2))
if not ok then
  io.stderr:write("bench: ", tostring(message), "\n")
  os.exit(false, true)
end
