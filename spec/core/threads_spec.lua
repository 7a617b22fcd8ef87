--- The pool of threads: every iteration once, the same bits however the work was dealt, and no hanging or crashing
-- after a fork or at the end.
local mt = require "masktune"
local process = require "support.process"

local compiler = os.getenv("CC") or "cc"
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"

--- Builds folder/name; false where that cannot be done.
local function build(folder, name, flags, sources)
  local output = process.quoted(folder .. "/" .. name)
  local command = ("%s -std=gnu11 -O1 -g -Icsrc -pthread %s -o %s %s"):format(compiler, flags, output, sources)
  return process.run(command)
end

--- Runs a script in an interpreter of its own.
local function run_lua(script, before)
  return process.run(("%s timeout 60 %s -e %s"):format(before or "", process.lua, process.quoted(script)))
end

--- Prints the bits of a few training steps, and of what the net says afterwards.
local training = [[
  local mt = require "masktune"
  mt.set_num_threads(3)
  mt.manual_seed(3)
  local images, labels = mt.rand(50, 20, 20, 3), {}
  for i = 1, 50 do labels[i] = i % 2 + 1 end
  labels = mt.tensor(labels):to("int32")
  local model = mt.models.small_cnn{ classes = 2, input = { 20, 20, 3 } }
  local optimizer = mt.optim.adam(model:parameters(), { lr = 0.01 })
  for _ = 1, 4 do
    optimizer:zero_grad()
    mt.cross_entropy(model(images), labels):backward()
    optimizer:step()
  end
  local sum = ""
  for _, parameter in ipairs(model:parameters()) do
    sum = sum .. ("%a "):format(parameter:sum():item())
  end
  model:eval()
  print(sum .. ("%a"):format(model(images):sum():item()))
]]

describe("the pool of threads #nosan", function()
  local function stress(flags, environment, arguments)
    process.with_folder(function(folder)
      local sources = here .. "threads_stress.c csrc/core/threads.c csrc/core/error.c"
      if not build(folder, "stress", flags, sources) then
        pending("cannot be built here: " .. compiler .. " " .. flags)
        return
      end
      local _, output = process.run(("%s timeout 300 %s/stress %s"):format(environment, process.quoted(folder),
        arguments))
      if output:find("unexpected memory mapping", 1, true) then
        pending "ThreadSanitizer does not run here"
        return
      end
      assert.equal("ok\n", output)
    end)
  end

  it("does every iteration once, whoever takes part, and after a fork", function() stress("-O2", "", "") end)

  it("has no data race, as ThreadSanitizer sees it", function() stress("-fsanitize=thread", "", "nofork") end)
end)

describe("threads", function()
  it("give the same bits on one core as on all", function()
    if not process.has("taskset") then
      pending "taskset is not installed"
      return
    end
    local ok, all = run_lua(training)
    assert.is_true(ok, all)
    local _, one = run_lua(training, "taskset -c 0")
    assert.equal(all, one)
    local _, few = run_lua(training, "MASKTUNE_NUM_THREADS=2")
    assert.equal(all, few)
  end)

  it("are as many as the cores, or as a variable says", function()
    local script = [[io.write(require("masktune").get_num_threads())]]
    local unset = "env -u OMP_NUM_THREADS -u MASKTUNE_NUM_THREADS "
    local _, output = run_lua(script, unset)
    assert.equal(tostring(mt.machine().cores), output)
    for variables, expected in pairs{
      ["OMP_NUM_THREADS=3"] = "3", ["OMP_NUM_THREADS=5,2"] = "5", ["MASKTUNE_NUM_THREADS=7 OMP_NUM_THREADS=3"] = "7",
      ["MASKTUNE_NUM_THREADS= OMP_NUM_THREADS=3"] = "3",
    } do
      _, output = run_lua(script, unset .. variables)
      assert.equal(expected, output, variables)
    end
    _, output = run_lua(script, unset .. "MASKTUNE_NUM_THREADS=many OMP_NUM_THREADS=4")
    assert.equal("masktune: MASKTUNE_NUM_THREADS ignored: it is 'many', expected 1 to 1024\n4", output)
  end)

  it("refuse a number that makes no sense", function()
    for _, n in ipairs{ 0, -1, 1025 } do
      assert.error_matches(function() mt.set_num_threads(n) end, "integer in [1, 1024] expected, got " .. n, 1, true)
    end
  end)

  it("do not keep a process from ending", function()
    local work = [[local mt = require "masktune"; mt.set_num_threads(4)
      print(mt.ones(2000, 2000):exp():sum():item() > 0)]]
    for _, last in ipairs{ "", "os.exit(0)", "os.exit(0, true)", "coroutine.wrap(os.exit)(0, true)" } do
      local ok, output = run_lua(work .. last)
      assert.is_true(ok, last)
      assert.equal("true\n", output, last)
    end
  end)
end)

describe("a forked child #nosan", function()
  local function forked(body)
    process.with_folder(function(folder)
      local flags = "-shared -fPIC $(pkg-config --cflags lua5.4 2>/dev/null || pkg-config --cflags lua-5.4)"
      if not build(folder, "forking.so", flags, here .. "forking.c") then
        pending "a module for Lua cannot be built here"
        return
      end
      local script = ("package.cpath = %q .. package.cpath\n%s"):format(folder .. "/?.so;", body)
      local ok, output = run_lua(script)
      assert.is_true(ok, output)
      assert.equal("0\n", output)
    end)
  end

  it("trains on, to the same bits", function()
    forked([[
      local fork = require "forking"
      local function lines(print) ]] .. training .. [[ end
      local mine
      lines(function(text) mine = text end)
      for _ = 1, 5 do
        local status = fork(function() lines(function(text) assert(text == mine) end) end)
        if status ~= 0 then print(status) return end
        lines(function(text) assert(text == mine) end)
      end
      print(fork(function()
        assert(fork(function() lines(function(text) assert(text == mine) end) end) == 0)
      end))]])
  end)

  it("multiplies by OpenBLAS, and reads files", function()
    forked[[
      local fork = require "forking"
      local mt = require "masktune"
      local a = mt.rand(700, 700)
      local sum = a:matmul(a):sum():item()
      local path = os.tmpname()
      mt.image.write_png(path, mt.ones(40, 40, 3):to("uint8"))
      print(fork(function()
        assert(a:matmul(a):sum():item() == sum)
        assert(mt.image.read_png(path):size(1) == 40)
      end))
      os.remove(path)]]
  end)
end)
