local mt = require "masktune"
local files = require "data.files"

describe("mt.data.read_idx", function()
  local folder, path

  before_each(function()
    folder = files.temporary_folder()
    path = folder .. "/some-idx"
  end)
  after_each(function() files.remove_folder(folder) end)

  local function refuses(content, message, axes)
    mt.write_file(path, content)
    local ok, got = pcall(mt.data.read_idx, path, axes)
    assert.is_false(ok)
    assert.truthy(got:find("'" .. path .. "': " .. message, 1, true), got)
  end

  it("reads the values and sizes of any number of axes", function()
    mt.write_file(path, files.idx({ 2, 1, 3 }, "\0\1\2\253\254\255"))
    local t = mt.data.read_idx(path)
    assert.equal("uint8", t:dtype())
    assert.same({ 2, 1, 3 }, t:shape())
    assert.same({ { { 0, 1, 2 } }, { { 253, 254, 255 } } }, t:totable())
  end)

  it("reads gzipped files, whatever they are called", function()
    mt.write_file(path, mt.gzip(files.idx({ 3 }, "abc")))
    assert.same({ 97, 98, 99 }, mt.data.read_idx(path):totable())
  end)

  it("reads a file without elements", function()
    mt.write_file(path, files.idx({ 0, 28, 28 }, ""))
    assert.same({ 0, 28, 28 }, mt.data.read_idx(path):shape())
  end)

  it("refuses a truncated header", function()
    refuses("", "truncated: 0 bytes, expected a header of 4 at least")
    refuses("\0\0\8\3\0\0", "truncated: 6 bytes, expected a header of 16")
  end)

  it("refuses a wrong magic number", function()
    refuses("\0\0\13\3" .. ("\0"):rep(12), "wrong magic 0x00000d03, expected 0x00000801 to 0x00000806")
    refuses("\0\0\8\0", "wrong magic 0x00000800")
    refuses("\0\0\8\7" .. ("\0"):rep(28), "wrong magic 0x00000807")
    refuses("\137PNG", "wrong magic 0x89504e47")
  end)

  it("refuses another number of axes than asked for", function()
    refuses(files.idx({ 3 }, "abc"), "wrong magic 0x00000801, expected 0x00000803 (idx of unsigned bytes, 3 axes)", 3)
  end)

  it("refuses data that are shorter or longer than the header says", function()
    refuses(files.idx({ 2, 3 }, "12345"), "truncated: 5 bytes of data, expected 6 (2 x 3)")
    refuses(files.idx({ 2, 3 }, "1234567"), "7 bytes of data, expected 6 (2 x 3)")
    refuses(files.idx({ 2, 0xffffffff, 0xffffffff }, "x"), "sizes 2 x 4294967295 x 4294967295... are not plausible")
    refuses(files.idx({ 0xffffffff, 0xffffffff, 0 }, "x"), "sizes 4294967295 x 4294967295... are not plausible")
    refuses(files.idx({ 0xffffffff, 4 }, "x"), "truncated: 1 bytes of data, expected 17179869180")
  end)

  it("names a damaged gzip file and a missing one", function()
    local zipped = mt.gzip(files.idx({ 300 }, ("abc"):rep(100)))
    mt.write_file(path, zipped:sub(1, #zipped // 2))
    assert.error_matches(function() mt.data.read_idx(path) end, path, 1, true)
    assert.error_matches(function() mt.data.read_idx(folder .. "/absent") end, folder .. "/absent", 1, true)
    assert.error_matches(function() mt.data.read_idx(7) end, "argument 'path': string expected, got 7")
  end)
end)
