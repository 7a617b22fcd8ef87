--- Batches of images that stay in their files, made ahead by threads.
local mt = require "masktune"
local files = require "data.files"
local process = require "support.process"

describe("a loader of images in files", function()
  local root, said, say

  before_each(function()
    root, said = files.temporary_folder(), {}
    say = mt.notice.to(function(line) said[#said + 1] = line end)
    mt.manual_seed(5)
    for i = 1, 22 do
      local folder = ("%s/%s"):format(root, i % 2 == 0 and "even" or "odd")
      mt.make_directory(folder)
      local noise = (mt.rand(20 + i, 40 - i, 3) * 255):to("uint8")
      if i % 3 == 0 then
        mt.image.write_jpeg(("%s/%02d.jpg"):format(folder, i), noise)
      else
        mt.image.write_png(("%s/%02d.png"):format(folder, i), noise)
      end
    end
  end)

  after_each(function()
    mt.set_num_threads(2)
    mt.notice.to(say)
    files.remove_folder(root)
  end)

  local function set_of(options)
    options = options or {}
    options.root, options.size, options.memory_limit = root, options.size or 12, options.memory_limit or 0
    local set = mt.data.image_folder(options)
    set.preprocess = mt.data.preprocess { { "normalize", mean = { 0.4, 0.5, 0.6 }, std = { 0.2, 0.3, 0.4 } } }
    return set
  end

  local augment = mt.data.augment { { "horizontal_flip" }, { "affine", degrees = 20 }, { "crop", size = 10 } }

  local function loader_of(set, more)
    local options = { dataset = set, batch = 5, seed = 7, augment = augment }
    for name, value in pairs(more or {}) do
      options[name] = value
    end
    return mt.data.loader(options)
  end

  --- All that an epoch gives, as text.
  local function epoch_of(loader, epoch)
    local texts = {}
    for batch in loader:epoch(epoch or 1) do
      for _, name in ipairs { "images", "labels", "indices", "file" } do
        texts[#texts + 1] = table.concat(batch[name]:shape(), "x") .. batch[name]:bytes()
      end
    end
    return table.concat(texts)
  end

  it("gives what a loader of the same images in memory gives, at any number of threads", function()
    local memory = set_of { memory_limit = 1 << 30 }
    for _, more in ipairs { {}, { drop_last = true }, { shuffle = false }, { batch = 1 }, { batch = 100 },
      { augment = function(images) return images * 0.5 end } } do
      for epoch = 1, 2 do
        local wanted = epoch_of(loader_of(memory, more), epoch)
        for threads = 1, 5 do
          mt.set_num_threads(threads)
          assert.is_true(wanted == epoch_of(loader_of(set_of(), more), epoch))
        end
      end
    end
    assert.is_false(epoch_of(loader_of(memory), 1) == epoch_of(loader_of(memory), 2))
  end)

  it("can be used twice at once, in turns, and with no images or fewer than a batch", function()
    local set = set_of()
    local wanted = epoch_of(loader_of(set), 3)
    local one, two = loader_of(set), loader_of(set)
    local texts = { "", "" }
    local a, b = one:epoch(3), two:epoch(3)
    for _ = 1, one:batches() do
      for i, following in ipairs { a, b } do
        local batch = following()
        for _, name in ipairs { "images", "labels", "indices", "file" } do
          texts[i] = texts[i] .. table.concat(batch[name]:shape(), "x") .. batch[name]:bytes()
        end
      end
    end
    assert.is_nil((a()))
    assert.is_true(texts[1] == wanted and texts[2] == wanted)
    assert.equal("", epoch_of(loader_of(mt.data.subset(set, 0))))
    assert.equal("", epoch_of(loader_of(mt.data.subset(set, 3), { drop_last = true })))
  end)

  it("ends its threads and gives its memory back, however the loop ends", function()
    local set = set_of()
    mt.set_num_threads(3)
    local function threads()
      local file = io.open "/proc/self/status"
      if not file then return 0 end
      local text = file:read "a"
      file:close()
      return tonumber(text:match "Threads:%s*(%d+)")
    end
    epoch_of(loader_of(set))
    collectgarbage()
    collectgarbage()
    local live, count = mt.memory().live, threads()
    for batch in loader_of(set):epoch(1) do
      if #batch.labels > 0 then break end
    end
    assert.has_error(function()
      for batch in loader_of(set):epoch(1) do
        error(#batch.labels > 0 and "of the loop", 0)
      end
    end, "of the loop")
    collectgarbage()
    collectgarbage()
    assert.equal(live, mt.memory().live)
    for _ = 1, 20 do
      loader_of(set):epoch(1)()
    end
    collectgarbage()
    collectgarbage()
    assert.equal(live, mt.memory().live)
    assert.equal(count, threads())
  end)

  it("says why an image cannot be read: as an error, or leaving it out, said and counted", function()
    mt.write_file(root .. "/even/04.png", "no image")
    os.remove(root .. "/odd/09.jpg")
    local set = set_of { on_error = "skip" }
    assert.equal(21, mt.data.size(set))
    os.remove(root .. "/odd/13.png")
    local loader = loader_of(set)
    for epoch = 1, 2 do
      local seen = {}
      for batch in loader:epoch(epoch) do
        assert.equal(#batch.images, #batch.labels)
        assert.equal(#batch.images, #batch.file)
        for _, place in ipairs(batch.file:totable()) do
          seen[set.files[place]] = true
        end
      end
      local count = 0
      for _ in pairs(seen) do
        count = count + 1
      end
      assert.equal(19, count)
      assert.equal(2, loader.left_out)
    end
    local text = table.concat(said, "\n")
    assert.matches("left out .*04.png", text)
    assert.matches("left out .*13.png", text)
    assert.equal(2, #said) -- once for each file
    mt.write_file(root .. "/odd/13.png", "")
    assert.error_matches(function() epoch_of(loader_of(set_of())) end, "can no longer be read: .*%.png'")
  end)

  it("leaves what cannot be read out of what is measured", function()
    local set = set_of { on_error = "skip", size = 16 }
    local model = mt.models.small_cnn { classes = 2, input = { 16, 16, 3 } }
    set.group = set.labels
    local whole = mt.evaluate(model, set, { groups = "group", predictions = true })
    mt.write_file(root .. "/odd/13.png", "")
    local place
    for i, position in ipairs(set.file:totable()) do
      if set.files[position]:find "13.png" then place = i end
    end
    local part = mt.evaluate(model, set, { groups = "group", predictions = true, batch = 4 })
    assert.equal(22, whole.count)
    assert.equal(21, part.count)
    assert.same(part.per_class, part.per_group)
    whole.predictions[place] = 0
    assert.same(whole.predictions, part.predictions)
    assert.error_matches(function() mt.selective.predict(model, set) end, "'.*13.png'.* cannot be read")
  end)

  it("opens thousands of images without decoding one #nosan", function()
    local folder = root .. "/many"
    for class = 0, 9 do
      local place = ("%s/%d"):format(folder, class)
      mt.make_directory(place)
      assert(process.run(("head -c 1600 /dev/zero | split -b 4 -a 5 -d --additional-suffix=.jpg - %s/f"):format(place)))
    end
    local lines = { "file,label" }
    for class = 0, 9 do
      for i = 0, 399 do
        lines[#lines + 1] = ("%d/f%05d.jpg,%d"):format(class, i, class)
      end
    end
    mt.write_file(folder .. "/list.csv", table.concat(lines, "\n") .. "\n")
    for _, open in ipairs {
      function() return mt.data.csv { path = folder .. "/list.csv" } end,
      function() return mt.data.image_folder { root = folder, size = 224, memory_limit = 0 } end,
    } do
      local used = os.clock()
      local set = open()
      local digest = require("masktune.checkpoint").dataset_digest(set)
      used = os.clock() - used
      assert.equal(4000, mt.data.size(set))
      assert.equal(12, #digest)
      assert.is_true(used < 0.2, used) -- of processor time; 0.04 where two seconds are enough for 200,000
      assert.error_matches(function() return set.images[1] end, "no image of a known format")
    end
  end)

  it("goes on in a child after a fork #nosan", function()
    process.with_folder(function(folder)
      local flags = "-shared -fPIC $(pkg-config --cflags lua5.4 2>/dev/null || pkg-config --cflags lua-5.4)"
      local built = process.run(("%s -std=gnu11 -O1 %s -o %s/forking.so spec/core/forking.c"):format(
        os.getenv "CC" or "cc", flags, process.quoted(folder)))
      if not built then
        pending "a module for Lua cannot be built here"
        return
      end
      local script = ("package.cpath = %q .. package.cpath\nlocal root = %q\n"):format(folder .. "/?.so;", root) .. [[
        local fork, mt = require "forking", require "masktune"
        mt.set_num_threads(3)
        local set = mt.data.image_folder { root = root, size = 64, memory_limit = 0 }
        local function sums(following, count)
          local text = ""
          for _ = 1, count do text = text .. mt.md5(following().images:bytes()) end
          return text
        end
        local function start() return (mt.data.loader { dataset = set, batch = 4, seed = 1 }:epoch(1)) end
        local wanted = sums(start(), 5)
        for taken = 0, 4 do
          for _ = 1, 4 do
            local following = start()
            local before = sums(following, taken)
            local status = fork(function() assert(before .. sums(following, 5 - taken) == wanted) end)
            if status ~= 0 then print(status) return end
            assert(before .. sums(following, 5 - taken) == wanted)
          end
        end
        print(fork(function() assert(sums(start(), 5) == wanted) end))]]
      local ok, output = process.run(("timeout 60 %s -e %s"):format(process.lua, process.quoted(script)))
      assert.is_true(ok, output)
      assert.equal("0\n", output)
    end)
  end)

  it("may be open when the interpreter ends", function()
    local script = ([[
      local mt = require "masktune"
      local set = mt.data.image_folder { root = %q, size = 64, memory_limit = 0 }
      following = mt.data.loader { dataset = set, batch = 4 }:epoch(1)
      print(#following().images)]]):format(root)
    for _, ending in ipairs { "", " os.exit(0)", " os.exit(0, true)" } do
      local ok, output = process.run(("timeout 60 %s -e %s"):format(process.lua, process.quoted(script .. ending)))
      assert.is_true(ok, output)
      assert.equal("4\n", output)
    end
  end)
end)
