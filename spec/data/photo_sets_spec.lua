local miniatures = require "support.miniatures"
local mt = require "masktune"
local process = require "support.process"

--- Calls f with a folder that holds the miniature, and the notices that came.
local function with(name, f)
  process.with_folder(function(folder)
    miniatures[name](folder)
    local lines = {}
    local before = mt.notice.to(function(line) lines[#lines + 1] = line end)
    local ok, problem = pcall(f, folder, lines)
    mt.notice.to(before)
    assert(ok, problem)
  end)
end

local function message_of(f)
  local ok, message = pcall(f)
  assert.is_false(ok)
  return message
end

--- Which channel is the background's: 1 for green, 2 for blue.
local function background(set, i)
  local corner = set.images[i]:to("float32"):narrow(1, 1, 5):narrow(2, 1, 3)
  return corner:narrow(3, 2, 1):mean():item() > corner:narrow(3, 3, 1):mean():item() and 1 or 2
end

local function counts(set)
  return select(2, mt.metrics.group_accuracy(set.labels, set.labels, set.group))
end

describe("mt.data.waterbirds", function()
  it("reads each split with labels, backgrounds and groups, and decodes what the table says", function()
    with("waterbirds", function(root)
      for split, count in pairs { train = 60, val = 24, test = 24 } do
        local set = mt.data.waterbirds { root = root, split = split, size = { 20, 18 } }
        assert.equal(count, mt.data.size(set))
        assert.same({ count, 20, 18, 3 }, set.images:shape())
        for i, attribute in ipairs(set.attribute:totable()) do
          assert.equal(attribute, background(set, i))
          assert.equal((set.labels[i]:item() - 1) * 2 + attribute, set.group[i]:item())
        end
      end
      local set = mt.data.waterbirds { root = root, size = 8 }
      assert.same({ "land bird", "water bird" }, set.class_names)
      assert.same({ "land bird, land", "land bird, water", "water bird, land", "water bird, water" }, set.group_names)
      assert.same({ 24, 6, 6, 24 }, counts(set))
      assert.truthy(set.files[set.file[1]:item()]:find("002.Species/Bird_0001.jpg", 1, true))
    end)
  end)

  it("names what is missing, doubled, out of range or cut off, with its line", function()
    with("waterbirds", function(root, lines)
      local path = root .. "/metadata.csv"
      local text = mt.read_file(path)
      local function message(changed, more)
        mt.write_file(path, changed)
        return message_of(function()
          mt.data.waterbirds(mt.tables.merged({ root = root, size = 8 }, more))
        end)
      end
      os.remove(root .. "/001.Species/Bird_0002.jpg")
      local found = message(text)
      assert.truthy(found:find("1 of 60 images are not there", 1, true), found)
      assert.truthy(found:find("metadata.csv', line 3: '001.Species/Bird_0002.jpg'", 1, true), found)
      assert.equal(59, mt.data.size(mt.data.waterbirds { root = root, size = 8, missing = "skip" }))
      assert.truthy(lines[1]:find("1 of 60 images are not in", 1, true), lines[1])
      found = message(text:gsub("Bird_0004", "Bird_0006"), { missing = "skip" })
      assert.truthy(found:find("1 image is named twice:\n  '", 1, true), found)
      assert.truthy(found:find("line 7: '001.Species/Bird_0006.jpg', as in line 5", 1, true), found)
      found = message(text:gsub("(Bird_0003.jpg),%d", "%1,7"), { missing = "skip" })
      assert.truthy(found:find("line 4: '002.Species/Bird_0003.jpg': label '7'", 1, true), found)
      found = message(text:sub(1, -30), { missing = "skip" })
      assert.truthy(found:find("line 109: %d cells, expected 6 as in the header %(is the file whole%?%)"), found)
    end)
  end)

  it("says what root should be", function()
    with("waterbirds", function(root)
      mt.make_directory(root .. "/around")
      assert.truthy(message_of(function() mt.data.waterbirds { root = root .. "/around" } end)
        :find("`root` is the folder with Waterbirds' metadata.csv", 1, true))
      assert.truthy(message_of(function() mt.data.waterbirds { root = root .. "/none" } end)
        :find("none' does not exist", 1, true))
      os.rename(root .. "/metadata.csv", root .. "/list.csv")
      local message = message_of(function() mt.data.waterbirds { root = root } end)
      local looked = ("no metadata.csv in '%s', '%s/waterbirds_v1.0'"):format(root, root)
      assert.truthy(message:find(looked, 1, true), message)
    end)
  end)

  it("names a damaged image when a batch needs it", function()
    with("waterbirds", function(root)
      mt.write_file(root .. "/001.Species/Bird_0002.jpg", "no image")
      local set = mt.data.waterbirds { root = root, size = 8 }
      local found = message_of(function()
        for _ in mt.data.loader({ dataset = set, batch = 60 }):epoch(1) do end
      end)
      assert.truthy(found:find("001.Species/Bird_0002.jpg", 1, true), found)
    end)
  end)
end)

describe("mt.data.celeba", function()
  it("reads the official files, text or CSV, with any pair of attributes", function()
    with("celeba", function(root, lines)
      local set = mt.data.celeba { root = root, size = 10 }
      assert.same({ 24, 6, 6, 24 }, counts(set))
      for i, attribute in ipairs(set.attribute:totable()) do
        assert.equal(attribute, background(set, i))
      end
      assert.equal(24, mt.data.size(mt.data.celeba { root = root, size = 10, split = "test" }))
      local swapped = mt.data.celeba { root = root, size = 10, target = "Male", attribute = "Blond_Hair" }
      assert.equal(set.attribute:bytes(), swapped.labels:bytes())
      assert.same({}, lines)

      local text = mt.read_file(root .. "/list_attr_celeba.txt")
      local csv = { "image_id,Bald,Blond_Hair,Male" }
      for line in text:gmatch("[^\n]+") do
        if line:find("jpg") then csv[#csv + 1] = line:gsub("%s+", ",") end
      end
      mt.write_file(root .. "/attributes.csv", table.concat(csv, "\n"))
      local same = mt.data.celeba { root = root, size = 10, attributes = root .. "/attributes.csv" }
      assert.equal(set.group:bytes(), same.group:bytes())
    end)
  end)

  it("takes a part of the images, counts it, and splits by number where there is no partition", function()
    with("celeba", function(root, lines)
      for id = 1, 30 do
        os.remove(("%s/img_align_celeba/%06d.jpg"):format(root, id))
      end
      local set = mt.data.celeba { root = root, size = 10 }
      assert.equal(30, mt.data.size(set))
      assert.truthy(lines[1]:find("has 78 of the 108 images that", 1, true), lines[1])
      os.rename(root .. "/img_align_celeba/000040.jpg", root .. "/img_align_celeba/77_000040.jpg")
      os.remove(root .. "/list_eval_partition.txt")
      assert.equal(78, mt.data.size(mt.data.celeba { root = root, size = 10 })) -- all numbers are those of training
      assert.truthy(message_of(function() mt.data.celeba { root = root, split = "val" } end)
        :find("no image of this split", 1, true))
      assert.truthy(message_of(function() mt.data.celeba { root = root, target = "Blond" } end)
        :find("no column 'Blond'; there are", 1, true))
    end)
  end)
end)

describe("mt.data.background_challenge", function()
  it("reads every variant", function()
    with("background_challenge", function(root)
      local train = mt.data.background_challenge { root = root, split = "train", size = 12 }
      assert.equal(60, mt.data.size(train))
      assert.same({ "dog", "bird" }, train.class_names)
      for _, variant in ipairs {
        "original", "mixed_same", "mixed_rand", "mixed_next", "only_fg", "no_fg", "only_bg_b", "only_bg_t",
      } do
        local set = mt.data.background_challenge { root = root, variant = variant, size = 12 }
        assert.equal(16, mt.data.size(set))
        if variant == "mixed_next" then
          for i, label in ipairs(set.labels:totable()) do
            assert.equal(3 - label, background(set, i))
          end
        end
      end
      os.rename(root .. "/original", root .. "/in9l")
      local alone = mt.data.background_challenge { root = root .. "/in9l", split = "train", size = 12 }
      assert.equal(60, mt.data.size(alone))
      assert.truthy(message_of(function() mt.data.background_challenge { root = root .. "/mixed_same" } end)
        :find("`root` is the folder with original, mixed_same", 1, true))
      assert.truthy(message_of(function() mt.data.background_challenge { root = root .. "/none" } end)
        :find("none' does not exist", 1, true))
    end)
  end)
end)

describe("mt.data.csv", function()
  it("reads any table", function()
    with("waterbirds", function(root)
      local function read(more)
        return mt.data.csv(mt.tables.merged({
          path = root .. "/metadata.csv", file = "img_filename", label = "y", attribute = "place", split = "split",
          wanted = 1, size = 9,
        }, more))
      end
      local set, expected = read {}, mt.data.waterbirds { root = root, split = "val", size = 9 }
      assert.equal(expected.group:bytes(), set.group:bytes())
      assert.equal(expected.images:narrow(1, 1, 24):bytes(), set.images:narrow(1, 1, 24):bytes())
      assert.same({ "0", "1" }, set.class_names)
      assert.same({ "1", "0" }, read({ class_names = { "1", "0" } }).class_names)
      assert.truthy(message_of(function() read { label = "img_id", class_names = { "0", "1" } } end)
        :find("label '61'", 1, true))
      assert.truthy(message_of(function() mt.data.csv { path = root .. "/metadata.csv", split = "split" } end)
        :find("'split' and 'wanted': both or neither", 1, true))
    end)
  end)
end)
