-- EfficientNet-Lite0 with its published weights on real photos beside the published PyTorch code, from the JPEG files
-- on: for who has a folder with a photo for each of ImageNet's classes, in their order
-- (MASKTUNE_IMAGENET_SAMPLES), and the weights (MASKTUNE_EFFICIENTNET_LITE0).
local mt = require "masktune"
local process = require "support.process"

local python = process.quoted(os.getenv("MASKTUNE_PYTHON") or "python3")
local root, weights = os.getenv("MASKTUNE_IMAGENET_SAMPLES"), os.getenv("MASKTUNE_EFFICIENTNET_LITE0")

local EVERY, SIZE = 10, 224

--- Every tenth photo: its path, and its class.
local function photos()
  local names, paths, classes = mt.list_directory(root), {}, {}
  table.sort(names)
  local class = 0
  for _, name in ipairs(names) do
    if name:find("%.JPEG$") then
      class = class + 1
      if class % EVERY == 1 then paths[#paths + 1], classes[#classes + 1] = root .. "/" .. name, class end
    end
  end
  return paths, classes
end

describe("EfficientNet-Lite0 on ImageNet's photos #nosan", function()
  it("gives the published code's answers, and mostly the right ones", function()
    if not (root and weights) then
      return pending("MASKTUNE_IMAGENET_SAMPLES and MASKTUNE_EFFICIENTNET_LITE0 do not name the photos and the weights")
    end
    if not process.run(python .. " -c 'import torch, PIL, efficientnet_lite_pytorch'") then
      return pending("no python with torch, Pillow and efficientnet-lite-pytorch (MASKTUNE_PYTHON names one)")
    end
    local paths, classes = photos()
    local images = mt.zeros({ #paths, SIZE, SIZE, 3 }, "uint8")
    assert.same({}, mt.image.read_files(paths, images))
    local model = mt.models.efficientnet_lite0 { pretrained = weights }
    local set = { images = images, labels = mt.tensor(classes, { dtype = "int32" }), classes = 1000 }
    local found = mt.evaluate(model, set, { predictions = true, batch = 20 })
    assert.is_true(found.accuracy > 0.8, "accuracy " .. found.accuracy)
    for i, path in ipairs(paths) do
      paths[i] = process.quoted(path)
    end
    local ok, output = process.run(("%s -B spec/oracle/imagenet_case.py %s %s"):format(python, process.quoted(weights),
      table.concat(paths, " ")))
    assert.is_true(ok, output)
    local theirs = {}
    for line in output:gmatch("[^\n]+") do
      theirs[#theirs + 1] = math.tointeger(tonumber(line))
    end
    assert.same(theirs, found.predictions)
  end)
end)
