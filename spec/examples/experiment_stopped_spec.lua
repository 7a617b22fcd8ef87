--- The commands for photos: killed at any moment and started again, they end with the same bits; stopped by a signal
-- they say how to go on; an earlier run is neither removed nor mixed with another unasked.
local miniatures = require "support.miniatures"
local mt = require "masktune"
local process = require "support.process"

local q = process.quoted

--- Runs a program of the examples, and sends the process a signal at the AT-th call of WHAT: an optimiser's step, a
-- part of the heatmaps (where interrupts are looked for), masks packed, a file of tensors saved, another file written.
local harness = [[
  local what, at, signal, script = arg[1], tonumber(arg[2]), arg[3], arg[4]
  local core, interrupt = require "masktune.core", require "masktune.interrupt"
  local count = 0
  local function called(name)
    if name == what then count = count + 1 end
    if name == what and count == at then
      os.execute(("kill -%s %d"):format(signal, io.open("/proc/self/stat"):read("n")))
    end
  end
  local function counted(place, name, event)
    local f = place[name]
    place[name] = function(...)
      called(event)
      return f(...)
    end
  end
  counted(core.data, "pack", "masks")
  counted(core, "save", "save")
  counted(core, "write_file", "write")
  local check, places = interrupt.check, { epoch = "step", ["the heatmaps"] = "heat" }
  interrupt.check = function(place, ...)
    called(places[place] or places[place:match("^%a+")])
    return check(place, ...)
  end
  arg = table.move(arg, 5, #arg, 1, { [0] = script })
  dofile(script)]]

local small = "--net resnet20 --weights none --size 12 --batch 10 --epochs 2 --lr 0.05 --schedule quarters --threads 1 "
  .. "--data data --cache cache --method erm,continue,masktune --finetune-lr auto --seeds 2"

--- Calls f with a folder that has the miniature in "data", and a function that runs the program there: options, and
-- which call of what ends it by which signal; its success and output.
local function with(name, f)
  process.with_folder(function(folder)
    miniatures[name](folder .. "/data")
    mt.write_file(folder .. "/harness.lua", harness)
    f(folder, function(options, what, at, signal)
      return process.run(("cd %s && %s harness.lua %s %d %s %s/examples/%s.lua %s %s"):format(q(folder),
        q(process.lua), what or "none", at or 0, signal or "KILL", q(os.getenv "PWD"), name, small, options))
    end)
  end)
end

--- What a tree of JSON holds, but for the seconds and where it was written.
local function lasting(tree)
  local rest = {}
  for key, value in pairs(tree) do
    if key ~= "seconds" and key ~= "command" then
      rest[key] = type(value) == "table" and lasting(value) or value
    end
  end
  return rest
end

local function results_in(folder) return mt.json.decode(mt.read_file(folder .. "/results.json")) end

--- All that a run has written and that is to be the same: weights and pictures as they are, results without seconds.
local function outcome(folder)
  local found = { results = lasting(results_in(folder)), figure = mt.md5(mt.read_file(folder .. "/heatmaps.png")) }
  for _, name in ipairs(mt.list_directory(folder .. "/seed-2")) do
    if name:find("^final") then found[name] = mt.md5(mt.read_file(folder .. "/seed-2/" .. name)) end
  end
  found.metrics = mt.read_file(folder .. "/metrics.csv"):gsub("[^,\r\n]*\r\n", "\r\n") -- the last column: seconds
  return found
end

--- Removes the decoded images, so that the next run has to make them.
local function forget(folder) assert(process.run("rm -rf " .. q(folder .. "/cache"))) end

--- Whether a run that writes to `place` has left a file of this name there, or in the cache.
local function is_there(folder, place, pattern)
  return (process.run(("cd %s && find %s cache | grep -q -- %s"):format(q(folder), q(place), q(pattern))))
end

describe("an experiment that is killed #nosan", function()
  local function check(name, more, kills)
    with(name, function(folder, run)
      local ok, output = run("--out whole " .. more)
      assert.is_true(ok, output)
      local whole = outcome(folder .. "/whole")
      assert.equal("erm", whole.results.rows[1].key)
      assert.is_string(whole["final-erm.safetensors"])
      for _, kill in ipairs(kills) do
        local place = kill[1] .. kill[2]
        local options = ("--out %s %s"):format(place, more)
        forget(folder)
        ok, output = run(options, kill[1], kill[2])
        assert.is_false(ok, place)
        assert.falsy(output:find("goes on from there", 1, true))
        if kill.left then assert.is_true(is_there(folder, place, kill.left), place .. ": " .. kill.left) end
        ok, output = run(options .. " --resume")
        assert.is_true(ok, output)
        assert.same(whole, outcome(folder .. "/" .. place), place)
        assert.is_false(is_there(folder, place, "partial$"), place)
      end
    end)
  end

  it("ends with the same bits, wherever it was", function()
    check("waterbirds", "", {
      { "step", 2, left = "cache/images-.*partial$" }, -- decoding, the cache half made
      { "step", 9, left = "erm.safetensors$" }, -- ERM, second epoch of six steps
      { "save", 2 }, -- the end of ERM
      { "step", 15, left = "erm.safetensors$" }, -- one more plain epoch
      { "heat", 1, left = "final-continue-last.safetensors$" }, -- heatmaps of the training images
      { "masks", 1, left = "heat-1-.*safetensors$" },
      { "step", 34, left = "masks-1-train-.*safetensors$" }, -- fine-tuning, the third rate
      { "write", 8, left = "final-continue-matched-paper.safetensors$" }, -- everything but the results
    })
  end)

  it("ends with the same bits where a frozen part of the net has seen the images", function()
    check("celeba", "--freeze layer1", { { "step", 9 }, { "masks", 1 }, { "step", 20 } })
  end)
end)

describe("an experiment", function()
  it("that is stopped by a signal says how to go on, and goes on", function()
    with("background_challenge", function(folder, run)
      for place, expected in pairs {
        ["step 8"] = "stopped by SIGTERM in epoch 2, step 2 of ", ["heat 1"] = "stopped by SIGTERM in the heatmaps",
      } do
        local what, at = place:match "(%a+) (%d+)"
        local options = "--out out-" .. what
        local ok, output = run(options, what, at, "TERM")
        assert.is_false(ok)
        assert.truthy(output:find("background_challenge.lua: " .. expected, 1, true), output)
        assert.truthy(output:find("the same command with --resume goes on from there", 1, true), output)
        ok, output = run(options .. " --resume")
        assert.is_true(ok, output)
        assert.equal(4, #results_in(folder .. "/out-" .. what).rows)
      end
    end)
  end)

  it("removes what an earlier run left, and takes its place, only where it is told to", function()
    with("waterbirds", function(folder, run)
      local function listed()
        local _, names = process.run(("cd %s && find out -type f | sort | xargs md5sum"):format(q(folder)))
        return names
      end
      local ok, output = run "--out out --seeds 1,2 --export --method erm,masktune"
      assert.is_true(ok, output)
      local before = listed()
      assert.truthy(before:find("seed-1/masked-masktune-paper-auto/", 1, true), before)
      ok, output = run "--out out --method erm"
      assert.is_false(ok)
      assert.truthy(output:find("--out: 'out' is not empty", 1, true), output)
      assert.equal(before, listed())
      mt.write_file(folder .. "/out/seed-1/notes.txt", "mine")
      local held = mt.lock_file(folder .. "/out/.masktune.lock")
      ok, output = run "--out out --method erm --overwrite"
      assert.is_false(ok)
      assert.truthy(output:find("--out: another process is at work in 'out'", 1, true), output)
      held:release()
      ok, output = run "--out out --method erm --overwrite"
      assert.is_true(ok, output)
      local _, names = process.run(("cd %s/out && find . -type f | sort"):format(q(folder)))
      assert.equal("./.masktune.lock\n./metrics.csv\n./results.json\n./seed-1/notes.txt\n./seed-2/erm.safetensors\n"
        .. "./seed-2/final-erm.safetensors\n", names)
    end)
  end)
end)
