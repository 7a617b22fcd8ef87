--- Files of rows that are filled in any order and survive their process.
local core = require "masktune.core"
local mt = require "masktune"
local process = require "support.process"
local row_file = require "masktune.data.row_file"

local function in_folder(f)
  return function() process.with_folder(function(folder) f(folder .. "/rows.safetensors") end) end
end

local function options(more)
  local o = { name = "rows", dtype = "uint8", shape = { 5, 3 }, settings = { a = 1, b = "two" } }
  for name, value in pairs(more or {}) do
    o[name] = value
  end
  return o
end

local function open(path, more) return row_file.open("spec", path, options(more)) end

local rows = mt.tensor({ { 1, 2, 3 }, { 4, 5, 6 }, { 0, 0, 0 }, { 255, 0, 1 }, { 7, 8, 9 } }, { dtype = "uint8" })

local function get(file, place)
  local row = mt.zeros({ 1, 3 }, "uint8")
  return file:get(place, row) == 1 and row:totable()[1] or nil
end

--- Writes bytes over those of a file, in place.
local function overwrite(path, at, bytes)
  local file = assert(io.open(path, "r+b"))
  file:seek("set", at)
  file:write(bytes)
  file:close()
end

describe("a file of rows", function()
  it("is filled in any order, and a safetensors file once it is whole", in_folder(function(path)
    local file = open(path)
    assert.equal(0, file:present())
    for _, place in ipairs { 4, 1, 5, 3 } do
      file:put(place, rows:narrow(1, place, 1))
      assert.is_false(mt.file_exists(path))
    end
    assert.is_nil(get(file, 2))
    file:put(2, rows:narrow(1, 2, 1))
    assert.equal(5, file:present())
    assert.is_true(mt.file_exists(path))
    assert.is_false(mt.file_exists(path .. ".partial"))
    local loaded = mt.load(path)
    assert.equal(rows:bytes(), loaded.rows:bytes())
    assert.same({ 5 }, loaded.checks:shape())
    assert.same({ a = 1, b = "two" }, mt.json.decode(mt.load_metadata(path).settings))
    local all = mt.zeros({ 5, 3 }, "uint8")
    assert.equal(5, open(path):get(1, all))
    assert.equal(rows:bytes(), all:bytes())
    assert.same({ 5, 3 }, row_file.shape(path, "rows"))
  end))

  it("goes on where its process ended", in_folder(function(path)
    local file = open(path)
    file:put(2, rows:narrow(1, 2, 2))
    file:close()
    file = open(path)
    assert.equal(2, file:present())
    assert.same({ 4, 5, 6 }, get(file, 2))
    assert.same({ 0, 0, 0 }, get(file, 3))
    assert.is_nil(get(file, 1))
    file:put(1, rows:narrow(1, 1, 1))
    file:put(4, rows:narrow(1, 4, 2))
    assert.equal(rows:bytes(), mt.load(path).rows:bytes())
  end))

  it("forgets a row whose bytes were lost, before and at the end", in_folder(function(path)
    local file = open(path)
    file:put(1, rows:narrow(1, 1, 4))
    file:close()
    overwrite(path .. ".partial", 4096 + 3, "\0\0\0")
    overwrite(path .. ".partial", 4096 + 9, "\1")
    file = open(path)
    assert.is_nil(get(file, 2))
    assert.equal(3, file:present())
    file:put(2, rows:narrow(1, 2, 1))
    file:put(5, rows:narrow(1, 5, 1)) -- the last that is missing, if the fourth could be trusted
    assert.is_false(mt.file_exists(path))
    assert.equal(4, file:present())
    file:put(4, rows:narrow(1, 4, 1))
    assert.equal(rows:bytes(), mt.load(path).rows:bytes())
  end))

  it("is begun anew where not even its header was written", in_folder(function(path)
    for _, content in ipairs { "", ("\0"):rep(5000), ("\0"):rep(7) } do
      mt.write_file(path .. ".partial", content)
      local file = open(path)
      assert.equal(0, file:present())
      file:close()
    end
  end))

  it("is refused where it depends on something else, which is said", in_folder(function(path)
    local file = open(path)
    file:put(1, rows:narrow(1, 1, 1))
    file:close()
    local function refused(more, text)
      local ok, message = pcall(open, path, more)
      assert.is_false(ok)
      assert.truthy(tostring(message):find(text, 1, true), message)
    end
    for _ = 1, 2 do
      refused({ settings = { a = 2, b = "two" } }, "a is 1 there, 2 in this run")
      refused({ settings = { a = 1 } }, "b is two there, none in this run")
      refused({ shape = { 6, 3 } }, "it was made for something else")
      refused({ shape = { 3, 5 } }, "it was made for something else")
      refused({ name = "other" }, "other settings")
      file = open(path)
      file:put(1, rows)
      file:close()
    end
    mt.save(path, { rows = rows })
    refused({}, "is no file of rows")
    mt.write_file(path, "something")
    refused({}, path)
    os.remove(path)
    mt.make_directory(path)
    refused({}, path)
  end))

  it("is filled by one at a time", in_folder(function(path)
    local file = open(path)
    assert.error_matches(function() open(path) end, "it is in use")
    file:put(1, rows)
    assert.equal(5, open(path):present())
    file:close()
    assert.error_matches(function() file:present() end, "already closed")
  end))

  it("says that it was cut short, while it is in use and before", in_folder(function(path)
    local file = open(path)
    file:put(1, rows)
    file:close()
    file = open(path)
    local content = mt.read_file(path)
    local cut = assert(io.open(path, "wb")) -- in place, unlike mt.write_file
    cut:write(content:sub(1, 4100))
    cut:close()
    assert.same({ 1, 2, 3 }, get(file, 1))
    assert.error_matches(function() get(file, 4) end, "truncated")
    assert.error_matches(function() open(path) end, "safetensors")
  end))

  it("checks what is put", in_folder(function(path)
    local file = open(path)
    assert.error_matches(function() file:put(0, rows) end, "integer in %[1, 5%]")
    assert.error_matches(function() file:put(2, rows) end, "at most 4 rows of 3 bytes")
    assert.error_matches(function() file:put(1, mt.zeros(2, 3)) end, "rows of 3 bytes")
    assert.error_matches(function() file:put(1, mt.tensor(1)) end, "rows of 3 bytes")
    assert.error_matches(function() core.data.row_file(path, "short", 1, 1) end, "8 bytes or more")
    assert.error_matches(function() core.data.row_file("/dev/null/x", ("x"):rep(8), 1, 1) end, "/dev/null/x")
  end))

  it("get their name where whoever put the last row was killed before, and are closed after an error", in_folder(
    function(path)
      local one = row_file.open("spec", path, options(), true)
      local other = row_file.open("spec", path, options(), true) -- neither knows what the other has put
      one:put(1, rows:narrow(1, 1, 4))
      other:put(5, rows:narrow(1, 5, 1))
      one:close()
      other:close()
      assert.is_true(mt.file_exists(path .. ".partial"))
      local function never() error("all rows are there", 0) end
      for _ = 1, 2 do
        local file = row_file.filled("spec", path, options(), never)
        assert.same({ 7, 8, 9 }, get(file, 5))
      end
      assert.is_false(mt.file_exists(path .. ".partial"))

      local function stopped() error("stopped", 0) end
      for _ = 1, 2 do
        local ok, message = pcall(row_file.filled, "spec", path .. "2", options(), stopped)
        assert.same({ false, "stopped" }, { ok, message })
      end
    end))
end)
