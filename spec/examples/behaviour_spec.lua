-- How programs behave that masktune.cli runs: folders are never mixed or emptied unasked, signals end in order.
local mt = require "masktune"
local process = require "support.process"

local q = process.quoted

--- Runs a Lua script with the suite's own paths; its success, output and exit status.
local function run_script(folder, script, before)
  mt.write_file(folder .. "/script.lua", script)
  local _, output = process.run(("%s %s %s; echo status $?"):format(before or "", q(process.lua), q(folder
    .. "/script.lua")))
  return output, tonumber(output:match("status (%d+)\n$"))
end

local function open_out(folder, o, clear)
  local ok, message = pcall(mt.cli.open_out, folder, o or {}, clear or function() end)
  return ok or tostring(message)
end

describe("the folder of a run", function()
  it("is made where it is missing, and refused where something is in it", function()
    process.with_folder(function(folder)
      assert.is_true(open_out(folder .. "/a/b"))
      mt.make_directory(folder .. "/old")
      mt.write_file(folder .. "/old/photo.jpg", "mine")
      local cleared = 0
      local function clear() cleared = cleared + 1 end
      local problem = open_out(folder .. "/old", {}, clear)
      assert.truthy(problem:find("'photo.jpg'", 1, true) and problem:find("--resume", 1, true), problem)
      assert.equal(0, cleared)
      assert.equal("--resume goes on with a run, --overwrite removes it: one of them",
        open_out(folder .. "/old", { resume = true, overwrite = true }, clear))
      mt.write_file(folder .. "/file", "")
      assert.truthy(open_out(folder .. "/file"):find("is no folder", 1, true))
    end)
  end)

  it("is cleared with --overwrite and kept with --resume", function()
    for choice, expected in pairs { overwrite = 1, resume = 0 } do
      process.with_folder(function(folder)
        mt.write_file(folder .. "/x", "")
        local cleared = 0
        assert.is_true(open_out(folder, { [choice] = true }, function() cleared = cleared + 1 end))
        assert.equal(expected, cleared)
      end)
    end
  end)

  it("is locked against a second process while the first one lives", function()
    process.with_folder(function(folder)
      local script = ([[
        local mt = require "masktune"
        print(pcall(mt.cli.open_out, %q, {resume = true}, print))
      ]]):format(folder .. "/out")
      assert.is_true(open_out(folder .. "/out"))
      assert.truthy(run_script(folder, script):find("another process is at work in", 1, true))
      assert.truthy(run_script(folder, (script:gsub("out\"", "other\""))):find("^true"))
    end)
  end)
end)

describe("mt.lock_file", function()
  it("gives a lock once, until it is released", function()
    process.with_folder(function(folder)
      local first = mt.lock_file(folder .. "/lock")
      assert.is_userdata(first)
      assert.is_nil(mt.lock_file(folder .. "/lock"))
      first:release()
      first:release()
      assert.is_userdata(mt.lock_file(folder .. "/lock"))
      assert.has_error(function() mt.lock_file(folder .. "/none/lock") end)
    end)
  end)
end)

describe("a program that is stopped", function()
  --- Trains for a long time, in a shell that sends itself signals.
  local training = [[
    local mt = require "masktune"
    local tiny = require "support.tiny"
    os.exit(mt.cli.run({ name = "long.lua", about = "", options = { mt.cli.options.resume }, main = function()
      mt.train(tiny.model(), { train = tiny.data(64, 1), epochs = 100000, batch = 8, progress = false,
        checkpoint = arg[1] })
    end }, {}), true)
  ]]

  local function stopped(folder, signals)
    mt.write_file(folder .. "/script.lua", training)
    local checkpoint = folder .. "/erm.safetensors"
    local _, output = process.run(("%s %s %s & pid=$!; while [ ! -e %s ]; do sleep 0.05; done; %s wait $pid; "
      .. "echo status $?"):format(q(process.lua), q(folder .. "/script.lua"), q(checkpoint), q(checkpoint), signals))
    return output, tonumber(output:match("status (%d+)\n$")), checkpoint
  end

  for signal, expected in pairs { INT = { 130, "Ctrl-C" }, TERM = { 143, "SIGTERM" } } do
    it(("by SIG%s says how to go on, and its checkpoint is whole"):format(signal), function()
      process.with_folder(function(folder)
        local output, status, checkpoint = stopped(folder, ("kill -%s $pid;"):format(signal))
        assert.equal(expected[1], status, output)
        assert.truthy(output:find(("long.lua: stopped by %s in epoch "):format(expected[2]), 1, true), output)
        assert.truthy(output:find("the same command with --resume goes on from there", 1, true), output)
        assert.falsy(output:find("traceback", 1, true), output)
        assert.is_true(mt.checkpoint.load(checkpoint).epoch >= 1)
      end)
    end)
  end

  it("by a second signal ends at once", function()
    process.with_folder(function(folder)
      local output, status = run_script(folder, [[
        local mt = require "masktune"
        mt.catch_signals()
        os.execute("kill -TERM $PPID")
        print("caught", mt.caught_signal())
        io.stdout:flush()
        os.execute("kill -TERM $PPID")
        print "never"
      ]])
      assert.truthy(output:find("caught\tSIGTERM\t15", 1, true), output)
      assert.falsy(output:find("never", 1, true), output)
      assert.equal(143, status)
    end)
  end)
end)

describe("mt.nearest_name", function()
  it("finds what was meant, and nothing where nothing is near", function()
    local names = { "epochs", "batch", "learning_rate", 3, "seed" }
    for word, expected in pairs {
      epoch = "epochs", ecpohs = "epochs", bacth = "batch", seeds = "seed", BATCH = "batch",
      learning_rat = "learning_rate",
    } do
      assert.equal(expected, mt.nearest_name(word, names))
    end
    for _, word in ipairs { "", "x", "momentum", ("epochs"):rep(20) } do
      assert.is_nil(mt.nearest_name(word, names))
    end
    assert.is_nil(mt.nearest_name("x", { "y" }))
    assert.equal("epochs", mt.nearest_name("epoch", names, "more"))
  end)

  it("is in the messages about options, in Lua and in C", function()
    local function message(f, ...) return select(2, pcall(f, ...)) end
    assert.truthy(message(mt.train, mt.nn.ReLU(), { epoch = 3 }):find("; did you mean 'epochs'?", 1, true))
    assert.truthy(message(mt.randn, { 2 }, { generater = 1 }):find("; did you mean 'generator'?", 1, true))
    assert.truthy(message(mt.explain, mt.nn.ReLU(), mt.zeros { 1, 8, 8, 3 }, { cam = "xgradcams" }):find(
      "; did you mean 'xgradcam'?", 1, true))
  end)
end)
