-- What several processes cost and bring: `make bench BENCH_FLAGS=--dist`.
--
-- First, on this machine, 2 ranks of 1 thread against 1 process of 2 threads, in alternating rounds; then the step of
-- EfficientNet-Lite0 over two network namespaces joined by a link of 1 Gbit/s (root and Open MPI are needed for that),
-- beside what a small model of the cost says, and what the model says of more machines and other links.
--
-- A worker (this script with --worker NET BATCH SECONDS) is one rank, or the one process: it trains on random images,
-- and prints a line of JSON.
local own_path = debug.getinfo(1, "S").source:sub(2)
local checkout = (own_path:match("^.*/") or "") .. "../"
local mt = require "masktune"
local process = dofile((arg[0]:gsub("[^/]*$", "bench_process.lua")))
local median, quoted = process.median, process.quoted

local usage = [[
usage: bench_dist.lua [--net NAME] [--rounds N] [--seconds N] [--batch N] [--skip-link | --skip-cost] [--json FILE]
--batch: images of a rank on the link (64)]]

--- Net -> how to build it, the height and width of its images, the batch of all ranks together.
local nets = {
  small_cnn = { build = function() return mt.models.small_cnn { classes = 2 } end, size = 28, batch = 128 },
  resnet32 = { build = function() return mt.models.resnet32 { classes = 10 } end, size = 32, batch = 128 },
  efficientnet_lite0 = {
    build = function() return mt.models.efficientnet_lite0 { classes = 2 } end, size = 224, batch = 16,
  },
}
local ORDER = { "small_cnn", "resnet32", "efficientnet_lite0" }

-- ---- a worker ----

--- One step: the seconds it took, and those it waited for gradients.
local function step(job, images, labels)
  local started = mt.clock()
  job.optimizer:zero_grad()
  local loss = mt.cross_entropy(job.net(images), labels)
  if job.sums then job.sums:begin() end
  (loss * (1 / mt.dist.world())):backward()
  local waited = job.sums and job.sums:finish() or 0
  job.optimizer:step()
  return mt.clock() - started, waited
end

--- How long the last step waited, and when its buckets began.
local function row_of(job, waited)
  local row = { waited }
  for i, bucket in ipairs(job.sums:times()) do
    row[i + 1] = bucket.begun
  end
  return row
end

--- Of all ranks' steps the one that waited least: there this rank came last, and waited for the link alone.
local function least_wait(rows)
  local least
  for _, row in ipairs(mt.dist.gather(mt.tensor(rows)):totable()) do
    if not least or row[1] < least[1] then least = row end
  end
  return least
end

