local mt = require "masktune"
local download = require "masktune.data.download"
local files = require "data.files"
local loopback = require "data.loopback"

local missing = loopback.missing()

describe("download from a server on loopback", function()
  if missing then
    it("is not tested here", function() pending(missing) end)
    return
  end

  local served, target, server
  local content = ("the content of a file "):rep(2000)

  setup(function()
    served = files.temporary_folder()
    mt.write_file(served .. "/file.gz", mt.gzip(content))
    server = loopback.start(served)
  end)
  teardown(function()
    server.stop()
    files.remove_folder(served)
  end)
  before_each(function() target = files.temporary_folder() end)
  after_each(function() files.remove_folder(target) end)

  local function fetch(...)
    local mirrors, log = {}, {}
    for i, behaviour in ipairs { ... } do
      mirrors[i] = behaviour:find("^http") and behaviour or server.url .. behaviour
    end
    local ok, message = pcall(download.fetch, {
      mirrors = mirrors, name = "file.gz", path = target .. "/file.gz", timeout = 1,
      log = function(line) log[#log + 1] = line end,
      problem = function(path) return download.md5_problem(path, mt.md5(content)) end,
    })
    return ok, message, log
  end

  local function fails(behaviour, reason)
    local ok, message = fetch(behaviour)
    assert.is_false(ok)
    assert.matches("^mt.data.download: no mirror gave file.gz:\n  http://127.0.0.1:%d+/%w+/file.gz: ", message)
    assert.truthy(message:find(reason), message)
    assert.same({}, mt.list_directory(target))
  end

  it("puts the file in place when its content is right", function()
    local ok, message, log = fetch("good")
    assert.is_true(ok, message)
    assert.equal(content, mt.gunzip(target .. "/file.gz"))
    assert.same({ "file.gz" }, mt.list_directory(target))
    assert.same({ "downloading " .. server.url .. "good/file.gz" }, log)
  end)

  it("follows redirects, and takes base URLs with or without the last slash", function()
    assert.is_true((fetch("moved/")))
    assert.equal(content, mt.gunzip(target .. "/file.gz"))
  end)

  it("refuses a wrong content, and leaves no file", function()
    fails("wrong", "md5 of the content is %x+, expected " .. mt.md5(content))
  end)

  it("reports what the server says", function() fails("absent", "404") end)

  it("notices a transfer that broke off", function() fails("broken", "%w") end)

  it("notices half a file that the server calls whole", function() fails("half", "the file is truncated") end)

  it("gives up a server that sends nothing", function()
    local start = mt.clock()
    fails("slow", "%w")
    assert.is_true(mt.clock() - start < 15)
  end)

  it("goes on to the next mirror, and names every one that failed", function()
    local ok, _, log = fetch("http://127.0.0.1:9/", "absent", "good")
    assert.is_true(ok)
    assert.equal(3, #log)
    os.remove(target .. "/file.gz")
    local _, message = fetch("http://127.0.0.1:9/", "absent", "wrong")
    assert.matches("127.0.0.1:9/file.gz: .*[Rr]efused.*absent/file.gz: .*404.*wrong/file.gz: md5", message:gsub(
      "Failed to connect[^\n]*", "refused"))
  end)

  it("leaves an existing file alone when nothing better came", function()
    mt.write_file(target .. "/file.gz", "old")
    assert.is_false((fetch("wrong")))
    assert.equal("old", mt.read_file(target .. "/file.gz"))
  end)

  it("never lets the shell read a name", function()
    local trap = target .. "/trap"
    local ok, message = fetch("http://127.0.0.1:9/'; touch " .. trap .. "; echo '$(touch " .. trap .. ")")
    assert.is_false(ok)
    assert.is_false(mt.file_exists(trap), message)
    assert.is_false((fetch("http://127.0.0.1:9/\0")))
  end)

  it("speaks http and https only", function()
    assert.is_false((fetch("http://127.0.0.1:9", "file://" .. served)))
    assert.same({}, mt.list_directory(target))
  end)
end)

describe("mt.data.download_mnist", function()
  local root = mt.data.find_mnist()
  local folder = files.temporary_folder()
  local server = nil

  teardown(function()
    if server then server.stop() end
    files.remove_folder(folder)
  end)

  it("fetches what is missing or damaged, and only that", function()
    if missing then return pending(missing) end
    if not root or not mt.file_exists(root .. "/t10k-labels-idx1-ubyte.gz") then
      return pending "gzipped MNIST is not on this machine; set MASKTUNE_DATA to its folder"
    end
    server = loopback.start(root)
    local log = {}
    local options = {
      root = folder .. "/new/cache", mirrors = { server.url .. "good/" }, timeout = 5,
      log = function(line) log[#log + 1] = line end,
    }
    assert.equal(options.root, mt.data.download_mnist(options))
    assert.equal(4, #log)
    assert.equal(options.root, mt.data.find_mnist(options.root))
    mt.write_file(options.root .. "/t10k-labels-idx1-ubyte.gz", mt.gzip "damaged")
    mt.data.download_mnist(options)
    assert.equal(5, #log)
    assert.equal(10000, mt.data.size(mt.data.mnist { root = options.root, split = "test" }))
  end)

  it("refuses unknown options and an empty list of mirrors", function()
    assert.error_matches(function() mt.data.download_mnist { mirrors = {} } end,
      "option 'mirrors': list of 1 or more, each string expected")
    assert.error_matches(function() mt.data.download_mnist { url = "x" } end, "unknown option 'url'")
  end)
end)
