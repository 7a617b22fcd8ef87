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
    assert.truthy(message:find("'" .. root .. "/Ant/0.png' is no image of a known format", 1, true), message)
    assert.truthy(message:find(root .. "/cat/zz.jpg", 1, true), message)
    local lines = {}
    local set = read { on_error = "skip", log = function(line) lines[#lines + 1] = line end }
    assert.equal(5, mt.data.size(set))
    assert.same({ 1, 1, 2, 3, 3 }, set.labels:totable())
    assert.equal(root .. "/Ant/1.PNG", set.files[set.file[1]:item()])
    assert.equal(2, #lines)
    assert.equal(root .. "/Ant/0.png", set.unreadable[1].path)
    assert.truthy(lines[1]:find("left out: '" .. root .. "/Ant/0.png' is no image", 1, true), lines[1])
  end)

  it("refuses folders that cannot be a data set, and names them", function()
    assert.error_matches(function() read() end, "Ant' has no image")
    assert.error_matches(function() read { root = root .. "/Ant" } end, "has 0 folders, expected 2 or more")
    assert.error_matches(function() read { root = root .. "/none" } end, "cannot list folder '.*/none'")
    assert.error_matches(function() mt.data.image_folder { root = root } end, "option 'size'")
    assert.error_matches(function() read { size = 0 } end, "option 'size': integer in %[1, 65536%]")
    assert.error_matches(function() read { size = { 3 } } end, "option 'size'")
    assert.error_matches(function() read { channels = 4 } end, "option 'channels': 1 or 3 expected, got 4")
    assert.error_matches(function() read { on_error = "ignore" } end, "option 'on_error'")
  end)

  -- ---- what else lies in folders ----

  local pictures = mt.load "spec/golden/pictures.safetensors"

  local function write(name, content)
    mt.make_directory((root .. "/" .. name):match "^(.*)/")
    mt.write_file(root .. "/" .. name, content)
  end

  local function picture(name) write(name, pictures["bmp/24 bits/file"]:bytes()) end

  --- The set, and what it said.
  local function read_saying(options)
    local lines = {}
    options = options or {}
    options.log = function(line) lines[#lines + 1] = line end
    return read(options), table.concat(lines, "\n")
  end

  local function names_of(set)
    local names = {}
    for i, position in ipairs(set.file:totable()) do
      names[i] = set.files[position]:sub(#root + 2)
    end
    return names
  end

  it("tells images by their contents, whatever they are called", function()
    fill()
    write("Ant/3", pictures["pnm/P6/file"]:bytes())
    write("Ant/4.webp", pictures["bmp/24 bits/file"]:bytes())
    write("Ant/5.bmp", pictures["jpeg/progressive gray/file"]:bytes())
    local set, said = read_saying()
    assert.same({ "Ant/1.PNG", "Ant/2.png", "Ant/3", "Ant/4.webp", "Ant/5.bmp" }, { table.unpack(names_of(set), 1, 5) })
    assert.equal("", said)
    assert.same({ hidden = 0, other = 0, irregular = 0, outside = 0, deeper = 0 }, set.skipped)
  end)

  it("counts and says what it passes over", function()
    fill()
    -- hidden, whatever they are
    for _, name in ipairs { "Ant/.DS_Store", "Ant/._1.PNG", "Ant/Thumbs.db", "cat/desktop.ini", "__MACOSX/._1.PNG" } do
      picture(name)
    end
    write("Ant/notes.txt", "text")
    write("README.md", "text")
    picture "loose.png"
    os.execute(("mkfifo '%s/cat/pipe'"):format(root))
    os.execute(("ln -s /nowhere '%s/cat/link'"):format(root))
    os.execute(("ln -s .. '%s/cat/loop' && ln -s / '%s/Ant/everything'"):format(root, root))
    local set, said = read_saying()
    assert.equal(5, mt.data.size(set))
    assert.same({ "Ant", "b zebra", "cat" }, set.class_names)
    assert.same({ hidden = 5, other = 2, irregular = 4, outside = 1, deeper = 0 }, set.skipped)
    assert.equal(("mt.data.image_folder: '%s': passed over 5 hidden or system files ('%s/__MACOSX', ...); "
      .. "2 files that are no images ('%s/README.md', ...); 4 that are no files (FIFOs, devices, broken links, folders "
      .. "in themselves) ('%s/Ant/everything', ...); 1 images in no class folder ('%s/loose.png')"):format(root, root,
        root, root, root), said)
  end)

  it("reads images in deeper folders, or counts them", function()
    fill()
    picture "Ant/deeper/still/a.png"
    picture "Ant/deeper/b.png"
    picture "cat/c.png/1.png" -- a folder
    local set = read_saying()
    assert.same({ "Ant/1.PNG", "Ant/2.png", "Ant/deeper/b.png", "Ant/deeper/still/a.png", "b zebra/x.jpg", "cat/y.jpeg",
      "cat/z.JPG", "cat/c.png/1.png" }, names_of(set))
    assert.same({ 1, 1, 1, 1, 2, 3, 3, 3 }, set.labels:totable())
    local flat, said = read_saying { recursive = false }
    assert.equal(5, mt.data.size(flat))
    assert.equal(3, flat.skipped.deeper)
    assert.matches("3 images in deeper folders %('.*/Ant/deeper/b.png', ...%)", said)
    os.execute(("rm '%s'/Ant/*.*"):format(root))
    assert.error_matches(function() read { recursive = false } end,
      "Ant' has no image of its own, only in deeper folders")
  end)

  it("never passes over what calls itself an image", function()
    fill()
    write("Ant/a.webp", pictures["webp/lossy/file"]:bytes())
    write("Ant/b", pictures["other/GIF/file"]:bytes())
    write("Ant/c.jpg", "<html>not found</html>")
    write("Ant/d.png", "")
    os.execute(("mkfifo '%s/cat/e.png'"):format(root))
    os.execute(("ln -s /nowhere '%s/cat/f.png'"):format(root))
    mt.make_directory(root .. "/cat/g.png")
    local webp = (mt.image.formats())[5] == "WebP"
    local _, message = pcall(read)
    assert.matches((webp and 6 or 7) .. " image files cannot be read", message)
    local set = read_saying { on_error = "skip" }
    local said = {}
    for i, entry in ipairs(set.unreadable) do
      said[i] = entry.message:gsub("^.*/", "")
    end
    if not webp then assert.matches("^a.webp' is a WebP image, expected", table.remove(said, 1)) end
    for i, text in ipairs {
      "b' is a GIF image, expected", "c.jpg' is an HTML page, expected", "d.png' is empty",
      "e.png' is a FIFO, expected a regular file", "f.png': No such file",
      "g.png' is a folder, expected a regular file",
    } do
      assert.equal(text, said[i]:sub(1, #text))
    end
    assert.equal(webp and 6 or 5, mt.data.size(set))
  end)

  it("names all files that cannot be read at once", function()
    fill()
    for i = 1, 600 do
      assert(io.open(("%s/Ant/x%d.png"):format(root, i), "wb")):close()
    end
    local _, message = pcall(read)
    assert.matches("600 image files cannot be read", message)
    assert.equal(600, select(2, message:gsub("\n  '[^\n]*x%d+%.png' is empty", "")))
  end)

  it("refuses a class of which no image can be read", function()
    fill()
    os.remove(root .. "/b zebra/x.jpg")
    write("b zebra/x.jpg", "text")
    assert.error_matches(function() read { on_error = "skip" } end, "no image of class 'b zebra' can be read")
  end)

  it("gives a validation set the labels of the training set's classes", function()
    fill()
    local classes = read().class_names
    for _, name in ipairs { "Ant/1.png", "cat/2.png", "none/notes.txt" } do
      picture("valid/" .. name)
    end
    write("valid/none/notes.txt", "text")
    mt.make_directory(root .. "/valid/b zebra")
    local set, said = read_saying { root = root .. "/valid", class_names = classes }
    assert.same({ 1, 3 }, set.labels:totable())
    assert.same(classes, set.class_names)
    assert.equal(3, set.classes)
    assert.same({ "b zebra" }, set.missing_classes)
    assert.matches("no image of b zebra in '" .. root .. "/valid'", said)
    picture "valid/fish/3.png"
    assert.error_matches(function() read { root = root .. "/valid", class_names = classes } end,
      "/valid/fish' is not a class: class_names has Ant, b zebra, cat")
    os.execute(("rm -r '%s/valid/fish'"):format(root))
    picture "valid/ant/3.png"
    assert.error_matches(function() read { root = root .. "/valid", class_names = classes } end,
      "/valid/ant' is not a class: class_names has 'Ant', which differs in case")
    -- one class alone is a set where the classes are given
    picture "one/cat/1.png"
    assert.same({ 3 }, read { root = root .. "/one", class_names = classes }.labels:totable())
    mt.make_directory(root .. "/empty/cat")
    assert.error_matches(function() read { root = root .. "/empty", class_names = classes } end,
      "has no image in a folder of a class")
    assert.error_matches(function() read { class_names = { "a", "b", "a" } } end,
      "option 'class_names': 'a' is there twice")
    assert.error_matches(function() read { class_names = {} } end, "option 'class_names': list of 1 or more")
  end)

  describe("with a root one level too high or too low", function()
    local above
    before_each(function()
      os.execute(("rm -r '%s'/*"):format(root))
      above = root .. "/set"
    end)

    local function fill_classes(place)
      for _, class in ipairs { "cat", "dog" } do
        picture(("%s/%s/1.png"):format(place, class))
      end
    end

    it("names the folder of a split", function()
      for _, split in ipairs { "test", "train", "val" } do
        fill_classes("set/" .. split)
      end
      mt.make_directory(above .. "/annotations")
      assert.error_matches(function() read { root = above } end,
        "/set' has images in test, train, val, which look like splits, not classes: try root = '.*/set/train'")
      assert.equal(2, mt.data.size(read { root = above .. "/train" }))
    end)

    it("sees splits without classes", function()
      picture "set/train/cat.1.png"
      picture "set/test/1.png"
      assert.error_matches(function() read { root = above } end,
        "images in test, train, which look like splits, not classes, and there is no folder for each class in '.*n'")
      -- but they may be classes, if one says so
      assert.same({ 1, 2 }, read({ root = above, class_names = { "test", "train" } }).labels:totable())
    end)

    it("names the only folder in it", function()
      fill_classes "set/data"
      assert.error_matches(function() read { root = above } end,
        "/set' has 1 folders, expected 2 or more .*; there are folders of images in '.*/set/data': try that as root")
    end)

    it("names the folder above that of one class", function()
      fill_classes "set"
      assert.error_matches(function() read { root = above .. "/cat/" } end, "cat/' has 0 folders, expected 2 or more "
        .. "%(one for each class%); it has 1 images itself, so it looks like the folder of one class: try root = '"
        .. above .. "'")
    end)

    it("says where the classes may lie deeper", function()
      fill_classes "set/fold1"
      fill_classes "set/fold2"
      local set, said = read_saying { root = above }
      assert.same({ "fold1", "fold2" }, set.class_names)
      assert.matches("every folder in '.*/set' has the folders cat, dog: if those are the classes, root is one of "
        .. "fold1, fold2", said)
    end)

    it("says that two classes differ only in case", function()
      fill_classes "set"
      picture "set/Cat/1.png"
      local set, said = read_saying { root = above }
      assert.same({ "Cat", "cat", "dog" }, set.class_names)
      assert.matches("the folders 'Cat' and 'cat' differ only in case, and are two classes", said)
    end)
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
    end)

    it("is told from others by the files' names and sizes, without reading them", function()
      local digest = require("masktune.checkpoint").dataset_digest
      local function again(options)
        options = options or {}
        options.memory_limit = 0
        return digest(read(options))
      end
      local before = again()
      assert.equal(before, again())
      assert.are_not.equal(before, again { size = 9 })
      assert.are_not.equal(before, again { fit = "crop" })
      assert.are_not.equal(before, digest(mt.data.subset(read { memory_limit = 0 }, 24)))
      local path, content = root .. "/Ant/2.png", mt.read_file(root .. "/Ant/2.png")
      mt.write_file(path, ("x"):rep(#content))
      assert.equal(before, again())
      mt.write_file(path, content .. "x")
      assert.are_not.equal(before, again())
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
