local drawings = require "support.drawings"
local mt = require "masktune"
local matfile = require "support.matfile"
local process = require "support.process"

local example = ("%s examples/selective.lua"):format(process.quoted(process.lua))
local small = "--net small_cnn --epochs 2 --batch 16 --threads 1"

--- Digits as a folder of PNG files, one folder for each of three classes.
local function write_images(folder, count, seed)
  local set = mt.data.synthetic_digits { count = 5 * count, seed = seed }
  local written = 0
  for n, digit in ipairs(set.digits:totable()) do
    if digit < 3 and written < count then
      mt.make_directory(("%s/digit %d"):format(folder, digit))
      mt.image.write_png(("%s/digit %d/%d.png"):format(folder, digit, n), set.images[n])
      written = written + 1
    end
  end
end

--- Digits as {count,32,32,3}.
local function digits32(count, seed)
  local set = mt.data.synthetic_digits { count = count, seed = seed }
  local gray = mt.image.resize(set.images, { size = 32 })
  return mt.cat({ gray, gray, gray }, 4), set.digits:totable()
end

--- Digits in SVHN's form: X is {32,32,3,N}, columns first; y is 10 for the digit 0.
local function write_svhn(path, count, seed)
  local images, digits = digits32(count, seed)
  local labels = {}
  for n, digit in ipairs(digits) do
    labels[n] = string.char(digit == 0 and 10 or digit)
  end
  local pixels = images:permute(1, 4, 3, 2):bytes()
  mt.write_file(path, matfile.file(matfile.array { name = "X", sizes = { 32, 32, 3, count }, values = pixels },
    matfile.array { name = "y", sizes = { count, 1 }, values = table.concat(labels) }))
end

--- Digits as CIFAR-10's records.
local function cifar_records(count, seed)
  local images, digits = digits32(count, seed)
  local planes, records = images:permute(1, 4, 2, 3):bytes(), {}
  for n, digit in ipairs(digits) do
    records[n] = string.char(digit) .. planes:sub(3072 * (n - 1) + 1, 3072 * n)
  end
  return table.concat(records)
end

local function with_images(f)
  process.with_folder(function(folder)
    write_images(folder .. "/images/train", 100, 1)
    write_images(folder .. "/images/test", 50, 2)
    f(folder, folder .. "/images")
  end)
end

local function command(folder, data, options, out)
  return ("%s --data %s --out %s %s %s"):format(example, process.quoted(data), process.quoted(folder .. "/" ..
    (out or "out")), small, options or "")
end

local function run(...)
  local ok, output = process.run(command(...))
  assert(ok, output)
  return output
end

local function refused(...)
  local ok, output = process.run(command(...))
  assert.is_false(ok)
  return output
end

local function result_of(folder, out) return mt.json.decode(mt.read_file(folder .. "/" .. out .. "/results.json")) end

--- The bytes of all models of a run.
local function weights(folder, out)
  local parts = {}
  for i, part in ipairs { "erm", "continue", "randmask_area", "masktune" } do
    parts[i] = mt.read_file(("%s/%s/seed-1/final-%s.safetensors"):format(folder, out, part))
  end
  return table.concat(parts)
end

--- What a run found, without what the clock says.
local function findings(folder, out)
  local result = result_of(folder, out)
  result.seconds = nil
  return mt.json.encode(result)
end

