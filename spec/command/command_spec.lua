-- The command, as a user runs it: in a process of its own, on small folders of images.
local mt = require "masktune"
local process = require "support.process"
local stickers = require "support.stickers"

local q = process.quoted
local masktune = ("LC_ALL=C NO_COLOR=1 %s lua/masktune/command/masktune "):format(q(process.lua))
local tiny = "--net small_cnn --size 28 --epochs 10 --batch 16 --lr 0.05 --threads 1 "
  .. "--finetune-steps 8 --finetune-lr 0.001 --iterations 1"

--- Runs the command; its standard output, its standard error and its status.
local function run(arguments)
  return process.with_folder(function(folder)
    local _, output = process.run(("%s%s >%s/out 2>%s/err; echo $?"):format(masktune, arguments, folder, folder))
    return mt.read_file(folder .. "/out"), mt.read_file(folder .. "/err"), tonumber(output:match("%d+\n$"))
  end)
end

local function succeeds(arguments)
  local out, err, status = run(arguments)
  assert.equal(0, status, err)
  return out, err
end

local function fails(status, arguments)
  local _, err, got = run(arguments)
  assert.equal(status, got, err)
  assert.falsy(err:find("stack traceback", 1, true), err)
  return err
end

--- A folder of images; `splits`: name -> count, or none for one folder of 60.
local function with_images(splits, f)
  process.with_folder(function(folder)
    for name, count in pairs(splits or { [""] = 60 }) do
      stickers.write(stickers.data { count = count, seed = #name + 1, size = 28, place = "corner" },
        folder .. "/images/" .. name)
    end
    f(folder, folder .. "/images")
  end)
end

describe("masktune", function()
  it("lists its commands, with and without --help, and the version", function()
    local out = succeeds "--help"
    for _, name in ipairs { "run", "train", "explain", "diagnose", "mask", "finetune", "evaluate", "predict", "report",
      "export", "convert", "info", "data", "completion" } do
      assert.truthy(out:find("\n" .. name .. " +%S"), name)
    end
    assert.truthy(fails(2, ""):find("usage: masktune COMMAND", 1, true))
    assert.equal("masktune scm-1\n", (succeeds "--version"))
    assert.equal("masktune: no command 'trian'; did you mean 'train'? (masktune --help lists them)\n",
      fails(2, "trian"))
  end)

  for name in pairs(require("masktune.command").programs()) do
    it("shows an example in the help of " .. name, function()
      local out = succeeds(name .. " --help")
      assert.truthy(out:find("^usage: masktune " .. name), out)
      assert.truthy(out:find("\nexample:\n  [^\n]*masktune ", 1), out)
      for line in out:gmatch "[^\n]+" do
        assert.is_nil(line:find "[\128-\255]")
      end
    end)
  end

  it("refuses a wrong command line with status 2, and wrong work with status 1", function()
    assert.truthy(fails(2, "train --dat x"):find("unknown option '--dat'; did you mean '--data'?", 1, true))
    assert.truthy(fails(2, "train --epochs 0"):find("--epochs: integer >= 1 expected, got '0'", 1, true))
    assert.truthy(fails(2, "export net.pt"):find("FILE: NAME.safetensors or NAME.onnx expected, got 'net.pt'", 1, true))
    assert.truthy(fails(2, "predict"):find("IMAGE... expected", 1, true))
    process.with_folder(function(folder)
      local out = " --out " .. q(folder .. "/out")
      assert.equal("masktune train: --data: '/nope' is not there\n", fails(1, "train --data /nope" .. out))
      assert.truthy(fails(1, "train" .. out):find("--data: a folder of images, or a CSV file, expected", 1, true))
      assert.truthy(fails(1, "report" .. out):find("there is no run in", 1, true))
      assert.is_false(mt.file_exists(folder .. "/out"))
    end)
  end)

  it("says what the machine is, as text and as JSON", function()
    assert.truthy(succeeds("info"):find("instruction set", 1, true))
    local found = mt.json.decode((succeeds "info --json --threads 1"))
    assert.equal(mt.isa(), found.isa)
    assert.equal(1, found.threads)
  end)

  it("completes commands and options in bash", function()
    if not process.has "bash" then return pending("bash is not installed") end
    process.with_folder(function(folder)
      mt.write_file(folder .. "/completion", (succeeds "completion bash"))
      mt.write_file(folder .. "/try", [[
        . "$1/completion"
        COMP_WORDS=(masktune ex); COMP_CWORD=1; _masktune; echo "${COMPREPLY[@]}"
        COMP_WORDS=(masktune finetune --finetune); COMP_CWORD=2; _masktune; echo "${COMPREPLY[@]}"
      ]])
      local _, output = process.run(("bash %s/try %s"):format(folder, folder))
      assert.equal("explain export\n--finetune-steps --finetune-lr\n", output)
    end)
  end)

  it("knows data sets, and says where it looked", function()
    assert.truthy(succeeds("data"):find("waterbirds\n", 1, true))
    assert.truthy(fails(2, "data waterbird"):find("did you mean 'waterbirds'?", 1, true))
    assert.truthy(fails(1, "data mnist --data /nope"):find("/nope", 1, true))
  end)
end)

describe("masktune run", function()
  it("trains, diagnoses, fine-tunes, evaluates and reports on a folder with splits", function()
    with_images({ train = 64, val = 32, test = 32 }, function(folder, images)
      local out = folder .. "/out"
      local text = succeeds(("run --data %s --out %s %s --treat always"):format(q(images), q(out), tiny))
      assert.truthy(text:find("64 training, 32 validation, 32 test images of 2 classes (cross, disc)", 1, true), text)
      assert.truthy(text:find("\nDiagnosis: ", 1, true), text)
      assert.truthy(text:find("\ninitial, test +%d+%.%d +%d+%.%d"), text)
      assert.truthy(text:find("\nfinal, val ", 1, true), text)
      assert.equal(mt.read_file(out .. "/report.txt"), text:match "^(.*\n)\nThe same with pictures: ")
      local page = mt.read_file(out .. "/report.html")
      local _, tiles = page:gsub('<figure tabindex="0"', "")
      assert.equal(32, tiles)
      for _, part in ipairs { "Diagnosis", "Where the nets look", "Training", "Abstaining", "How to do it again" } do
        assert.truthy(page:find(("<h2>%s</h2>"):format(part), 1, true), part)
      end
      local settings = mt.json.decode(mt.read_file(out .. "/run.json"))
      assert.equal("small_cnn", settings.net)
      local results = mt.json.decode(mt.read_file(out .. "/results.json"))
      local model = mt.models.small_cnn { classes = 2 }
      model:load_state_dict(mt.load(out .. "/final.safetensors"))
      local set = mt.data.image_folder { root = images .. "/test", size = 28 }
      assert.equal(results.models.final.test.accuracy, mt.evaluate(model, set).accuracy)

      -- a second run neither mixes with the first nor removes it
      local again = fails(1, ("run --data %s --out %s %s"):format(q(images), q(out), tiny))
      assert.truthy(again:find("is not empty", 1, true), again)
      -- --resume ends with the same bits, and refuses other settings
      local bits = mt.read_file(out .. "/final.safetensors")
      succeeds(("run --resume --out %s --treat always %s"):format(q(out), tiny:match "%-%-threads.*"))
      assert.is_true(bits == mt.read_file(out .. "/final.safetensors"))
      assert.truthy(fails(1, ("run --resume --out %s --epochs 3"):format(q(out))):find("has epochs 10, not 3", 1, true))
    end)
  end)

  it("trains the last part of a net with given weights, and leaves the first as it is", function()
    with_images({ train = 64, val = 32, test = 32 }, function(folder, images)
      local out, weights = folder .. "/out", folder .. "/weights.safetensors"
      mt.manual_seed(5)
      local published = mt.models.resnet18 { classes = 2 }:state_dict()
      mt.save(weights, published)
      local text = succeeds(("run --data %s --out %s --net resnet18 --pretrained %s --size 64 --epochs 2 --batch 16 "
        .. "--lr 0.01 --threads 1 --treat always --finetune-steps 4 --finetune-lr 0.001 --iterations 1"):format(
        q(images), q(out), q(weights)))
      assert.truthy(text:find("layer2.0", 1, true), text)
      local settings = mt.json.decode(mt.read_file(out .. "/run.json"))
      assert.equal("layer2.0", settings.frozen)
      for _, which in ipairs { "initial", "final" } do
        local state = mt.load(("%s/%s.safetensors"):format(out, which))
        for name, tensor in pairs(published) do
          local later = name:find "^layer2%.1" or name:find "^layer[34]" or name:find "^fc"
          if name:find "weight$" then assert.equal(not later, tensor:bytes() == state[name]:bytes(), name) end
        end
      end
      -- the whole net of the file answers as the run says
      local model = mt.models.resnet18 { classes = 2 }
      model:load_state_dict(mt.load(out .. "/final.safetensors"))
      local whole = mt.models.resnet18 { classes = 2, pretrained = weights }
      local set = mt.data.image_folder { root = images .. "/test", size = 64 }
      set.preprocess = whole.preprocess
      local results = mt.json.decode(mt.read_file(out .. "/results.json"))
      assert.equal(results.models.final.test.accuracy, mt.evaluate(model, set).accuracy)
    end)
  end)

  it("splits one folder by its seed, leaves out broken files and names them all", function()
    with_images(nil, function(folder, images)
      mt.write_file(images .. "/cross/broken1.jpg", "\xff\xd8\xff broken")
      mt.write_file(images .. "/disc/broken2.png", "")
      local out = folder .. "/out"
      local text, said = succeeds(("train --json --data %s --out %s %s --seed 3"):format(q(images), q(out), tiny
        :gsub(" %-%-finetune.*", "")))
      assert.truthy(said:find("2 of the image files in", 1, true), said)
      assert.truthy(said:find("broken1.jpg", 1, true) and said:find("broken2.png", 1, true), said)
      assert.is_number(mt.json.decode(text).accuracy)
      local rows, counts = mt.read_file(out .. "/split.csv"), {}
      for split in rows:gmatch ",(%a+)\r\n" do
        counts[split] = (counts[split] or 0) + 1
      end
      assert.same({ split = 1, train = 38, val = 10, test = 12 }, counts)
    end)
  end)

  it("reads a CSV file with splits and groups", function()
    with_images(nil, function(folder, images)
      local lines = { "filename,class,split,background" }
      for n = 1, 60 do
        local class = n % 2 == 0 and "cross" or "disc"
        lines[n + 1] = ("%s/img%04d.jpg,%s,%s,%s"):format(class, n, class,
          n <= 30 and "train" or n <= 46 and "val" or "test", n % 3 == 0 and "sea" or "land")
      end
      -- stickers.write names a disc's file after an even number
      local text = table.concat(lines, "\n"):gsub("(%a+)/img(%d+)", function(_, number)
        return (mt.file_exists(("%s/cross/img%s.jpg"):format(images, number)) and "cross" or "disc") .. "/img" .. number
      end)
      mt.write_file(images .. "/disc/broken.jpg", "no image")
      mt.write_file(images .. "/list.csv", text .. "\ndisc/broken.jpg,disc,train,sea\n")
      local out = folder .. "/out"
      local _, said = succeeds(("run --treat never --data %s --out %s %s"):format(q(images .. "/list.csv"), q(out),
        tiny))
      assert.truthy(said:find("1 of the image files in", 1, true) and said:find("broken.jpg", 1, true), said)
      local settings = mt.json.decode(mt.read_file(out .. "/run.json"))
      assert.same({ 30, 16, 14 }, { settings.train_images, settings.val_images, settings.test_images })
      local results = mt.json.decode(mt.read_file(out .. "/results.json"))
      assert.is_number(results.models.initial.test.worst_group)
      assert.is_nil(results.models.final)
    end)
  end)

  it("takes class names that are no UTF-8, in the plainest locale", function()
    with_images(nil, function(folder, images)
      process.run(("mv %s/disc %s/caf\xE9"):format(images, images))
      local out = folder .. "/out"
      succeeds(("run --treat never --data %s --out %s %s"):format(q(images), q(out), tiny))
      local names = mt.json.decode(mt.read_file(out .. "/run.json")).class_names
      assert.same({ "caf\\xE9", "cross" }, { table.unpack(names) })
    end)
  end)

  it("stopped by SIGTERM says how to go on, and goes on", function()
    with_images({ train = 64, val = 32, test = 32 }, function(folder, images)
      local out, err = folder .. "/out", folder .. "/err"
      local _, output = process.run(("%strain --data %s --out %s %s --epochs 100000 2>%s & pid=$!; "
        .. "while [ ! -e %s/stages/erm.safetensors ]; do sleep 0.05; done; kill -TERM $pid; wait $pid; echo $?"):format(
        masktune, q(images), q(out), tiny:gsub(" %-%-finetune.*", ""):gsub("%-%-epochs 10", "--lr 0.0001"), err, out))
      local said = mt.read_file(err)
      assert.equal("143", output:match "(%d+)\n$", said)
      assert.truthy(said:find("the same command with --resume goes on from there", 1, true), said)
    end)
  end)
end)

describe("the steps of a run", function()
  local kept

  setup(function()
    local _, folder = process.run "mktemp -d"
    kept = folder:match "[^\n]+"
    for split, count in pairs { train = 64, val = 32, test = 32 } do
      stickers.write(stickers.data { count = count, seed = 4, size = 28, place = "corner" },
        kept .. "/images/" .. split)
    end
    succeeds(("train --data %s --out %s %s"):format(q(kept .. "/images"), q(kept .. "/out"),
      (tiny:gsub(" %-%-finetune.*", ""))))
  end)

  teardown(function() process.run("rm -rf " .. q(kept)) end)

  it("explain, diagnose, mask and finetune leave pictures, masks and a net", function()
    local out = kept .. "/out"
    local path = succeeds("explain " .. q(out) .. " --count 4 --threads 1"):match "[^\n]+"
    assert.equal(3, mt.image.read_png(path):size(3))
    local found = mt.json.decode((succeeds("diagnose --json --threads 1 --out " .. q(out))))
    assert.is_string(found.verdict)
    assert.equal(32, found.count)
    succeeds("mask --threads 1 --k 1 " .. q(out))
    assert.same({ 64, 28, 28 }, mt.load(out .. "/masks.safetensors").keep:shape())
    assert.is_true(mt.file_exists(out .. "/masks.png"))
    local fine = mt.json.decode((succeeds("finetune --json --threads 1 --finetune-steps 8 --iterations 1 --k 2 "
      .. q(out))))
    assert.equal(8, fine.steps)
    assert.truthy(fine.outcome:find("^MaskTune "), fine.outcome)
    assert.is_true(mt.file_exists(out .. "/final.safetensors"))
  end)

  it("predict gives PyTorch's form of probabilities, abstention and heatmaps", function()
    local out, image = kept .. "/out", kept .. "/images/test/cross/img0002.jpg"
    if not mt.file_exists(image) then image = kept .. "/images/test/disc/img0001.jpg" end
    succeeds("evaluate --threads 1 " .. q(out))
    local rows = mt.json.decode((succeeds(("predict --json --threads 1 %s --out %s --heatmaps %s/heat"):format(q(image),
      q(out), q(kept)))))
    local model = mt.models.small_cnn { classes = 2 }
    local fine = mt.file_exists(out .. "/finetuning.json") and mt.json.decode(mt.read_file(out .. "/finetuning.json"))
    local latest = fine and fine.helped ~= false and "final" or "initial"
    model:load_state_dict(mt.load(("%s/%s.safetensors"):format(out, latest)))
    model:eval()
    local pixels = mt.zeros({ 1, 28, 28, 3 }, "uint8")
    mt.image.read_files({ image }, pixels, {})
    local wanted = model(pixels:to("float32") / 255):softmax(2):totable()[1]
    for class = 1, 2 do
      assert.is_true(math.abs(wanted[class] - rows[1].probabilities[class]) < 1e-5)
    end
    assert.is_boolean(rows[1].abstains)
    assert.same({ 28, 28, 3 }, mt.image.read_png(rows[1].heatmap):shape())
    mt.write_file(kept .. "/text.jpg", "no image")
    local err = fails(1, ("predict %s/text.jpg %s/none.png --out %s"):format(kept, kept, q(out)))
    assert.truthy(err:find("2 of 2 images cannot be read:", 1, true), err)
  end)

  it("export writes what the net computes, and convert reads PyTorch's files", function()
    local out = kept .. "/out"
    for _, name in ipairs { "net.safetensors", "net.onnx" } do
      succeeds(("export %s/%s --model initial --out %s"):format(q(kept), name, q(out)))
      assert.truthy(fails(1, ("export %s/%s --out %s"):format(q(kept), name, q(out))):find("--overwrite", 1, true))
    end
    local model = mt.models.small_cnn { classes = 2 }
    model:load_state_dict(mt.load(kept .. "/net.safetensors"))
    local text = succeeds(("convert %s/net.safetensors --to %s/again.safetensors"):format(q(kept), q(kept)))
    assert.truthy(text:find("%d+ tensors of %d+ numbers"), text)
    model:load_state_dict(mt.load(kept .. "/again.safetensors"))
  end)
end)
