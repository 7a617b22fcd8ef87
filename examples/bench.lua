-- Speed and memory of masktune beside its strongest rivals, measured in alternating rounds within one run.
--
-- Every measurement is a process of its own (this script with --worker, or bench_torch.py with the name of a rival), so
-- that peak memory and the time from start to the first finished step are its own. Those of one net and work take
-- turns, whatever their number of threads; ratios are the medians of the rounds' ratios to the best rival's, "scale" is
-- the one to the first number of threads. A worker builds the net, runs one step and prints
-- "first <check> <version>"; for each line "<seconds>" on its standard input it repeats the step for that long and
-- prints "rate <images/s>" (as the function `rate` measures it); for the line "end" it prints "peak <MB>" and ends. The
-- check is the loss (masks: the mean of the masked images) on the same weights and images, and must be the same on all
-- sides.
local mt = require "masktune"
local process = dofile((arg[0]:gsub("[^/]*$", "bench_process.lua")))
local median, quoted = process.median, process.quoted

local usage = [[
usage: bench.lua [--quick] [--net NAME] [--work train|eval|latency|masks] [--threads 1,2] [--isa avx2|plain]
                 [--no-torch] [--json FILE]
       bench.lua --company [--quick] [--json FILE]
       bench.lua --ops ...     (single operations: bench_ops.lua)
       bench.lua --dist ...    (several processes: bench_dist.lua)
       bench.lua --loader ...  (JPEG files to batches: bench_loader.lua)
Rivals, where installed: PyTorch eager (the better of its two layouts), torch.compile (frozen for inference), ONNX
Runtime and OpenVINO, all in float32 with the same threads, looked for in $MASKTUNE_PYTHON, else python3.
--quick: a few minutes; two threads (unless --threads says otherwise), three short rounds, and PyTorch eager in
channels_last only, which has been its better layout on processors.
--isa: no wider instructions than these; PyTorch, its compiler and OpenBLAS are held to them too, while ONNX Runtime
has no such option, and OpenVINO follows oneDNN's as far as it looks at it.
--company: ours alone, what the speed is beside other busy processes, in percent of that alone.
]]

--- Net -> how to build it and what it costs. macs: multiply-adds of one image's forward pass; first_macs: those of the
-- first layer, which needs no gradient of its input.
local nets = {
  {
    name = "small_cnn",
    build = function()
      return mt.models.small_cnn{ classes = 2 }
    end,
    image = { 28, 28, 3 },
    classes = 2,
    batch = 128,
    macs = 2801344,
    first_macs = 292032,
  },
  {
    name = "resnet32",
    build = function()
      return mt.models.resnet32{ classes = 10 }
    end,
    image = { 32, 32, 3 },
    classes = 10,
    batch = 128,
    macs = 68862592,
    first_macs = 442368,
  },
  {
    name = "resnet50",
    build = function()
      return mt.models.resnet50{ classes = 1000 }
    end,
    image = { 224, 224, 3 },
    classes = 1000,
    batch = 16,
    macs = 4089184256,
    first_macs = 118013952,
  },
  {
    name = "efficientnet_lite0",
    build = function()
      return mt.models.efficientnet_lite0{ classes = 1000, dropout = 0 }
    end,
    image = { 224, 224, 3 },
    classes = 1000,
    batch = 16,
    macs = 385187552,
    first_macs = 10838016,
  },
}

--- A step of inference.
local function inference(model, images, labels)
  model:eval()
  return function()
    return mt.no_grad(function()
      return mt.cross_entropy(model(images), labels):item()
    end)
  end
end

