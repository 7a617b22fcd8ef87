--- A run on photos, killed with SIGKILL wherever it hurts and started again, ends with the bits of one that was not.
local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

local COUNT = 1200 -- more than are explained at once

--- One run: argument KILL says at which call of what it ends, RESUME whether it goes on.
local script = [[
  local root, folder, resume, what, at = table.unpack(arg)
  local core, mt, tiny = require "masktune.core", require "masktune", require "support.tiny"
  mt.set_num_threads(2)
  local calls = { batch = 0, explain = 0, pack = 0 }
  local function counted(name, f)
    return function(...)
      calls[name] = calls[name] + 1
      if name == what and calls[name] == tonumber(at) then
        os.execute("kill -9 " .. io.open("/proc/self/stat"):read("n"))
      end
      return f(...)
    end
  end
  mt.cam.xgradcam.native = counted("explain", mt.cam.xgradcam.native)
  core.data.pack = counted("pack", core.data.pack)
  local images = mt.data.image_folder { root = root, size = 16, memory_limit = 0, cache = folder .. "/cache" }
  local train, val = mt.data.split(images, { count = 100, seed = 1 })
  train.preprocess = mt.data.preprocess { { "normalize", mean = { 0.5, 0.5, 0.5 }, std = { 0.3, 0.3, 0.3 } } }
  val.preprocess = train.preprocess
  local model = tiny.model(1)
  mt.masktune(model, {
    train = train, val = val, epochs = 2, batch = 64, lr = 0.05, seed = 3, k = 1, iterations = 2, accumulate = true,
    checkpoint = folder .. "/stages", resume = resume == "resume", progress = false,
    augment = mt.data.augment { { "horizontal_flip" }, { "affine", shift = 0.1 } },
    objective = counted("batch", mt.losses.cross_entropy {}),
  })
  print("explained " .. calls.explain, mt.md5(tiny.bytes(model:state_dict())))]]

describe("a run on photos that is killed #nosan", function()
  it("ends with the same bits", function()
    process.with_folder(function(folder)
      local root, program = folder .. "/photos", folder .. "/run.lua"
      local set = tiny.data(COUNT, 1)
      mt.write_file(program, script)
      for n, label in ipairs(set.labels:totable()) do
        mt.make_directory(("%s/%d"):format(root, label))
        mt.image.write_png(("%s/%d/%04d.png"):format(root, label, n), set.images[n])
      end
      local function run(place, ...)
        mt.make_directory(folder .. "/" .. place)
        return process.run(("%s %s %s %s %s"):format(process.lua, process.quoted(program), process.quoted(root),
          process.quoted(folder .. "/" .. place), table.concat({ ... }, " ")))
      end
      local ok, whole = run("whole", "anew")
      assert.is_true(ok, whole)
      local bits = whole:match "\t(%x+)\n"
      local function named(place, pattern)
        local found = process.run(("ls %s/%s/* | grep -q -- %s"):format(folder, place, process.quoted(pattern)))
        return found
      end
      for _, kill in ipairs {
        { "batch", 5, left = "images-.*partial$" }, -- decoding, the cache half made
        { "batch", 25, left = "erm.safetensors$" }, -- ERM
        { "explain", 2, left = "heat-1-train-.*partial$", again = 5 }, -- heatmaps, half of them there
        { "explain", 3, left = "heat-1-train-.*safetensors$", again = 4 },
        { "pack", 2, left = "masks-1-train-.*partial$", again = 3 }, -- masks
        { "batch", 40, left = "masks-1-train-.*safetensors$", again = 3 }, -- fine-tuning
        { "pack", 5, left = "masks-2-train-.*partial$", again = 0 },
      } do
        local place = kill[1] .. kill[2]
        local finished, output = run(place, "anew", table.unpack(kill))
        assert.is_false(finished, output)
        assert.is_true(named(place, kill.left), place .. ": " .. kill.left)
        finished, output = run(place, "resume")
        assert.is_true(finished, output)
        assert.equal(bits, output:match "\t(%x+)\n", place)
        if kill.again then assert.equal(kill.again, tonumber(output:match "explained (%d+)"), place) end
        assert.is_false(named(place, "partial$"), place)
      end
    end)
  end)
end)
