local drawings = require "support.drawings"
local mt = require "masktune"
local process = require "support.process"

local example = ("%s examples/biased_mnist.lua"):format(process.quoted(process.lua))
local small = "--synthetic --limit 300 --epochs 3 --batch 32 --threads 1"

local METHODS = {
  "erm", "continue", "randmask", "randmask_area", "masktune", "continue_matched", "randmask_area_matched",
}

local function command(folder, options, out)
  return ("%s --out %s %s %s"):format(example, process.quoted(folder .. "/" .. (out or "out")), small, options or "")
end

local function run(folder, options, out)
  local ok, output = process.run(command(folder, options, out))
  assert(ok, output)
  return output
end

local function result_of(folder, out) return mt.json.decode(mt.read_file(folder .. "/" .. out .. "/results.json")) end

--- The bytes of all final weights of a run.
local function final_weights(folder, out)
  local parts = {}
  for i, method in ipairs(METHODS) do
    parts[i] = mt.read_file(("%s/%s/seed-1/final-%s.safetensors"):format(folder, out, method))
  end
  return table.concat(parts)
end

describe("examples/biased_mnist.lua", function()
  it("lists its options, and refuses unknown ones and wrong values", function()
    local ok, output = process.run(example .. " --help")
    assert.is_true(ok)
    for _, name in ipairs {
      "data", "epochs", "seeds", "batch", "methods", "cam", "empty", "protocol", "threshold", "finetune-lr", "squares",
      "bias", "iterations",
      "threads", "limit", "out", "resume", "help",
    } do
      assert.truthy(output:find("\n  --" .. name .. " ", 1, true), name)
    end
    for options, message in pairs {
      ["--epoch 3"] = "unknown option '--epoch'",
      ["--epochs 0"] = "--epochs: integer >= 1 expected, got '0'",
      ["--protocol mine"] = "--protocol: reference, paper expected, got 'mine'",
      ["--threshold -1"] = "--threshold: number of standard deviations >= 0, mean, soft or top:COUNT expected",
      ["--finetune-lr slow"] = "--finetune-lr: auto, last or number > 0 expected, got 'slow'",
      ["--cam peekcam"] = "--cam: one of ablationcam, eigencam,",
      ["--methods erm,none"] = "--methods: one of afr, balanced_softmax,",
      ["--methods erm,continue_matched,masktune"] = "--methods: continue_matched takes MaskTune's rate: masktune ",
      ["--squares 3"] = "--squares: integer from 1 to 2 expected, got '3'",
      ["--seeds 1,x"] = "--seeds: different integers >= 0",
    } do
      ok, output = process.run(example .. " " .. options)
      assert.is_false(ok)
      assert.truthy(output:find("biased_mnist.lua: " .. message, 1, true), output)
    end
  end)

  it("writes results, metrics, figure and checkpoints, and says that drawn digits are not MNIST", function()
    process.with_folder(function(folder)
      local output = run(folder, "--seeds 1,2 --protocol paper --finetune-lr last", "out")
      assert.truthy(output:find("SYNTHETIC", 1, true))
      assert.truthy(output:find("\nMaskTune +%d+%.%d %+%- %d+%.%d +%d+%.%d %+%- %d+%.%d +class\n"), output)

      local result = result_of(folder, "out")
      assert.equal("paper", result.protocol)
      assert.equal(3, result.epochs)
      assert.same({ 1, 2 }, { table.unpack(result.seeds) })
      assert.equal("synthetic digits", result.data)
      for _, method in ipairs(METHODS) do
        assert.is_number(result.seconds[method])
        for _, test in ipairs { "original", "biased" } do
          local list = result.methods[method][test]
          assert.equal(2, #list)
          for _, value in ipairs(list) do
            assert.is_true(value >= 0 and value <= 100)
          end
        end
      end
      assert.equal(2, #result.square_coverage)

      local lines = {}
      for line in mt.read_file(folder .. "/out/metrics.csv"):gmatch("[^\r\n]+") do
        lines[#lines + 1] = line
      end
      assert.equal(table.concat(mt.report.epoch_columns, ","), lines[1])
      assert.equal(1 + 2 * (3 + 6), #lines)
      assert.truthy(lines[2]:find("^1,erm,,1,0.01,,"))
      assert.truthy(lines[5]:find("^1,continue,1,1,0.0025,"))
      assert.truthy(lines[6]:find("^1,randmask,1,1,0.0025,2,"))
      assert.truthy(lines[17]:find("^2,masktune,1,1,0.0025,2,"))

      local height, width = drawings.size_of(folder .. "/out/figure.png")
      assert.is_true(height > 500 and width > 800)
      local weights = mt.load(folder .. "/out/seed-2/final-masktune.safetensors")
      local model = mt.models.small_cnn { classes = 2 }
      assert.has_no.errors(function() model:load_state_dict(weights) end)
    end)
  end)

  it("runs with the other biases, rules and numbers of squares and iterations", function()
    process.with_folder(function(folder)
      run(folder, "--epochs 1 --squares 2 --iterations 2 --accumulate --threshold top:30 --finetune-lr 0.01", "a")
      assert.equal(2, result_of(folder, "a").chosen.masktune[1].iterations)
      run(folder, "--epochs 1 --bias background --threshold soft --finetune-lr last --randmask-lr 0.02", "b")
      assert.equal(0, #result_of(folder, "b").square_coverage)
      assert.equal(0.02, result_of(folder, "b").chosen.randmask[1].lr)
      for _, control in ipairs { "continue_matched", "randmask_area_matched" } do
        assert.equal(0.01, result_of(folder, "a").chosen[control][1].lr)
      end
    end)
  end)

  it("refuses a --data without MNIST's files, and makes nothing", function()
    process.with_folder(function(folder)
      local ok, output = process.run(("%s --data %s --out %s"):format(example, folder .. "/nope", folder .. "/out"))
      assert.is_false(ok)
      assert.truthy(output:find("--data: MNIST's four files are not in '" .. folder .. "/nope'", 1, true), output)
      assert.is_false(mt.file_exists(folder .. "/nope") or mt.file_exists(folder .. "/out"))
    end)
  end)

  it("refuses to resume a run with other settings", function()
    process.with_folder(function(folder)
      run(folder, "--epochs 1 --finetune-lr last", "out")
      local ok, output = process.run(command(folder, "--epochs 2 --finetune-lr last --resume", "out"))
      assert.is_false(ok)
      assert.truthy(output:find("epochs is 1 there, 2 in this run", 1, true), output)
      ok, output = process.run(command(folder, "--epochs 1 --finetune-lr last --limit 200 --resume", "out"))
      assert.is_false(ok)
      assert.truthy(output:find("limit is 300 there, 200 in this run", 1, true), output)
    end)
  end)

  it("ends with the same bits after kill -9 at random moments and --resume", function()
    process.with_folder(function(folder)
      local started = mt.clock()
      run(folder, "", "whole")
      local seconds, expected = mt.clock() - started, final_weights(folder, "whole")
      math.randomseed(os.time())
      local moments = { 0.3, 0.55, 0.75, 0.9 }
      for number, moment in ipairs(moments) do
        local out, after = "killed-" .. number, seconds * (moment + 0.1 * (math.random() - 0.5))
        local killed = process.run(("timeout -s KILL %.3f %s"):format(after, command(folder, "", out)))
        assert.is_false(killed and number == 1)
        run(folder, "--resume", out)
        assert.equal(expected, final_weights(folder, out), ("killed after %.3f of %.3f s"):format(after, seconds))
      end
    end)
  end)
end)