describe("examples/selective.lua", function()
  it("lists its options, and refuses unknown ones and wrong values", function()
    local ok, output = process.run(example .. " --help")
    assert.is_true(ok)
    for _, name in ipairs {
      "dataset", "data", "size", "net", "init", "epochs", "exact-schedule", "batch", "lr", "augment", "protocol",
      "finetune-lr", "coverage", "methods", "selectivenet-coverage", "members", "seeds", "limit",
      "threads", "out", "resume", "help",
    } do
      assert.truthy(output:find("\n  --" .. name .. " ", 1, true), name)
    end
    for options, message in pairs {
      ["--epoch 3"] = "unknown option '--epoch'",
      ["--dataset mnist"] = "--dataset: cifar10, svhn, catsdogs, folder expected, got 'mnist'",
      ["--net resnet31"] = "--net: resnet20, resnet32,",
      ["--coverage 90,101"] = "--coverage: different percentages above 0 up to 100",
      ["--coverage 90,90"] = "--coverage: different percentages above 0 up to 100",
      ["--methods sr,erm"] = "--methods: ",
      ["--methods ,"] = "--methods: names with commas between them",
      ["--selectivenet-coverage 90"] = "--selectivenet-coverage: a number above 0 up to 1",
      ["--augment yes"] = "--augment: on or off expected, got 'yes'",
      ["--dataset folder"] = "--data: the folder of the images expected with --dataset folder",
      ["--dataset catsdogs"] = "--data: the folder of cat.N.jpg and dog.N.jpg expected",
      ["--dataset cifar10 --size 64"] = "--size: images of cifar10 have a size of their own",
    } do
      ok, output = process.run(example .. " " .. options)
      assert.is_false(ok)
      assert.truthy(output:find("selective.lua: " .. message, 1, true), output)
    end
  end)

  it("writes the table, results, metrics, both pictures and checkpoints", function()
    with_images(function(folder, data)
      local output = run(folder, data, "--seeds 1,2 --coverage 50,90,100")
      local number = "%d+%.%d%d %+%- %d+%.%d%d"
      assert.truthy(output:find("\nmethod %(labels used: class%) +wanted +coverage +error\n"), output)
      for _, title in ipairs { "SR", "ERM x one more epoch", "ERM x RandMask, same area", "MaskTune" } do
        assert.truthy(output:find("\n" .. title .. " +90%% +" .. number .. " +" .. number .. "\n"), output)
      end

      local result = result_of(folder, "out")
      assert.equal("images in images", result.data)
      assert.equal(3, result.classes)
      assert.same({ 1, 2 }, { table.unpack(result.validation_split.seeds) })
      assert.equal(20, result.validation_split.count)
      assert.is_nil(result.test_split)
      for _, method in ipairs { "sr", "continue", "randmask_area", "masktune", "masktune_softmax" } do
        local found = result.methods[method]
        assert.equal(2, #found.aurc)
        assert.same({ 100, 100 }, { table.unpack(found.coverage["100"]) })
        assert.same({ 50, 50 }, { table.unpack(found.validation_coverage["50"]) }) -- to one of 20 samples
        assert.same({ 90, 90 }, { table.unpack(found.validation_coverage["90"]) })
      end

      local lines = {}
      for line in mt.read_file(folder .. "/out/metrics.csv"):gmatch("[^\r\n]+") do
        lines[#lines + 1] = line
      end
      assert.equal(1 + 2 * (2 + 3), #lines)
      assert.truthy(lines[2]:find("^1,erm,,1,0.1,,"))
      assert.truthy(lines[3]:find("^1,erm,,2,0.05,,"))
      assert.truthy(lines[11]:find("^2,masktune,1,1,0.05,2,"))

      assert.same({ 840, 1200 }, { drawings.size_of(folder .. "/out/risk_coverage.png") })
      local height, width = drawings.size_of(folder .. "/out/kept_and_rejected.png")
      assert.is_true(height > 600 and width > 1000)

      local _, settings = mt.checkpoint.load(folder .. "/out/seed-2/erm.safetensors")
      assert.equal(2, settings.validation_split_seed)
    end)
  end)

  it("puts classifiers that are trained to abstain beside, on top of a run without them", function()
    with_images(function(folder, data)
      local output = run(folder, data, "--coverage 50,100 --methods masktune")
      assert.falsy(output:find("one more epoch", 1, true))
      local before = result_of(folder, "out")
      output = run(folder, data, "--coverage 50,100 --resume --members 2 --selectivenet-coverage 0.7 --methods "
        .. "masktune,selectivenet,deep_gamblers,sat,one_sided,mc_dropout,ensemble")
      local after = result_of(folder, "out")
      for _, name in ipairs { "sr", "masktune" } do
        assert.same(before.methods[name], after.methods[name])
      end
      for _, title in ipairs {
        "SR", "MaskTune", "SelectiveNet", "SelectiveNet, SR", "Deep Gamblers", "Deep Gamblers, SR", "SAT", "SAT, SR",
        "One-sided prediction", "One-sided prediction, SR", "MC dropout", "Deep ensemble",
      } do
        assert.truthy(output:find("\n" .. title:gsub("%p", "%%%0") .. (" +%d+%.%d+"):rep(4) .. "\n"), output)
      end
      assert.falsy(output:find("MC dropout, SR", 1, true)) -- SR's own row
      assert.falsy(output:find("Deep ensemble, SR", 1, true))
      assert.truthy(output:find("error at 100%% +error at 50%% +AURC +E%-AURC\n"), output)
      assert.truthy(output:find("\nSelectiveNet is trained for coverage 0.7\n", 1, true), output)
      -- SR on the logits answers as the method does: only the order differs
      local own, logits = after.methods.sat, after.methods.sat_on_logits
      assert.same(own.error["100"], logits.error["100"])
      assert.near(own.aurc[1] - own.e_aurc[1], logits.aurc[1] - logits.e_aurc[1], 1e-12)

      run(folder, data, "--coverage 100 --methods sr", "sr")
      assert.is_nil(result_of(folder, "sr").masked_share)
      assert.truthy(refused(folder, data, "--methods sr --export " .. folder .. "/png", "none"):find(
        "--export: the masks are MaskTune's", 1, true))
    end)
  end)

  it("validates with the folder's own val, and refuses a --data that is not there and an --out in use", function()
    with_images(function(folder, data)
      write_images(folder .. "/images/val", 12, 5)
      run(folder, data, "--epochs 1")
      assert.equal(12, result_of(folder, "out").validation_split.count)
      assert.truthy(refused(folder, data, "--epochs 1"):find("--out: '", 1, true))
      run(folder, data, "--epochs 1 --overwrite")
      for _, set in ipairs { "folder", "cifar10" } do
        refused(folder, folder .. "/nope", "--dataset " .. set, "none")
        assert.is_false(mt.file_exists(folder .. "/nope"))
      end
    end)
  end)

  it("splits a folder without train and test with a seed, says so and writes it down", function()
    process.with_folder(function(folder)
      write_images(folder .. "/images", 60, 3)
      local output = run(folder, folder .. "/images", "--epochs 1")
      assert.truthy(output:find("12 of its 60 images, drawn with seed 0, are the test split", 1, true), output)
      local result = result_of(folder, "out")
      assert.same({ share = 0.2, seed = 0 }, result.test_split)
      assert.equal(12, result.test_count)
    end)
  end)

  it("reads Cats vs Dogs", function()
    process.with_folder(function(folder)
      local set = mt.data.synthetic_digits { count = 60, seed = 4 }
      mt.make_directory(folder .. "/images")
      for n = 1, 60 do
        local class = n % 2 == 0 and "cat" or "dog"
        local picture = mt.cat({ set.images[n], set.images[n], set.images[n] }, 3)
        mt.image.write_jpeg(("%s/images/%s.%d.jpg"):format(folder, class, n), picture)
      end
      local output = run(folder, folder .. "/images", "--dataset catsdogs --epochs 4")
      assert.truthy(output:find("\nCats vs Dogs, small_cnn, 4 epochs, 1 seed;", 1, true), output)
      local result = result_of(folder, "out")
      assert.equal("0.001 x1, 0.0001 x3", result.schedule) -- a tenth after a quarter
      assert.equal(12, result.test_count)
    end)
  end)

  it("reads SVHN's files", function()
    process.with_folder(function(folder)
      mt.make_directory(folder .. "/images")
      write_svhn(folder .. "/images/train_32x32.mat", 60, 5)
      write_svhn(folder .. "/images/test_32x32.mat", 20, 6)
      local output = run(folder, folder .. "/images", "--dataset svhn")
      assert.truthy(output:find("\nSVHN, small_cnn, 2 epochs", 1, true), output)
      assert.equal(20, result_of(folder, "out").test_count)
    end)
  end)

  it("reads CIFAR-10's files, and augments their images", function()
    process.with_folder(function(folder)
      mt.make_directory(folder .. "/images")
      local records = cifar_records(100, 7):rep(100) -- of the published size
      mt.write_file(folder .. "/images/test_batch.bin", records)
      for i = 1, 5 do
        local link = ("ln %s/images/test_batch.bin %s/images/data_batch_%d.bin"):format(folder, folder, i)
        assert(process.run(link))
      end
      local output = run(folder, folder .. "/images", "--dataset cifar10 --limit 60")
      assert.truthy(output:find("\nCIFAR-10, small_cnn, 2 epochs", 1, true), output)
      assert.is_true(result_of(folder, "out").augment)
      run(folder, folder .. "/images", "--dataset cifar10 --limit 60 --augment off", "plain")
      assert.not_equal(weights(folder, "plain"), weights(folder, "out"))
      assert.truthy(refused(folder, folder .. "/images", "--dataset cifar10 --limit 60 --augment off --resume")
        :find("augment is", 1, true))
    end)
  end)

  it("starts from given weights instead of training", function()
    with_images(function(folder, data)
      run(folder, data, "", "trained")
      local file = folder .. "/trained/seed-1/final-erm.safetensors"
      run(folder, data, "--init " .. process.quoted(file), "given")
      assert.equal(weights(folder, "trained"):sub(1, 1000), weights(folder, "given"):sub(1, 1000))
      assert.same(result_of(folder, "trained").methods.sr, result_of(folder, "given").methods.sr)
      assert.falsy(mt.read_file(folder .. "/given/metrics.csv"):find("erm", 1, true))
      local output = refused(folder, data, "--net resnet20 --init " .. process.quoted(file))
      assert.truthy(output:find("backbone.0.weight", 1, true), output)
    end)
  end)

  it("changes the rates as the paper does, at the length of the run or at the paper's epochs", function()
    with_images(function(folder, data)
      run(folder, data, "--epochs 3 --limit 30 --finetune-lr 0.01 --lr 0.2")
      assert.equal("0.2 x1, 0.1 x1, 0.05 x1", result_of(folder, "out").schedule)
      assert.same({ 0.01 }, { table.unpack(result_of(folder, "out").chosen_lr) })
      run(folder, data, "--epochs 3 --limit 30 --exact-schedule --finetune-lr auto", "exact")
      assert.equal("0.1 x3", result_of(folder, "exact").schedule)
    end)
  end)

  it("refuses to resume a run with other settings", function()
    with_images(function(folder, data)
      run(folder, data, "--limit 30")
      assert.truthy(refused(folder, data, "--limit 40 --resume"):find("limit is 30 there, 40 in this run", 1, true))
      local erm = mt.read_file(folder .. "/out/seed-1/final-erm.safetensors")
      run(folder, data, "--limit 30 --protocol paper --resume") -- other masks go on from the same ERM
      assert.equal("paper", result_of(folder, "out").protocol)
      assert.equal(erm, mt.read_file(folder .. "/out/seed-1/final-erm.safetensors"))
    end)
  end)

  it("names what it cannot use", function()
    with_images(function(folder, data)
      assert.truthy(refused(folder, folder .. "/none"):find(folder .. "/none", 1, true))
      local output = refused(folder, data, "--coverage 1,90")
      assert.truthy(output:find("--coverage: 1% of 20 validation images keeps none", 1, true), output)
      mt.make_directory(data .. "/test/digit 3")
      mt.write_file(data .. "/test/digit 3/1.png", mt.read_file(data .. "/test/digit 0/" ..
        mt.list_directory(data .. "/test/digit 0")[1]))
      local refusal = refused(folder, data)
      assert.truthy(refusal:find("digit 3' is not a class: class_names has", 1, true), refusal)
      mt.write_file(data .. "/train/digit 0/broken.png", "no image")
      assert.truthy(refused(folder, data):find("broken.png", 1, true))
    end)
  end)

  it("ends with the same bits after kill -9 at random moments and --resume", function()
    with_images(function(folder, data)
      local started = mt.clock()
      run(folder, data, "--epochs 4", "whole")
      local seconds = mt.clock() - started
      math.randomseed(os.time())
      for number, moment in ipairs { 0.3, 0.55, 0.75, 0.9 } do
        local out, after = "killed-" .. number, seconds * (moment + 0.1 * (math.random() - 0.5))
        process.run(("timeout -s KILL %.3f %s"):format(after, command(folder, data, "--epochs 4", out)))
        run(folder, data, "--epochs 4 --resume", out)
        local message = ("killed after %.3f of %.3f s"):format(after, seconds)
        assert.equal(weights(folder, "whole"), weights(folder, out), message)
        assert.equal(findings(folder, "whole"), findings(folder, out))
      end
    end)
  end)
end)
