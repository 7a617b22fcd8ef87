local mt = require "masktune"
local files = require "data.files"

describe("mt.data.cats_dogs", function()
  local root
  before_each(function() root = files.temporary_folder() end)
  after_each(function() files.remove_folder(root) end)

  --- `count` images a class; image N of cats has the colour 10 N, that of dogs 10 N + 5.
  local function write(folder, count)
    mt.make_directory(folder)
    for n = 0, count - 1 do
      for offset, class in pairs { [0] = "cat", [5] = "dog" } do
        local image = (mt.zeros(12, 9, 3) + (10 * n + offset)):to "uint8"
        mt.image.write_jpeg(("%s/%s.%d.jpg"):format(folder, class, n), image, { quality = 100 })
      end
    end
  end

  local function read(options)
    options.root = options.root or root
    return mt.data.cats_dogs(options)
  end

  --- The images' colours, which tell them apart.
  local function colors(set)
    local list = {}
    for i = 1, mt.data.size(set) do
      list[i] = set.images[i][1][1][1]:item()
    end
    return list
  end

  it("takes the test split from the published lists", function()
    write(root .. "/train", 11)
    mt.write_file(root .. "/cat_idx.txt", "10.jpg\n3.jpg\n")
    mt.write_file(root .. "/dog_idx.txt", "0.jpg\r\n10.jpg\r\n")
    local test, train = read { split = "test" }, read { split = "train" }
    assert.same({ 4, 64, 64, 3 }, test.images:shape())
    assert.same({ 30, 100, 5, 105 }, colors(test))
    assert.same({ 1, 1, 2, 2 }, test.labels:totable())
    assert.equal(18, mt.data.size(train))
    assert.same({ 0, 10, 20, 40 }, { table.unpack(colors(train), 1, 4) })
    assert.same({ "cat", "dog" }, train.class_names)
    assert.equal(2, train.classes)
    assert.equal(root .. "/train/cat.10.jpg", test.files[test.file[2]:item()])
  end)

  it("takes lists with other spellings, beside the images", function()
    write(root, 4)
    mt.write_file(root .. "/cat_idx.txt", "1\n\n  2  ")
    mt.write_file(root .. "/dog_idx.txt", "dog.3.jpg")
    assert.same({ 10, 20, 35 }, colors(read { split = "test", size = 8 }))
  end)

  it("draws a share of each class where there are no lists, the same for the same seed", function()
    write(root, 10)
    local test, train = read { split = "test", size = 4 }, read { size = 4 }
    assert.same({ 1, 1, 2, 2 }, test.labels:totable())
    local both = colors(test)
    table.move(colors(train), 1, 16, 5, both)
    table.sort(both)
    for i = 1, 20 do
      assert.equal(5 * (i - 1), both[i])
    end
    assert.same(colors(test), colors(read { split = "test", size = 4 }))
    local seen = {}
    for seed = 1, 5 do
      seen[table.concat(colors(read { split = "test", size = 4, seed = seed }), " ")] = true
    end
    assert.is_true(next(seen, next(seen)) ~= nil)
    assert.equal(10, mt.data.size(read { split = "test", size = 4, test_share = 0.5 }))
  end)

  it("refuses a list that names what is not there, and one without the other", function()
    write(root, 3)
    mt.write_file(root .. "/cat_idx.txt", "1.jpg\n7.jpg\n")
    assert.error_matches(function() read { split = "test" } end, "cat_idx.txt' is there, but no dog_idx.txt")
    mt.write_file(root .. "/dog_idx.txt", "1.jpg\n")
    assert.error_matches(function() read { split = "test" } end,
      "cat_idx.txt', line 2: '7.jpg', expected the number of a cat.N.jpg that is there")
    mt.write_file(root .. "/cat_idx.txt", "one\n")
    assert.error_matches(function() read { split = "test" } end, "cat_idx.txt', line 1: 'one'")
  end)

  it("takes names in any case, with any zeros and suffix, and counts what it passes over", function()
    local png = (mt.zeros(4, 4, 3) + 70):to "uint8"
    for _, name in ipairs { "Cat.07.PNG", "cat.1.jpeg", "DOG.3.bmp", "dog.04.jpg", "bird.1.png", "sub/cat.9.png" } do
      mt.make_directory((root .. "/" .. name):match "^(.*)/")
      mt.image.write_png(root .. "/" .. name, png)
    end
    mt.write_file(root .. "/notes.txt", "text")
    mt.write_file(root .. "/.DS_Store", "text")
    local lines = {}
    local set = read { test_share = 0, size = 4, log = function(line) lines[#lines + 1] = line end }
    assert.same({ root .. "/cat.1.jpeg", root .. "/Cat.07.PNG", root .. "/DOG.3.bmp", root .. "/dog.04.jpg" },
      set.files)
    assert.same({ 1, 1, 2, 2 }, set.labels:totable())
    assert.same({ hidden = 1, other = 1, irregular = 0, outside = 1, deeper = 1 }, set.skipped)
    assert.equal(1, #lines)
    mt.image.write_png(root .. "/cat.7.png", png)
    assert.error_matches(function() read {} end, "cat.7.png' are both cat 7")
  end)

  it("sends those with a folder for each class to the right reader", function()
    mt.make_directory(root .. "/PetImages/Cat")
    assert.error_matches(function() read {} end,
      "; '.*/PetImages' has a folder for each class, which mt.data.image_folder reads")
  end)

  it("names the folder where there are no such images, and the file that cannot be read", function()
    assert.error_matches(function() read {} end, "no cat.N.jpg in '" .. root .. "'")
    write(root, 2)
    mt.write_file(root .. "/dog.1.jpg", "no image")
    assert.error_matches(function() read { test_share = 0 } end, "dog.1.jpg' is no image of a known format")
    local set = read { test_share = 0, on_error = "skip", size = 4, log = function() end }
    assert.same({ 0, 10, 5 }, colors(set))
    assert.same({ 1, 1, 2 }, set.labels:totable())
    os.remove(root .. "/dog.0.jpg")
    os.remove(root .. "/dog.1.jpg")
    assert.error_matches(function() read {} end, "no dog.N.jpg in '" .. root .. "'")
  end)
end)