--- Work -> its rivals, how often the forward pass's multiply-adds are done, and a function that makes the step to
-- repeat; batch: how many images, where not the net's.
local works = {
  {
    name = "train",
    rivals = { "nchw", "channels_last", "compile" },
    macs = function(net)
      return 3 * net.macs - net.first_macs
    end,
    prepare = function(model, images, labels)
      local optimiser = mt.optim.sgd(model:parameters(), { lr = 0.01, momentum = 0.9, weight_decay = 1e-4 })
      return function()
        optimiser:zero_grad()
        local loss = mt.cross_entropy(model(images), labels)
        loss:backward()
        optimiser:step()
        return loss:item()
      end
    end,
  },
  {
    name = "eval",
    rivals = { "nchw", "channels_last", "compile", "onnxruntime", "openvino" },
    macs = function(net)
      return net.macs
    end,
    prepare = inference,
  },
  {
    name = "latency",
    rivals = { "compile", "onnxruntime", "openvino" },
    batch = 1,
    macs = function(net)
      return net.macs
    end,
    prepare = inference,
  },
  {
    name = "masks",
    rivals = { "nchw", "channels_last" },
    macs = function(net)
      return net.macs
    end,
    prepare = function(model, images)
      model:eval()
      local size = { images:size(2), images:size(3) }
      return function()
        local heat = mt.cam.xgradcam(model, images, { layer = model.cam_layer })
        local keep = mt.mask.threshold(heat, { protocol = "paper", k = 2, size = size })
        return mt.mask.apply(images, keep):mean():item()
      end
    end,
  },
}

local function named(list, name, what)
  for _, entry in ipairs(list) do
    if entry.name == name then return entry end
  end
  error(("%s is '%s', which there is not"):format(what, name), 0)
end

--- The median of the rounds' ratios: neighbours in time, so that the machine's drift falls out.
local function ratio(worker, other)
  local ratios = {}
  for round, rate in ipairs(worker.rates) do
    ratios[round] = rate / other.rates[round]
  end
  return median(ratios)
end

--- Half the range of the rounds, as a share of their median.
local function spread(values)
  return (math.max(table.unpack(values)) - math.min(table.unpack(values))) / 2 / median(values)
end

--- Repeats step for at least `seconds`; steps per second. A first step that is short does not count: it wakes caches
-- and threads up after the others' rounds.
local function rate(step, seconds)
  local start = mt.clock()
  step()
  local elapsed, count = mt.clock() - start, 1
  if elapsed < seconds / 4 then
    start, elapsed, count = mt.clock(), 0, 0
  end
  while elapsed < seconds do
    step()
    count = count + 1
    elapsed = mt.clock() - start
  end
  return count / elapsed
end

-- ---- the worker ----

local function peak_mb()
  for line in io.lines("/proc/self/status") do
    local kb = line:match("^VmHWM:%s*(%d+)")
    if kb then return tonumber(kb) / 1024 end
  end
end

local function work_for(net, work, threads, weights, batch)
  mt.set_num_threads(threads)
  local model = net.build()
  model:load_state_dict(mt.load(weights))
  local data = mt.load(batch)
  local step = work.prepare(model, data.images, data.labels)
  io.stdout:setvbuf("line")
  print("first", step(), mt._VERSION)
  for line in io.lines() do
    if line == "end" then break end
    print("rate", rate(step, tonumber(line)) * data.images:size(1))
  end
  print("peak", peak_mb())
end

-- ---- the side that asks ----

local rival_script = arg[0]:gsub("bench%.lua$", "bench_torch.py")

local Worker = {}
Worker.__index = Worker

--- Starts a worker and waits for its first step.
local function start_worker(label, command, folder)
  local fifo = folder .. "/" .. label
  local self = setmetatable({ label = label, rates = {} }, Worker)
  local start = mt.clock()
  self.replies, self.requests = process.start(command, fifo)
  self.check, self.version = self:answer("first")
  self.start_seconds = mt.clock() - start
  os.remove(fifo)
  return self
end

function Worker:answer(what)
  local line = self.replies:read()
  local value, rest = (line or ""):match("^" .. what .. "%s+(%S+)%s*(.*)$")
  if not value then error(("%s: answer is '%s', expected '%s ...'"):format(self.label, line, what), 0) end
  return tonumber(value), rest
end

function Worker:begin_round(seconds)
  self.requests:write(seconds, "\n")
end

