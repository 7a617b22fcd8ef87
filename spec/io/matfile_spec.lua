-- The files come from SciPy (spec/golden/images.py).
local mt = require "masktune"
local contents = require "support.contents"
local matfile = require "support.matfile"

local golden = mt.load "spec/golden/images.safetensors"

local read_string = contents.reader(mt.read_mat, "a.mat")

local function file_of(name) return golden["mat/" .. name]:bytes() end

-- ---- what SciPy does not write ----

--- An array of bytes; `change` replaces fields.
local function matrix(change)
  local fields = { sizes = { 2, 3 }, name = "a", values = "\1\2\3\4\5\6" }
  return matfile.array(mt.tables.merged(fields, change or {}))
end

local mat = matfile.file

describe("read_mat", function()
  for _, kind in ipairs { "plain", "compressed" } do
    it("reads the numeric arrays of a " .. kind .. " file with the axes reversed, and passes over the rest", function()
      local arrays = read_string(file_of(kind))
      local names = {}
      for name in pairs(arrays) do
        names[#names + 1] = name
      end
      table.sort(names)
      assert.same({ "X", "double", "empty", "int16", "int64", "one", "small", "y" }, names)
      assert.equal("uint8", arrays.X:dtype())
      assert.same({ 2, 3, 5, 4 }, arrays.X:shape())
      -- X was 0, 1, 2 ... along its axes 4, 3, 2, 1, each backwards the fastest
      local upright = arrays.X:permute(4, 3, 2, 1):to("int32"):reshape(-1)
      assert.equal(0, (upright - mt.arange(0, 120, "int32")):abs():max():item())
      assert.same({ { 10, 3 } }, arrays.y:totable())
      assert.equal("float32", arrays.small:dtype())
      assert.same({ { 1 }, { 2 }, { 250 } }, arrays.small:totable())
      assert.same({ { 0.5, 3.25 }, { -1e10, math.huge } }, arrays.double:totable())
      assert.equal("int32", arrays.int64:dtype())
      assert.same({ { -2 ^ 31 }, { 2 ^ 31 - 1 } }, arrays.int64:totable())
      assert.same({ { -5 }, { 300 }, { 7 } }, arrays.int16:totable())
      assert.same({ { 7 } }, arrays.one:totable())
      assert.same({ 3, 0 }, arrays.empty:shape())
    end)

    it("refuses a " .. kind .. " file cut short, and names it", function()
      local whole = file_of(kind)
      for length = 1, #whole - 1, 5 do
        local ok, message = pcall(read_string, whole:sub(1, length))
        if ok then
          -- whole elements may be missing: nothing in the file tells
          assert.is_true(length >= 128)
        else
          assert.truthy(message:find("read_mat: 'a.mat'", 1, true), message)
        end
      end
    end)
  end

  it("reads what the little writer of this spec writes", function()
    assert.same({ { 1, 2 }, { 3, 4 }, { 5, 6 } }, read_string(mat(matrix())).a:totable())
  end)

  it("refuses damage, and says what it is", function()
    for message, content in pairs {
      ["'a.mat' is truncated: 3 bytes"] = "abc",
      ["'a.mat' is not a MAT-file of version 5"] = ("x"):rep(200),
      ["'a.mat' is HDF5"] = "\x89HDF\r\n\x1a\n" .. ("\0"):rep(300),
      ["'a.mat' is of version 7.3 (HDF5)"] = mat():sub(1, 124) .. "\0\2IM",
      ["'a.mat' has big-endian numbers"] = mat():sub(1, 124) .. "\1\0MI",
      ["array 'a': 6 bytes of values, expected 7 values for {7,1}"] = mat(matrix { sizes = { 1, 7 } }),
      ["an array has a negative size"] = mat(matrix { sizes = { -1, 6 } }),
      ["the sizes of an array are damaged"] = mat(matrix { sizes = { 1, 1, 1, 1, 1, 1, 6 } }),
      ["the name of an array is damaged"] = mat(matrix { name = ("n"):rep(64) }),
      ["array 'a': its values are of an unknown type"] = mat(matrix { kind = 99 }),
      ["array 'a': its element is longer than its values"] = mat(matrix { extra = ("\0"):rep(8) }),
      ["array 'a': it is in the file twice"] = mat(matrix(), matrix()),
      ["array 'a': a value is not in 0 to 255"] = mat(matrix { kind = 1, values = "\1\2\3\4\5\255" }),
      ["'a.mat' is truncated: an element of 1000 bytes"] = mat(matrix(), ("<I4I4"):pack(14, 1000) .. "\0\0\0\0"),
      ["it is truncated, or has bytes after its end"] = mat(matrix(), "\0\0\0"),
      ["a compressed element is damaged"] = mat(("<I4I4"):pack(15, 16) .. ("z"):rep(16)),
      ["array 'a': a value does not fit in int32"] = file_of "too_large",
    } do
      local ok, problem = pcall(read_string, content)
      assert.is_false(ok, message)
      assert.truthy(problem:find("read_mat: ", 1, true) and problem:find(message, 1, true), problem)
    end
  end)

  it("refuses a compressed array with any byte of its data changed", function()
    local whole = file_of "too_large"
    for position = 137, #whole do
      local changed = whole:sub(1, position - 1) .. string.char(whole:byte(position) ~ 0x10) .. whole:sub(position + 1)
      assert.error(function() read_string(changed) end)
    end
  end)

  it("refuses sizes that would take more memory than the file can hold", function()
    local before = mt.memory().peak
    for _, sizes in ipairs { { 0x7fffffff, 0x7fffffff }, { 0x7fffffff, 1 }, { 1 << 20, 1 << 12 } } do
      assert.error(function() read_string(mat(matrix { sizes = sizes })) end)
    end
    assert.is_true(mt.memory().peak - before < 1 << 20)
  end)

  it("refuses what is no path", function()
    assert.error_matches(function() mt.read_mat "/nowhere/a.mat" end, "cannot open '/nowhere/a.mat'")
    assert.error_matches(function() mt.read_mat(3) end, "string expected")
    assert.error_matches(function() mt.read_mat "" end, "path expected")
  end)
end)
