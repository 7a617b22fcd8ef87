local mt = require "masktune"
local files = require "data.files"

--- An image of one colour and any size.
local function plain(height, width, color)
  return mt.tensor(color, { dtype = "float32" }):reshape(1, 1, #color):expand(height, width, #color):to "uint8"
end

local function noise(height, width, channels) return (mt.rand(height, width, channels or 3) * 255):to "uint8" end

describe("mt.data.image_folder", function()
  local root
  before_each(function()
    root = files.temporary_folder()
    for _, class in ipairs { "b zebra", "Ant", "cat" } do
      mt.make_directory(root .. "/" .. class)
    end
  end)
  after_each(function() files.remove_folder(root) end)

  local function fill()
    mt.image.write_png(root .. "/Ant/2.png", plain(9, 7, { 10, 20, 30 }))
    mt.image.write_png(root .. "/Ant/1.PNG", plain(5, 5, { 40 }))
    mt.image.write_jpeg(root .. "/b zebra/x.jpg", plain(80, 64, { 90 }), { quality = 100 })
    mt.image.write_png(root .. "/cat/y.jpeg", plain(8, 8, { 1, 2, 3, 0 }))
    mt.image.write_jpeg(root .. "/cat/z.JPG", plain(8, 8, { 200, 200, 200 }), { quality = 100 })
  end

  local function read(options)
    options = options or {}
    options.root, options.size = options.root or root, options.size or 8
    options.log = options.log or function() end
    return mt.data.image_folder(options)
  end

  it("makes a class of each folder, sorted by name, and brings images to one size and to RGB", function()
    fill()
    mt.write_file(root .. "/Ant/Thumbs.db", "no image")
    mt.write_file(root .. "/Ant/.hidden.png", "no image")
    mt.write_file(root .. "/notes.txt", "no folder")
    mt.make_directory(root .. "/.git")
    local set = read()
    assert.same({ "Ant", "b zebra", "cat" }, set.class_names)
    assert.equal(3, set.classes)
    assert.same({ 1, 1, 2, 3, 3 }, set.labels:totable())
    assert.same({ 5, 8, 8, 3 }, set.images:shape())
    local colors = {}
    for i = 1, 5 do
      colors[i] = set.images[i][4][4]:totable()
    end
    assert.same({ { 40, 40, 40 }, { 10, 20, 30 }, { 90, 90, 90 }, { 1, 2, 3 }, { 200, 200, 200 } }, colors)
    assert.equal(root .. "/cat/y.jpeg", set.files[set.file[4]:item()])
    assert.same({}, set.unreadable)
  end)

  it("gives gray images and other proportions on request", function()
    fill()
    local set = read { channels = 1, size = { 4, 6 } }
    assert.same({ 5, 4, 6, 1 }, set.images:shape())
    assert.equal((299 * 10 + 587 * 20 + 114 * 30 + 500) // 1000, set.images[2][1][1][1]:item())
  end)

  it("stretches the whole image, or cuts its middle out", function()
    for _, class in ipairs { "Ant", "b zebra", "cat" } do
      mt.image.write_png(root .. "/" .. class .. "/a.png",
        mt.cat({ plain(10, 10, { 0, 0, 0 }), plain(10, 10, { 255, 255, 255 }), plain(10, 10, { 0, 0, 0 }) }, 2))
    end
    local whole, middle = read { size = 10 }.images, read { size = 10, fit = "crop" }.images
    assert.equal(255, middle:min():item())
    assert.equal(0, whole[1][5][1][1]:item())
    assert.equal(255, whole[1][5][5][1]:item())
  end)

  it("names every file that cannot be read, or leaves them out", function()
    fill()
    mt.write_file(root .. "/Ant/0.png", "no image")
    mt.write_file(root .. "/cat/zz.jpg", mt.read_file(root .. "/b zebra/x.jpg"):sub(1, -200))
    local ok, message = pcall(read)
    assert.is_false(ok)
    assert.matches("2 image files cannot be read", message)
    assert.truthy(message:find("'" .. root .. "/Ant/0.png' is neither a PNG nor a JPEG file", 1, true), message)
    assert.truthy(message:find(root .. "/cat/zz.jpg", 1, true), message)
    for _, limit in ipairs { 0, 1 << 30 } do
      local lines = {}
      local set = read { on_error = "skip", memory_limit = limit, log = function(line) lines[#lines + 1] = line end }
      assert.equal(5, mt.data.size(set))
      assert.same({ 1, 1, 2, 3, 3 }, set.labels:totable())
      assert.equal(root .. "/Ant/1.PNG", set.files[set.file[1]:item()])
      assert.equal(2, #lines)
      assert.equal(root .. "/Ant/0.png", set.unreadable[1].path)
      assert.truthy(lines[1]:find("left out: '" .. root .. "/Ant/0.png' is neither", 1, true), lines[1])
    end
  end)

  it("refuses folders that cannot be a data set, and names them", function()
    assert.error_matches(function() read() end, "Ant' has no .png, .jpg or .jpeg file")
    assert.error_matches(function() read { root = root .. "/Ant" } end, "has 0 folders, expected 2 or more")
    assert.error_matches(function() read { root = root .. "/none" } end, "cannot list folder '.*/none'")
    assert.error_matches(function() mt.data.image_folder { root = root } end, "option 'size'")
    assert.error_matches(function() read { size = 0 } end, "option 'size': integer in %[1, 65536%]")
    assert.error_matches(function() read { size = { 3 } } end, "option 'size'")
    assert.error_matches(function() read { channels = 4 } end, "option 'channels': 1 or 3 expected, got 4")
    assert.error_matches(function() read { on_error = "ignore" } end, "option 'on_error'")
  end)

  describe("streamed", function()
    local memory, streamed
    before_each(function()
      fill()
      mt.manual_seed(3)
      for i = 1, 20 do
        local folder = root .. "/" .. ({ "Ant", "b zebra", "cat" })[i % 3 + 1]
        mt.image.write_png(("%s/n%d.png"):format(folder, i), noise(5 + i, 30 - i))
      end
      memory, streamed = read(), read { memory_limit = 25 * 8 * 8 * 3 - 1 }
    end)

    it("begins where the images need more memory than allowed", function()
      assert.equal("userdata", type(memory.images))
      assert.equal("userdata", type(read { memory_limit = 25 * 8 * 8 * 3 }.images))
      assert.equal("table", type(streamed.images))
    end)

    it("gives the batches of a data set in memory, bit for bit", function()
      for epoch = 1, 2 do
        local augment = mt.data.augment { { "affine", degrees = 20 } }
        local function options(set) return { dataset = set, batch = 7, seed = 4, augment = augment } end
        local a, b = mt.data.loader(options(memory)):epoch(epoch), mt.data.loader(options(streamed)):epoch(epoch)
        for batch in a do
          local other = b()
          for _, name in ipairs { "images", "labels", "indices", "file" } do
            assert.equal(batch[name]:bytes(), other[name]:bytes())
          end
        end
        assert.is_nil((b()))
      end
    end)

    it("can be measured, chosen from, split and looked at as if in memory", function()
      assert.equal(25, #streamed.images)
      assert.equal(25, mt.data.size(streamed))
      assert.same(memory.images:shape(), streamed.images:shape())
      assert.equal("uint8", streamed.images:dtype())
      assert.equal(memory.images:size(2), streamed.images:size(2))
      assert.equal(memory.images[7]:bytes(), streamed.images[7]:bytes())
      assert.equal(memory.images:narrow(1, 3, 5):bytes(), streamed.images:narrow(1, 3, 5):bytes())
      local function all(set) return set.images:narrow(1, 1, #set.images):bytes() .. set.labels:bytes() end
      for _, which in ipairs { 4, { 9, 2, 9, 25 }, mt.tensor({ 1, 3 }, { dtype = "int32" }) } do
        assert.equal(all(mt.data.subset(memory, which)), all(mt.data.subset(streamed, which)))
      end
      local rest, drawn = mt.data.split(memory, { count = 6, seed = 2 })
      local other_rest, other_drawn = mt.data.split(streamed, { count = 6, seed = 2 })
      assert.equal("table", type(other_drawn.images))
      assert.equal(all(rest), all(other_rest))
      assert.equal(all(drawn), all(other_drawn))
      assert.equal(require("masktune.checkpoint").dataset_digest(memory),
        require("masktune.checkpoint").dataset_digest(streamed))
    end)

    it("puts masks on as they are decoded", function()
      local keep = mt.rand(25, 8, 8):gt(0.5)
      local again = mt.rand(25, 8, 8):gt(0.5)
      local masked = streamed.images:masked(keep)
      assert.equal(mt.mask.apply(memory.images, keep):bytes(), masked:narrow(1, 1, 25):bytes())
      assert.equal(mt.mask.apply(mt.mask.apply(memory.images, keep), again):bytes(),
        masked:masked(again):narrow(1, 1, 25):bytes())
      assert.equal(mt.mask.apply(memory.images, keep)[4]:bytes(), masked:index({ 9, 4 })[2]:bytes())
      assert.error_matches(function() streamed.images:masked(mt.ones({ 3, 8, 8 }, "uint8")) end, "3 masks, expected 25")
    end)

    it("stops with the file's name when one has gone or changed since", function()
      os.remove(root .. "/Ant/2.png")
      assert.error_matches(function() return streamed.images[2] end,
        "can no longer be read: cannot open '.*/Ant/2.png'")
    end)

    it("refuses positions outside, and to be joined", function()
      assert.error_matches(function() return streamed.images[26] end, "image 26, expected 1 to 25")
      assert.error_matches(function() streamed.images:narrow(1, 20, 7) end, "expected a range of axis 1 in 1..25")
      assert.error_matches(function() mt.data.concat { streamed, streamed } end, "got streamed ones")
    end)
  end)
end)
