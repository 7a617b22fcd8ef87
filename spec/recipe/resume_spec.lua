local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

local train_set, val_set = tiny.data(48, 1), tiny.data(24, 2)

--- Counts optimiser steps and CAM calls while f runs, and raises "killed" at the given ones.
local function killing_at(kill, f)
  local steps, explained, xgradcam = 0, 0, mt.cam.xgradcam.native
  mt.cam.xgradcam.native = function(...)
    explained = explained + 1
    if explained == kill.explain then error("killed", 0) end
    return xgradcam(...)
  end
  local function optimizer(parameters, lr)
    local inner = mt.optim.sgd(parameters, { lr = lr, momentum = 0.9 })
    return setmetatable({
      step = function()
        steps = steps + 1
        if steps == kill.step then error("killed", 0) end
        inner:step()
      end,
    }, { __index = function(_, name) return function(_, ...) return inner[name](inner, ...) end end })
  end
  local ok, result = pcall(f, optimizer)
  mt.cam.xgradcam.native = xgradcam
  return ok, result, steps, explained
end

local function run(folder, resume, kill, more)
  return killing_at(kill or {}, function(optimizer)
    local model = tiny.model(1)
    local o = {
      train = train_set, val = val_set, epochs = 3, batch = 8, lr = 0.05, seed = 3, progress = false,
      optimizer = optimizer, finetune_lr = "auto", auto = { factors = { 1, 4 } }, iterations = 2, k = 1,
      accumulate = true, protocol = "reference", checkpoint = folder, resume = resume,
    }
    for name, value in pairs(more or {}) do
      o[name] = value
    end
    local result = mt.masktune(model, o)
    return { bytes = tiny.bytes(model:state_dict()), result = result }
  end)
end

describe("a recipe that is killed and resumed", function()
  it("ends with the same bits, wherever it was killed", function()
    process.with_folder(function(folder)
      local ok, whole, steps, explained = run(folder .. "/whole", false)
      assert.is_true(ok, whole)
      assert.equal(3 * 6 + 4 * 6, steps)
      assert.equal(4, explained)
      local cases = {}
      for _, step in ipairs { 1, 7, 18, 19, 25, 31, 37, 42 } do
        cases[#cases + 1] = { { step = step } }
      end
      for call = 1, 4 do
        cases[#cases + 1] = { { explain = call } }
      end
      cases[#cases + 1] = { { step = 10 }, { step = 9 }, { explain = 2 }, { step = 8 }, { explain = 1 } }
      for number, kills in ipairs(cases) do
        local stopped = ("%s/stopped-%d"):format(folder, number)
        for i, kill in ipairs(kills) do
          local finished, problem = run(stopped, i > 1, kill)
          assert.is_false(finished)
          assert.equal("killed", problem)
        end
        local finished, result = run(stopped, true)
        assert.is_true(finished, result)
        assert.equal(whole.bytes, result.bytes)
        assert.same(whole.result.finetune.lr, result.result.finetune.lr)
        for i, row in ipairs(whole.result.finetune.candidates) do
          assert.equal(row.val_accuracy, result.result.finetune.candidates[i].val_accuracy)
        end
      end
    end)
  end)

  it("repeats only what was not finished", function()
    process.with_folder(function(folder)
      run(folder, false, { step = 18 + 6 + 3 }) -- in the second candidate of the first iteration
      local _, _, steps, explained = run(folder, true)
      assert.equal(3 * 6, steps)
      assert.equal(2, explained)
      local _, result
      _, result, steps, explained = run(folder, true)
      assert.equal(0, steps)
      assert.equal(0, explained)
      assert.is_true(result.result.seconds.mask > 0 and result.result.seconds.finetune > 0)
    end)
  end)

  it("starts anew, whatever lies in the folder, unless it is told to resume", function()
    process.with_folder(function(folder)
      local _, first = run(folder, false)
      local ok, second = run(folder, false, nil, { k = 2 })
      assert.is_true(ok, second)
      assert.not_equal(first.bytes, second.bytes)
      run(folder, false, { step = 2 }, { epochs = 2 })
      local _, again, steps = run(folder, true, nil, { epochs = 2 })
      assert.equal(2 * 6 + 4 * 6, steps)
      assert.equal(2, #again.result.history)
    end)
  end)

  it("leaves other files in the folder alone", function()
    process.with_folder(function(folder)
      mt.write_file(folder .. "/erm.safetensors.mine", "x")
      mt.write_file(folder .. "/notes", "x")
      run(folder, false)
      local names = mt.list_directory(folder)
      for i, name in ipairs(names) do
        names[i] = name:gsub("%-%x%x%x%x%x%x%x%x%.", "-DIGEST.")
      end
      assert.same({
        "erm.safetensors", "erm.safetensors.mine", "finetune-1-DIGEST.safetensors", "finetune-2-DIGEST.safetensors",
        "heat-1-DIGEST.safetensors", "heat-2-DIGEST.safetensors", "masks-1-train-DIGEST.safetensors",
        "masks-1-val-DIGEST.safetensors", "masks-2-train-DIGEST.safetensors", "masks-2-val-DIGEST.safetensors",
        "notes",
      }, names)
      mt.masktune.clear(folder)
      assert.same({ "erm.safetensors.mine", "notes" }, mt.list_directory(folder))
    end)
  end)

  it("refuses an ERM of other settings by the name of the setting", function()
    process.with_folder(function(folder)
      run(folder, false)
      local function message(more)
        local ok, text = run(folder, true, nil, more)
        assert.is_false(ok)
        return text
      end
      assert.truthy(message({ epochs = 4 }):find("epochs is 3 there, 4 in this run", 1, true))
      assert.truthy(message({ seed = 4 }):find("seed is 3 there, 4 in this run", 1, true))
      assert.truthy(message({ train = tiny.data(48, 9) }):find("training_set is", 1, true))
      assert.truthy(message({ settings = { bias = "none" } }):find("bias is none there", 1, true))
    end)
  end)

  it("keeps the ERM and the heatmaps for other masks, rates and methods, each as if it had run alone", function()
    process.with_folder(function(folder)
      run(folder .. "/shared", false)
      for _, case in ipairs {
        { options = { protocol = "paper" }, steps = 24, explained = 2 }, -- the second iteration explains anew
        { options = { k = 2 }, steps = 24, explained = 2 },
        { options = { auto = { factors = { 2, 8 } } }, steps = 24, explained = 2 },
        { options = { iterations = 1, method = "randmask" }, steps = 12, explained = 0 },
        { options = { iterations = 1, mask_from = "last" }, steps = 12 },
      } do
        local ok, shared, steps, explained = run(folder .. "/shared", true, nil, case.options)
        assert.is_true(ok, shared)
        assert.equal(case.steps, steps)
        if case.explained then assert.equal(case.explained, explained) end
        local _, alone = run(folder .. "/alone", false, nil, case.options)
        assert.equal(alone.bytes, shared.bytes)
      end
    end)
  end)
end)