--- How long a sum of `bytes` takes when nothing else goes on: the best of some.
local function seconds_of_sum(bytes)
  local values, best = mt.zeros(math.max(1, bytes // 4)), math.huge
  for _ = 1, 5 do
    mt.dist.barrier()
    local started = mt.clock()
    mt.dist.all_reduce(values)
    best = math.min(best, mt.clock() - started)
  end
  return best
end

--- How many steps fill the seconds, the same on all ranks.
local function count_steps(job, images, labels, seconds)
  local took = step(job, images, labels)
  return mt.dist.from_first(function() return math.max(3, math.ceil(seconds / took)) end)
end

--- What the ranks tell each other about the steps, they tell after the last: it is no part of a step.
local function work(name, batch, seconds)
  local world, one = mt.dist.world(), nets[name]
  local own = batch // world
  mt.manual_seed(1)
  local net = one.build()
  local job = { net = net, optimizer = mt.optim.sgd(net:parameters(), { lr = 0.001, momentum = 0.9 }) }
  job.sums = world > 1 and mt.dist.buckets(net:parameters()) or nil
  local images, labels = mt.rand(own, one.size, one.size, 3), mt.zeros({ own }, "int32") + 1
  net:train()
  step(job, images, labels)
  local count, steps, waits, rows = count_steps(job, images, labels, seconds), {}, {}, {}
  mt.dist.barrier()
  local started = mt.clock()
  for n = 1, count do
    steps[n], waits[n] = step(job, images, labels)
    if job.sums then rows[n] = row_of(job, waits[n]) end
  end
  local elapsed, least, times = mt.clock() - started, job.sums and least_wait(rows), mt.json.array()
  for i, bucket in ipairs(job.sums and job.sums:times() or {}) do
    times[i] = { bytes = bucket.bytes, begun = least[i + 1] }
  end
  local result = {
    world = world, threads = mt.get_num_threads(), images_per_second = count * batch / elapsed,
    step = median(steps), waited = median(waits), least = least and least[1], steps = count, times = times,
    small_sum = seconds_of_sum(4), large_sum = seconds_of_sum(4 << 20),
  }
  if mt.dist.rank() == 0 then print("result " .. mt.json.encode(result)) end
end

-- ---- running workers ----

local ROOT = "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1"

local function run(prefix, name, batch, seconds)
  local command = ("%s %s %s --worker %s %d %g"):format(prefix, quoted(arg[-1] or "lua5.4"), quoted(own_path), name,
    batch, seconds)
  local pipe = assert(io.popen(command))
  local output = pipe:read("a")
  pipe:close()
  local line = output:match("result ([^\n]*)")
  if not line then error(("no result from: %s\n%s"):format(command, output), 0) end
  return mt.json.decode(line)
end

local function compare(name, o)
  local ratios, ranks, threads = {}, {}, {}
  for round = 1, o.rounds do
    local one = run("MASKTUNE_DIST=off MASKTUNE_NUM_THREADS=2", name, nets[name].batch, o.seconds)
    local two = run(ROOT .. " MASKTUNE_NUM_THREADS=1 mpirun -n 2 --bind-to none", name, nets[name].batch, o.seconds)
    threads[round], ranks[round] = one.images_per_second, two.images_per_second
    ratios[round] = two.images_per_second / one.images_per_second
  end
  local row = {
    ratios = mt.json.array(ratios), ratio = median(ratios), ranks = median(ranks), threads = median(threads),
    best = math.max(table.unpack(ranks)) / math.max(table.unpack(threads)),
  }
  print(("%-20s %10.1f %10.1f %8.2f %13.2f"):format(name, row.threads, row.ranks, row.ratio, row.best))
  return row
end

-- ---- the model ----

local WIRE = 0.94 -- of a link's bits carry data: Ethernet, IP and TCP headers take the rest
local MESSAGE = 5e-6 -- seconds of a rank's time for each message

--- Seconds of a sum of `bytes` over n machines: every rank sends and receives 2 (n-1)/n of the bytes, in two rounds.
local function modelled_sum(bytes, n, link)
  local carried = 2 * (n - 1) / n * bytes
  return carried / (link.gbit * 1e9 / 8 * WIRE) + 2 * link.latency + 2 * (n - 1) * MESSAGE
end

--- Seconds that a step waits after backward. Buckets begin when their gradients are there (measured), one after the
-- other through the link.
local function modelled_wait(times, n, link)
  local free = -math.huge
  for _, bucket in ipairs(times) do
    free = math.max(free, bucket.begun) + modelled_sum(bucket.bytes, n, link)
  end
  return math.max(free, 0)
end

local function predict(result)
  print("what the model says of this step on other links: share of it that waits")
  print(("%10s %10s %10s %10s"):format("machines", "1 Gbit/s", "10 Gbit/s", "100 Gbit/s"))
  local compute = result.step - result.waited
  for _, n in ipairs { 2, 8, 64, 512 } do
    local cells = {}
    for i, gbit in ipairs { 1, 10, 100 } do
      local wait = modelled_wait(result.times, n, { gbit = gbit, latency = result.small_sum / 2 })
      cells[i] = ("%9.2f%%"):format(100 * wait / (compute + wait))
    end
    print(("%10d %s"):format(n, table.concat(cells, " ")))
  end
end

local function over_link(o)
  local namespaces = checkout .. "spec/dist/namespaces.sh"
  if not os.execute(quoted(namespaces) .. " --check >/dev/null 2>&1") then
    print("no network namespaces here (root and iproute2 are needed): the link is left out")
    return nil
  end
  local result
  print("over a link of 1 Gbit/s, 2 ranks of 1 thread (the one that comes last waits for the link alone)")
  for _, case in ipairs { { "small_cnn", 2 }, { "resnet32", 4 }, { "efficientnet_lite0", o.batch } } do
    local name, batch = table.unpack(case)
    result = run(("%s MASKTUNE_NUM_THREADS=1 RATE=1gbit DELAY=0.1ms %s"):format(ROOT, quoted(namespaces)), name,
      2 * batch, o.seconds)
    local link = { gbit = 1, latency = result.small_sum / 2 }
    print(("%s, %d images a rank: step %.3f s, waits %.1f ms = %.1f %%; the last rank at best %.1f ms (model: %.1f ms)")
      :format(name, batch, result.step, 1e3 * result.waited, 100 * result.waited / result.step, 1e3 * result.least,
        1e3 * modelled_wait(result.times, 2, link)))
    print(("  4 MiB summed alone in %.1f ms (model: %.1f ms)"):format(1e3 * result.large_sum,
      1e3 * modelled_sum(4 << 20, 2, link)))
  end
  predict(result)
  return result
end

-- ---- the program ----

local function parse(arguments)
  local o = { rounds = 5, seconds = 4, batch = 64, nets = ORDER }
  local i = 1
  local function number()
    i = i + 1
    return tonumber(arguments[i]) or error(usage, 0)
  end
  while arguments[i] do
    local name = arguments[i]
    if name == "--rounds" or name == "--seconds" or name == "--batch" then
      o[name:sub(3)] = number()
    elseif name == "--skip-link" or name == "--skip-cost" then
      o[name:sub(3):gsub("-", "_")] = true
    elseif name == "--net" and nets[arguments[i + 1]] then
      i = i + 1
      o.nets = { arguments[i] }
    elseif name == "--json" then
      i = i + 1
      o.json = arguments[i]
    elseif name ~= "--dist" then
      error(usage, 0)
    end
    i = i + 1
  end
  return o
end

local function main()
  if arg[1] == "--worker" then return work(arg[2], tonumber(arg[3]), tonumber(arg[4])) end
  local o, found = parse(arg), {}
  if not o.skip_cost then
    print("images/s, medians    2 threads    2 ranks    ratio  of the bests")
    for _, name in ipairs(o.nets) do
      found[name] = compare(name, o)
    end
  end
  if not o.skip_link then found.link = over_link(o) end
  if o.json then mt.write_file(o.json, mt.json.encode(found) .. "\n") end
end

local ok, message = pcall(main)
if not ok then
  io.stderr:write("bench_dist: ", tostring(message), "\n")
  os.exit(false, true)
end
