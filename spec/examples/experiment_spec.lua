--- The commands for photos, on miniatures of their data sets in the publishers' layouts.
local miniatures = require "support.miniatures"
local drawings = require "support.drawings"
local mt = require "masktune"
local process = require "support.process"

local small = "--net resnet20 --weights none --size 12 --batch 20 --lr 0.05 --schedule quarters --threads 1"

local function command(name, folder, options)
  return ("cd %s && %s %s/examples/%s.lua %s %s"):format(process.quoted(folder), process.quoted(process.lua),
    process.quoted(os.getenv "PWD"), name, small, options)
end

local function run(name, folder, options)
  local ok, output = process.run(command(name, folder, options))
  assert(ok, output)
  return output
end

--- Calls f with a folder that has the miniature in "data".
local function with(name, f)
  process.with_folder(function(folder)
    miniatures[name](folder .. "/data")
    f(folder)
  end)
end

local function files_in(folder)
  local _, output = process.run(("cd %s && find . -newer start"):format(process.quoted(folder)))
  return output
end

local function titles_of(result)
  local titles = {}
  for i, row in ipairs(result.rows) do titles[i] = row.title end
  return titles
end

local function check_picture(path)
  local height, width = drawings.size_of(path)
  assert.is_true(height > 800 and width > 800)
end

