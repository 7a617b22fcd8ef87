local drawings = require "support.drawings"
local miniatures = require "support.miniatures"
local mt = require "masktune"
local process = require "support.process"

local example = ("%s examples/compare.lua"):format(process.quoted(process.lua))
local small = "--synthetic --limit 300 --epochs 2 --batch 32 --threads 1 --methods erm,groupdro,dfr"

local function run(folder, options)
  return process.run(("%s --out %s %s %s"):format(example, process.quoted(folder .. "/out"), small, options or ""))
end

local function results(folder) return mt.json.decode(mt.read_file(folder .. "/out/compare.json")) end

describe("examples/compare.lua", function()
  it("lists its options, and refuses wrong values", function()
    local ok, output = process.run(example .. " --help")
    assert.is_true(ok)
    for _, name in ipairs {
      "data", "methods", "seeds", "choose", "budget", "net", "limit", "out", "resume", "overwrite",
    } do
      assert.truthy(output:find("\n  --" .. name .. " ", 1, true), name)
    end
    for options, message in pairs {
      ["--methods erm,none"] = "--methods: one of afr, ",
      ["--choose best"] = "--choose: last, average, worst_class, worst_group expected, got 'best'",
      ["--data waterbirds --out /dev/null/x"] = "cannot make folder '/dev/null'",
    } do
      ok, output = process.run(example .. " " .. options)
      assert.is_false(ok)
      assert.truthy(output:find(message, 1, true), output)
    end
  end)

  it("compares methods, and goes on where it stopped", function()
    process.with_folder(function(folder)
      local ok, output = run(folder, "--seeds 1,2")
      assert.is_true(ok, output)
      local whole = results(folder)
      assert.is_true(whole.complete)
      for _, name in ipairs { "erm", "groupdro", "dfr" } do
        assert.equal(2, #whole.methods[name])
        local row = whole.methods[name][1]
        local worst = math.huge
        for _, accuracy in pairs(row.groups) do
          worst = math.min(worst, accuracy)
        end
        assert.equal(worst, row.worst)
        assert.is_true(row.worst <= row.weighted and row.tests.original <= 1 and row.choice.worst_group >= 0)
      end
      assert.truthy(output:find("GroupDRO .+ class; group in training"), output)
      assert.truthy(output:find("\nworst_group +0.0 %+%- 0.0 "), output)
      assert.same({ 1000, 1200 }, { drawings.size_of(folder .. "/out/compare.png") })

      -- a method that is missing is made again, the same to the bit; the others are taken as they are
      local weights = folder .. "/out/seed-2/final-groupdro.safetensors"
      local before = mt.read_file(weights)
      mt.remove_file(folder .. "/out/seed-2/result-groupdro.json")
      mt.remove_file(weights)
      ok, output = run(folder, "--seeds 1,2 --resume")
      assert.is_true(ok, output)
      assert.equal(before, mt.read_file(weights))
      for name, rows in pairs(results(folder).methods) do
        for i, row in ipairs(rows) do
          row.seconds, whole.methods[name][i].seconds = nil, nil
        end
        assert.same(whole.methods[name], rows)
      end
      ok, output = run(folder)
      assert.is_false(ok)
      assert.truthy(output:find("is not empty", 1, true), output)
      ok, output = run(folder, "--resume --lr 0.5")
      assert.is_false(ok)
      assert.truthy(output:find("is of another run", 1, true), output)
    end)
  end)

  it("compares on photos with a frozen part, and keeps whole nets", function()
    process.with_folder(function(folder)
      miniatures.waterbirds(folder .. "/data")
      local ok, output = process.run(("%s --data waterbirds --root %s --out %s %s"):format(example,
        process.quoted(folder .. "/data"), process.quoted(folder .. "/out"),
        "--net resnet20 --weights none --size 16 --freeze layer1 --layer layer2 --epochs 1 --batch 20 --threads 1 "
          .. "--methods erm,randmask_area,masktune,randmask_area_matched,masked_head,jtt"))
      assert.is_true(ok, output)
      local rows = results(folder).methods
      local rate = rows.masktune[1].rate
      assert.is_true(rate.finetune_lr > 0)
      assert.same(rate, rows.randmask_area_matched[1].rate)
      assert.truthy(output:find("\nRandMask, same area, MaskTune's rate +[%d*]"), output)
      assert.truthy(output:find("\nRandMask, same area +[%d*]"), output)
      assert.truthy(output:find("16 pixels, frozen up to layer1, heat at layer2", 1, true), output)
      local whole = mt.models.resnet20 { classes = 2 }
      whole:load_state_dict(mt.load(folder .. "/out/seed-1/final-masktune.safetensors"))
      -- what was frozen is the same in all, what was trained is not
      local function weights(method, name)
        return mt.load(("%s/out/seed-1/final-%s.safetensors"):format(folder, method))[name]:bytes()
      end
      assert.equal(weights("erm", "conv1.weight"), weights("jtt", "conv1.weight"))
      assert.not_equal(weights("erm", "linear.weight"), weights("masktune", "linear.weight"))
      assert.not_equal(weights("randmask_area", "linear.weight"), weights("masktune", "linear.weight"))
    end)
  end)

  it("refuses a control at MaskTune's rate without MaskTune before it", function()
    process.with_folder(function(folder)
      local ok, output = run(folder, "--methods erm,continue_matched,masktune")
      assert.is_false(ok)
      assert.truthy(output:find("masktune expected before it", 1, true), output)
    end)
  end)

  it("stops at the end of an epoch when the budget is spent", function()
    process.with_folder(function(folder)
      local ok, output = run(folder, "--budget 0.00001")
      assert.is_true(ok, output)
      assert.truthy(output:find("the budget of 1e-05 minutes is spent", 1, true), output)
      assert.is_false(mt.file_exists(folder .. "/out/compare.json"))
      assert.is_true(mt.file_exists(folder .. "/out/seed-1/erm.safetensors"))
    end)
  end)
end)