function Worker:end_round()
  self.rates[#self.rates + 1] = self:answer("rate")
end

--- First some peace: the threads of other workers go on spinning for up to 0.2 s after their last step.
function Worker:round(seconds)
  os.execute("sleep 0.25")
  self:begin_round(seconds)
  self:end_round()
end

function Worker:finish()
  self.requests:write("end\n") -- closing would not do: workers started later hold this end too
  self.peak_mb = self:answer("peak")
  self.requests:close()
  self.replies:close()
  self.rate = median(self.rates)
end

--- What a worker is told.
local function case_of(net, work, threads, folder)
  return ("%s %s %d %s/weights %s/batch"):format(net.name, work.name, threads, folder, folder)
end

local function start_ours(case, folder)
  return start_worker("ours", ("%s %s --worker %s"):format(quoted(arg[-1]), quoted(arg[0]), case), folder)
end

--- The rivals that are both installed and asked for.
local function rivals_of(work, options)
  local names = {}
  for _, name in ipairs(work.rivals) do
    if options.rivals[name] then names[#names + 1] = name end
  end
  return names
end

--- Ours and its rivals with one number of threads.
local function start_workers(net, work, threads, options, folder)
  local case = case_of(net, work, threads, folder)
  local workers = { start_ours(case, folder) }
  for _, rival in ipairs(rivals_of(work, options)) do
    local command = ("%s %s %s %s 2>%s/stderr"):format(quoted(options.python), quoted(rival_script), case, rival,
      folder)
    workers[#workers + 1] = start_worker(rival, command, folder)
  end
  return workers
end

--- Ends the workers of one number of threads. Returns { ours =, best = the fastest rival (or nil), rivals = { ... } }.
local function finish_workers(net, work, workers)
  local ours, best = workers[1], nil
  for index, worker in ipairs(workers) do
    worker:finish()
    if math.abs(worker.check - ours.check) > 1e-3 * math.abs(ours.check) then
      error(("%s %s: %s computes %g, ours %g"):format(net.name, work.name, worker.label, worker.check, ours.check), 0)
    end
    if index > 1 and (not best or worker.rate > best.rate) then best = worker end
  end
  return { ours = ours, best = best, rivals = table.move(workers, 2, #workers, 1, {}) }
end

--- One net and work: all workers, of every number of threads, take turns. Returns what finish_workers does for
-- each number.
local function measure(net, work, options, folder)
  local groups = {}
  for i, threads in ipairs(options.threads) do
    groups[i] = start_workers(net, work, threads, options, folder)
  end
  for _ = 1, options.rounds do
    for _, workers in ipairs(groups) do
      for _, worker in ipairs(workers) do
        worker:round(options.seconds)
      end
    end
  end
  for i, workers in ipairs(groups) do
    groups[i] = finish_workers(net, work, workers)
  end
  return groups
end

--- GFLOP/s of a 2048 x 2048 x 2048 matrix product: what this machine can do.
local function ceiling(threads, options)
  local n <const> = 2048
  mt.set_num_threads(threads)
  local a, b = mt.rand(n, n), mt.rand(n, n)
  local rounds = {}
  for round = 1, options.rounds do
    rounds[round] = rate(function()
      a:matmul(b)
    end, options.seconds) * 2 * n ^ 3 / 1e9
  end
  return median(rounds)
end

--- GFLOP/s of one core's multiply-adds without memory, by bench_peak.c; nil where there is no C compiler.
local function core_peak(options, folder)
  local flags = ({ avx2 = "-mavx2 -mfma", plain = "" })[options.isa] or "-march=native"
  local source, program = arg[0]:gsub("bench%.lua$", "bench_peak.c"), folder .. "/peak"
  if not os.execute(("${CC:-cc} -O2 %s -o %s %s 2>/dev/null"):format(flags, quoted(program), quoted(source))) then
    return nil
  end
  local output <close> = assert(io.popen(("%s %g"):format(quoted(program), options.seconds)))
  return output:read("n")
end

local function write_batch(net, count, folder)
  mt.manual_seed(1)
  mt.save(folder .. "/weights", net.build():state_dict())
  local labels = {}
  for i = 1, count do
    labels[i] = i * 3 % net.classes + 1
  end
  mt.save(folder .. "/batch", {
    images = mt.rand(count, table.unpack(net.image)),
    labels = mt.tensor(labels):to("int32"),
  })
end

local function rounded(value, digits)
  return value and tonumber(("%." .. digits .. "f"):format(value))
end

--- The better of PyTorch's eager layouts, and each other rival's rate; nil: not measured.
local function rates_of(rivals)
  local rates = {}
  for _, rival in ipairs(rivals) do
    local name = (rival.label == "nchw" or rival.label == "channels_last") and "eager" or rival.label
    rates[name] = math.max(rates[name] or 0, rival.rate)
  end
  return rates
end

local columns = { "eager", "compile", "onnxruntime", "openvino" }

local function percent(share)
  return share and ("%.0f%%"):format(100 * share) or "-"
end

local function head(options)
  local ours = ("%-18s %-7s %7s %10s %5s %8s %6s %6s %8s %8s %6s"):format("net", "work", "threads", "images/s", "",
    "GFLOP/s", "sgemm", "peak", "memory", "start", "scale")
  if not next(options.rivals) then return ours end
  return ours .. (" | %9s %9s %11s %9s | %-13s %8s %8s %6s"):format(columns[1], columns[2], columns[3], columns[4],
    "best", "memory", "start", "ratio")
end

local function report(row, measured)
  local line = ("%-18s %-7s %7d %10.1f +-%2.0f%% %8.1f %6s %6s %5.0f MB %6.2f s %6s"):format(row.net, row.work,
    row.threads, row.ours, 100 * spread(measured.ours.rates), row.gflops, percent(row.share_of_sgemm),
    percent(row.share_of_peak), row.rss_mb, row.start_seconds, row.scaling and ("%.2f"):format(row.scaling) or "")
  if measured.best then
    local cells = {}
    for i, name in ipairs(columns) do
      cells[i] = (i == 3 and "%11s" or "%9s"):format(row.rivals[name] and ("%.1f"):format(row.rivals[name]) or "-")
    end
    line = line .. (" | %s | %-13s %5.0f MB %6.2f s %6.2f"):format(table.concat(cells, " "), row.best, row.best_rss_mb,
      row.best_start_seconds, row.ratio)
  end
  print(line)
end

local function row_of(net, work, threads, measured, first, limits)
  local ours, best = measured.ours, measured.best
  local gflops = ours.rate * 2 * work.macs(net) / 1e9
  local row = {
    net = net.name,
    work = work.name,
    threads = threads,
    ours = rounded(ours.rate, 1),
    gflops = rounded(gflops, 1),
    share_of_sgemm = rounded(gflops / limits.sgemm[tostring(threads)], 3),
    share_of_peak = limits.core_peak and rounded(gflops / limits.core_peak / math.min(threads, mt.machine().cores), 3),
    rss_mb = rounded(ours.peak_mb, 1),
    start_seconds = rounded(ours.start_seconds, 3),
    scaling = first ~= measured and rounded(ratio(ours, first.ours), 3) or nil,
  }
  if not best then return row end
  row.best, row.best_rate, row.ratio = best.label, rounded(best.rate, 1), rounded(ratio(ours, best), 3)
  row.best_rss_mb, row.best_start_seconds = rounded(best.peak_mb, 1), rounded(best.start_seconds, 3)
  row.rivals, row.ratios = {}, {}
  for name, rival_rate in pairs(rates_of(measured.rivals)) do
    row.rivals[name] = rounded(rival_rate, 1)
  end
  for _, rival in ipairs(measured.rivals) do
    row.ratios[rival.label] = rounded(ratio(ours, rival), 3)
  end
  return row
end

local function measure_limits(options, folder)
  local limits = { sgemm = {}, core_peak = core_peak(options, folder) }
  print(("one core's multiply-adds: %s GFLOP/s"):format(limits.core_peak or "no C compiler to measure,"))
  for _, threads in ipairs(options.threads) do
    local gflops = ceiling(threads, options)
    limits.sgemm[tostring(threads)] = rounded(gflops, 1)
    print(("sgemm 2048^3, %d thread%s: %.1f GFLOP/s"):format(threads, threads == 1 and "" or "s", gflops))
  end
  return limits
end

local function run(options, folder)
  local limits = measure_limits(options, folder)
  local results = { isa = mt.isa(), limits = limits, cases = {} }
  print(head(options))
  for _, net in ipairs(options.nets) do
    for _, work in ipairs(options.works) do
      write_batch(net, work.batch or net.batch, folder)
      local groups = measure(net, work, options, folder)
      for i, threads in ipairs(options.threads) do
        local row = row_of(net, work, threads, groups[i], groups[1], limits)
        if groups[i].best then results.torch_version = groups[i].best.version end
        results.cases[#results.cases + 1] = row
        report(row, groups[i])
      end
    end
  end
  if results.torch_version then print("PyTorch " .. results.torch_version .. "; the same losses on all sides") end
  if options.json then mt.write_file(options.json, mt.json.encode(results) .. "\n") end
end

-- ---- in company ----

--- Calls f while one busy loop a core is running, which ends with f, or by itself after a minute of its core.
local function beside_busy_processes(cores, f)
  local pids, pipes = {}, {}
  for i = 1, cores do
    pipes[i] = assert(io.popen(("echo $$; exec %s -e 'while os.clock() < 60 do end'"):format(quoted(arg[-1]))))
    pids[i] = assert(pipes[i]:read(), "a busy process did not start")
  end
  local ok, message = pcall(f)
  os.execute("kill " .. table.concat(pids, " "))
  for _, pipe in ipairs(pipes) do
    pipe:close()
  end
  if not ok then error(message, 0) end
end

--- Situations, in each round one after the other: a name, the share of the speed alone that it should reach, and how a
-- round of it is run. The workers: `one` and `another` with a thread a core, `many` with two.
local situations = {
  {
    name = "alone",
    run = function(workers, seconds)
      workers.one:round(seconds)
    end,
  },
  {
    name = "one busy process a core",
    wanted = 0.45,
    run = function(workers, seconds, cores)
      beside_busy_processes(cores, function()
        workers.one:round(seconds)
      end)
    end,
  },
  {
    name = "two trainings at once",
    wanted = 0.45,
    run = function(workers, seconds)
      workers.another:begin_round(seconds)
      workers.one:begin_round(seconds)
      workers.one:end_round()
      workers.another:end_round()
    end,
  },
  {
    name = "two threads a core",
    wanted = 0.85,
    run = function(workers, seconds)
      workers.many:round(seconds)
    end,
  },
}

--- The slower one's, where several were at work.
local function rate_of_round(workers)
  local least
  for _, worker in pairs(workers) do
    local rate_now = table.remove(worker.rates)
    if rate_now and (not least or rate_now < least) then least = rate_now end
  end
  return least
end

local function measure_company(batch, options, folder)
  local net, work, cores = nets[1], works[1], mt.machine().cores
  write_batch(net, batch, folder)
  local workers = {
    one = start_ours(case_of(net, work, cores, folder), folder),
    another = start_ours(case_of(net, work, cores, folder), folder),
    many = start_ours(case_of(net, work, 2 * cores, folder), folder),
  }
  local rates = {}
  for _ = 1, options.rounds do
    for _, situation in ipairs(situations) do
      situation.run(workers, options.seconds, cores)
      local of_situation = rates[situation.name] or { rates = {} }
      rates[situation.name] = of_situation
      table.insert(of_situation.rates, rate_of_round(workers))
    end
  end
  for _, worker in pairs(workers) do
    table.insert(worker.rates, 0)
    worker:finish()
  end
  return rates
end

local function run_company(options, folder)
  local results = { company = {} }
  print(("%-10s %6s  %-24s %10s %5s %9s %9s"):format("net", "batch", "company", "images/s", "", "of alone", "wanted"))
  for _, batch in ipairs{ 16, 128 } do
    local rates = measure_company(batch, options, folder)
    for _, situation in ipairs(situations) do
      local ours = rates[situation.name]
      local share = ratio(ours, rates.alone)
      print(("%-10s %6d  %-24s %10.0f +-%2.0f%% %8.0f%% %9s"):format(nets[1].name, batch, situation.name,
        median(ours.rates), 100 * spread(ours.rates), 100 * share,
        situation.wanted and (">= %.0f%%"):format(100 * situation.wanted) or ""))
      table.insert(results.company, {
        net = nets[1].name,
        batch = batch,
        company = situation.name,
        ours = rounded(median(ours.rates), 1),
        share_of_alone = rounded(share, 3),
        wanted = situation.wanted,
      })
    end
  end
  if options.json then mt.write_file(options.json, mt.json.encode(results) .. "\n") end
end

--- The names of the installed rivals, as a set.
local function installed_rivals(python)
  local output <close> = assert(io.popen(("%s %s --rivals 2>/dev/null"):format(quoted(python), quoted(rival_script))))
  local names = {}
  for name in output:read("a"):gmatch("%S+") do
    names[name] = true
  end
  return names
end

--- What holds each side to an instruction set, before anything of it is loaded: this script starts again with it.
local function start_again_with(isa)
  local variables = {
    MASKTUNE_ISA = isa,
    ATEN_CPU_CAPABILITY = isa == "avx2" and "avx2" or "default",
    ONEDNN_MAX_CPU_ISA = isa == "avx2" and "AVX2" or "SSE41",
    OPENBLAS_CORETYPE = isa == "avx2" and "Haswell" or "Nehalem",
  }
  local words = { "env" }
  for name, value in pairs(variables) do
    words[#words + 1] = name .. "=" .. value
  end
  for i = -1, #arg do
    words[#words + 1] = quoted(arg[i])
  end
  local _, _, code = os.execute(table.concat(words, " "))
  os.exit(code, true)
end

local function parse(arguments)
  local options = { nets = nets, works = works, rounds = 9, seconds = 1, rivals = {} }
  options.python = os.getenv("MASKTUNE_PYTHON") or "python3"
  local flags = {
    ["--quick"] = function()
      options.rounds, options.seconds, options.quick = 3, 0.3, true
      options.threads = options.threads or { 2 }
    end,
    ["--no-torch"] = function()
      options.python = nil
    end,
    ["--company"] = function()
      options.python, options.company = nil, true
    end,
    ["--help"] = function()
      io.write(usage)
      os.exit(true)
    end,
  }
  local valued = {
    ["--net"] = function(value)
      options.nets = { named(nets, value, "--net") }
    end,
    ["--work"] = function(value)
      options.works = { named(works, value, "--work") }
    end,
    ["--threads"] = function(value)
      options.threads = {}
      for count in value:gmatch("[^,]+") do
        options.threads[#options.threads + 1] = math.tointeger(tonumber(count))
          or error(("--threads is '%s', expected 1,2"):format(value), 0)
      end
    end,
    ["--json"] = function(value)
      options.json = value
    end,
    ["--isa"] = function(value)
      if value ~= "avx2" and value ~= "plain" then error("--isa is '" .. value .. "', expected avx2 or plain", 0) end
      options.isa = value
    end,
  }
  local i = 1
  while arguments[i] do
    local name = arguments[i]
    if flags[name] then
      flags[name]()
    elseif valued[name] then
      i = i + 1
      valued[name](arguments[i] or error(name .. ": a value is missing", 0))
    else
      error(("unknown option '%s'\n%s"):format(name, usage), 0)
    end
    i = i + 1
  end
  options.threads = options.threads or { 1, 2 }
  if options.isa and os.getenv("MASKTUNE_ISA") ~= options.isa then start_again_with(options.isa) end
  if options.python then
    options.rivals = installed_rivals(options.python)
    if not next(options.rivals) then print(options.python .. " has no torch: measuring ours only") end
    if options.quick then options.rivals.nchw = nil end
  end
  return options
end

local function main()
  for _, part in ipairs { "ops", "loader", "dist" } do
    for _, word in ipairs(arg) do
      if word == "--" .. part then
        local part_of = dofile((arg[0]:gsub("bench%.lua$", ("bench_%s.lua"):format(part))))
        return part_of and part_of(arg)
      end
    end
  end
  if arg[1] == "--worker" then
    local _, net, work, threads, weights, batch = table.unpack(arg)
    return work_for(named(nets, net, "net"), named(works, work, "work"), tonumber(threads), weights, batch)
  end
  local options = parse(arg)
  process.with_folder(options.company and run_company or run, options)
end

local ok, message = pcall(main)
if not ok then
  io.stderr:write("bench: ", tostring(message), "\n")
  os.exit(false, true)
end