describe("examples/waterbirds.lua", function()
  it("gives the paper's table, results, metrics, figure, and the same bits when it is resumed", function()
    with("waterbirds", function(folder)
      local options = "--data data --epochs 3 --seeds 2,3 --protocol reference,paper --finetune-lr last --out out"
      local output = run("waterbirds", folder, options .. " --export")
      assert.truthy(output:find("\naccuracy in %% +worst group +average +labels used\n"), output)
      local number = " +%d+%.%d %+%- %d+%.%d"
      assert.truthy(output:find("\nMaskTune %(paper, last%)" .. number .. number .. " +class\n"), output)
      local result = mt.json.decode(mt.read_file(folder .. "/out/results.json"))
      assert.same({ "ERM", "one more epoch (last)", "RandMask, same area (last)", "MaskTune (reference, last)",
        "MaskTune (paper, last)" }, titles_of(result))
      assert.truthy(result.command:find("--seeds 2,3 ", 1, true))
      for _, row in ipairs(result.rows) do
        local parts = row.parts
        for seed = 1, 2 do
          local worst = math.min(parts["land bird, land"][seed], parts["land bird, water"][seed],
            parts["water bird, land"][seed], parts["water bird, water"][seed])
          assert.equal(worst, row.accuracy["worst group"][seed])
        end
      end
      -- 24, 6, 6 and 24 training images
      local parts, seen = result.rows[1].parts, result.rows[1].accuracy.average[1]
      local average = (24 * parts["land bird, land"][1] + 6 * parts["land bird, water"][1]
        + 6 * parts["water bird, land"][1] + 24 * parts["water bird, water"][1]) / 60
      assert.is_true(math.abs(average - seen) < 1e-6, ("%g, %g"):format(average, seen))
      check_picture(folder .. "/out/heatmaps.png")
      local rows = select(2, mt.read_file(folder .. "/out/metrics.csv"):gsub("\r\n", ""))
      assert.equal(1 + 2 * (3 + 4), rows)
      assert.equal(60, #mt.list_directory(folder .. "/out/seed-3/masked-masktune-paper-last"))

      local final = "/seed-3/final-masktune-paper-last.safetensors"
      local whole = mt.read_file(folder .. "/out" .. final)
      mt.remove_file(folder .. "/out" .. final)
      for _, name in ipairs(mt.list_directory(folder .. "/out/seed-3")) do
        if name:find("^finetune") or name:find("^masks") then mt.remove_file(folder .. "/out/seed-3/" .. name) end
      end
      run("waterbirds", folder, options .. " --resume")
      assert.equal(whole, mt.read_file(folder .. "/out" .. final))
      local ok, said = process.run(command("waterbirds", folder, options .. " --resume --limit 40"))
      assert.is_false(ok)
      assert.truthy(said:find("limit is none there, 40 in this run", 1, true), said)
    end)
  end)

  it("says what a run would take, and what is wrong, and writes nothing then", function()
    with("waterbirds", function(folder)
      mt.save(folder .. "/weights.safetensors", mt.models.resnet18({ classes = 2 }):state_dict())
      process.run(("touch -d '1 second' %s/start"):format(process.quoted(folder)))
      local output = run("waterbirds", folder, "--data data --epochs 3 --dry-run --micro-batch 10 --augment crop")
      assert.truthy(output:find("train: 60 images (land bird, land: 24; land bird, water: 6;", 1, true), output)
      assert.truthy(output:find("memory: %d+ MB"), output)
      assert.truthy(output:find("from %d measured steps: %d+ s an epoch"), output)
      local missing = "mobilenet_v2 --weights"
      for options, message in pairs {
        ["--data none"] = "--data 'none': 'none' does not exist",
        ["--data data/001.Species"] = "--data 'data/001.Species': no metadata.csv in 'data/001.Species'",
        ["--data data --layer nowhere"] = "module 'nowhere' not found",
        ["--data data --weights published"] = "--net resnet20 has no published weights; --weights none trains it",
        ["--data data --weights none.pth --net " .. missing .. " weights.safetensors"] =
          "mobilenet_v2: 'weights.safetensors' holds the weights of another net: ",
        ["--data data --weights none.pth --net resnet18"] = "cannot open 'none.pth'",
        ["--data data --net efficientnet_lite0 --weights published"] = "To place it by hand: get efficientnet-lite0",
        ["--data data --finetune-lr soon"] = "--finetune-lr: auto, last or number > 0 (several with commas) expected",
        ["--data data --schedule 3"] = "--schedule: constant, quarters, cosine or EVERY:FACTOR",
        ["--data data --method none"] = "--method: one of ",
      } do
        local ok, said = process.run("XDG_CACHE_HOME=/nonexistent HOME=/nonexistent; export XDG_CACHE_HOME HOME; "
          .. command("waterbirds", folder, options))
        assert.is_false(ok)
        assert.truthy(said:find("waterbirds.lua: ", 1, true) and said:find(message, 1, true), said)
      end
      assert.equal("", files_in(folder))
    end)
  end)
end)

describe("examples/celeba.lua", function()
  it("runs with any pair of attributes", function()
    with("celeba", function(folder)
      local output = run("celeba", folder, "--data data --epochs 4 --finetune-lr auto --method erm,masktune --out out")
      assert.truthy(output:find("\nMaskTune %(paper, auto%) +%d+%.%d +%d+%.%d +class\n"), output)
      local controls = "--data data --epochs 4 --out controls "
      output = run("celeba", folder, controls .. "--finetune-lr auto,0.002 --method continue,randmask_area,masktune "
        .. "--protocol reference,paper")
      local result = mt.json.decode(mt.read_file(folder .. "/controls/results.json"))
      local lr = {}
      for _, row in ipairs(result.rows) do
        assert.truthy(output:find("\n" .. row.title .. " ", 1, true), row.title)
        lr[row.title] = row.runs[1].finetune.lr
      end
      assert.same({ "one more epoch (last)", "one more epoch (rate 0.002)", "RandMask, same area (last)",
        "RandMask, same area (rate 0.002)", "MaskTune (reference, auto)", "MaskTune (reference, rate 0.002)",
        "MaskTune (paper, auto)", "MaskTune (paper, rate 0.002)", "one more epoch (MaskTune's rate, reference)",
        "RandMask, same area (MaskTune's rate, reference)", "one more epoch (MaskTune's rate, paper)",
        "RandMask, same area (MaskTune's rate, paper)" }, titles_of(result))
      for _, protocol in ipairs { "reference", "paper" } do
        for _, control in ipairs { "one more epoch", "RandMask, same area" } do
          assert.equal(lr[("MaskTune (%s, auto)"):format(protocol)],
            lr[("%s (MaskTune's rate, %s)"):format(control, protocol)])
        end
      end
      local refused, why = process.run(command("celeba", folder, controls .. "--method continue --control-lr matched"))
      assert.is_false(refused)
      assert.truthy(why:find("--control-lr matched: MaskTune's rates are meant", 1, true), why)
      check_picture(folder .. "/out/heatmaps.png")
      local dry = run("celeba", folder, "--data data --epochs 1 --target Male --shortcut Blond_Hair --dry-run")
      assert.truthy(dry:find("not Male, not Blond_Hair: 24; not Male, Blond_Hair: 6;", 1, true), dry)
      local ok, said = process.run(command("celeba", folder, "--data data --target Hair"))
      assert.is_false(ok)
      assert.truthy(said:find("no column 'Hair'; there are 'Bald', 'Blond_Hair', 'Male'", 1, true), said)
      mt.remove_file(folder .. "/data/list_attr_celeba.txt")
      ok, said = process.run(command("celeba", folder, "--data data"))
      assert.is_false(ok)
      assert.truthy(said:find("celeba.lua: --data 'data': no list_attr_celeba.txt", 1, true), said)
    end)
  end)
end)

describe("examples/background_challenge.lua", function()
  it("tests with exchanged backgrounds", function()
    with("background_challenge", function(folder)
      local output = run("background_challenge", folder,
        "--data data --epochs 2 --finetune-lr last --freeze layer1 --out out")
      assert.truthy(output:find("\naccuracy in %% +original +mixed_same +mixed_rand +only_fg +labels used\n"), output)
      local result = mt.json.decode(mt.read_file(folder .. "/out/results.json"))
      assert.equal(4, #result.rows)
      assert.equal("layer1", result.freeze)
      check_picture(folder .. "/out/heatmaps.png")
      local ok, said = process.run(command("background_challenge", folder, "--data data/mixed_rand"))
      assert.is_false(ok)
      assert.truthy(said:find("no folder 'data/mixed_rand/original/train'", 1, true), said)
    end)
  end)
end)
