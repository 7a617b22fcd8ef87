--- Decoded images on disk.
local mt = require "masktune"
local files = require "data.files"
local process = require "support.process"

describe("a cache of decoded images", function()
  local root, folder

  before_each(function()
    root = files.temporary_folder()
    folder = root .. "/cache"
    mt.manual_seed(6)
    for i = 1, 12 do
      local class = ("%s/photos/%d"):format(root, i % 2)
      mt.make_directory(class)
      mt.image.write_png(("%s/%02d.png"):format(class, i), (mt.rand(10 + i, 20, 3) * 255):to("uint8"))
    end
  end)

  after_each(function() files.remove_folder(root) end)

  local function set_of(more)
    local options = { root = root .. "/photos", size = 9, cache = folder, memory_limit = 0 }
    for name, value in pairs(more or {}) do
      options[name] = value
    end
    return mt.data.image_folder(options)
  end

  local function without_cache() return mt.data.image_folder { root = root .. "/photos", size = 9 } end

  local function epoch_of(set, most)
    local texts = {}
    for batch in mt.data.loader({ dataset = set, batch = 4, seed = 2 }):epoch(1) do
      texts[#texts + 1] = batch.images:bytes() .. batch.labels:bytes()
      if #texts == most then break end
    end
    return table.concat(texts)
  end

  local function cached() return mt.list_directory(folder) end

  --- Makes every image file unreadable, with the same name and size.
  local function damage()
    for class = 0, 1 do
      local place = ("%s/photos/%d"):format(root, class)
      for _, name in ipairs(mt.list_directory(place)) do
        mt.write_file(place .. "/" .. name, ("x"):rep(#mt.read_file(place .. "/" .. name)))
      end
    end
  end

  it("gives the same batches, filled by the first epoch, and then without the files' contents", function()
    local wanted = epoch_of(without_cache())
    local first = set_of()
    assert.equal(wanted, epoch_of(first))
    assert.equal(1, #cached())
    assert.matches("^images%-%x+%.safetensors$", cached()[1])
    assert.same({ 12, 9, 9, 3 }, mt.load(folder .. "/" .. cached()[1]).images:shape())
    damage()
    assert.equal(wanted, epoch_of(first))
    assert.equal(wanted, epoch_of(set_of()))
  end)

  it("that is half made is gone on with", function()
    local wanted = epoch_of(without_cache())
    local script = ([[
      local mt = require "masktune"
      mt.set_num_threads(1)
      local set = mt.data.image_folder { root = %q, size = 9, cache = %q }
      mt.data.loader({ dataset = set, batch = 2, seed = 2 }):epoch(1)()
      os.execute("kill -9 " .. io.open("/proc/self/stat"):read("n"))]]):format(root .. "/photos", folder)
    local ok = process.run(process.lua .. " -e " .. process.quoted(script))
    assert.is_false(ok)
    assert.matches("%.partial$", cached()[1])
    local again = set_of()
    local present = again.images.parts[1].origin.cache:present()
    assert.is_true(present >= 2 and present <= 6)
    assert.equal(wanted, epoch_of(again))
    assert.matches("^images%-%x+%.safetensors$", cached()[1])
  end)

  it("is refused where it was made with other settings, or the files have changed", function()
    epoch_of(set_of(), 1)
    local function refused(more, text)
      local ok, message = pcall(set_of, more)
      assert.is_false(ok)
      assert.truthy(tostring(message):find(text, 1, true), message)
    end
    refused({ size = 8 }, "height is 9 there, 8 in this run")
    refused({ fit = "crop" }, "fit is stretch there, crop in this run")
    refused({ channels = 1 }, "channels is 3 there, 1 in this run")
    mt.image.write_png(root .. "/photos/1/01.png", mt.zeros({ 30, 30, 3 }, "uint8"))
    refused({}, "files is ")
    mt.image.write_png(root .. "/photos/1/new.png", mt.zeros({ 30, 30, 3 }, "uint8"))
    epoch_of(set_of()) -- other files: a cache of their own beside it
    assert.equal(2, #cached())
  end)

  it("serves several data sets at once", function()
    local wanted, one, two = epoch_of(without_cache()), set_of(), set_of()
    assert.equal(wanted, epoch_of(two))
    assert.equal(wanted, epoch_of(one))
    assert.equal(1, #cached())
  end)

  it("that another process fills is done without, which is said", function()
    local one = set_of()
    assert.equal(0, one.images.parts[1].origin.cache:present())
    local script = ([[
      local mt = require "masktune"
      mt.notice.to(function(line) print(line) end)
      local set = mt.data.image_folder { root = %q, size = 9, cache = %q }
      print(#set.images:narrow(1, 1, 12))]]):format(root .. "/photos", folder)
    local ok, output = process.run(process.lua .. " -e " .. process.quoted(script))
    assert.is_true(ok, output)
    assert.matches("images are decoded each time: .*it is in use.*\n12\n$", output)
  end)

  it("that cannot be written is said once, and the epoch goes on #nosan", function()
    local script = ([[
      local mt = require "masktune"
      mt.notice.to(function(line) print(line) end)
      local set = mt.data.image_folder { root = %q, size = 90, cache = %q }
      assert(os.execute("prlimit --fsize=1 --pid " .. io.open("/proc/self/stat"):read("n"))) -- as a full disk would
      for _ = 1, 2 do
        local count = 0
        for batch in mt.data.loader({ dataset = set, batch = 4 }):epoch(1) do count = count + #batch.images end
        print(count)
      end]]):format(root .. "/photos", folder)
    if not process.has "prlimit" then
      pending "prlimit is not on this machine"
      return
    end
    local ok, output = process.run(("trap '' XFSZ; %s -e %s"):format(process.lua, process.quoted(script)))
    assert.is_true(ok, output)
    assert.matches("^[^\n]*images are decoded each time: cannot write [^\n]*\n12\n12\n$", output)
  end)
end)
