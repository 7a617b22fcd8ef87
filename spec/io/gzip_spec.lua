local mt = require "masktune"
local contents = require "support.contents"
local process = require "support.process"

-- Python: gzip.GzipFile("name.txt", "wb", fileobj=..., mtime=0) with b"hello hello hello hello, gzip"
local made_by_python = contents.from_hex(
  "1f8b08080000000002ff6e616d652e74787400cb48cdc9c957c840277514d2ab320b00fcefcf651d000000")
local text = "hello hello hello hello, gzip"

-- Bytes that compress badly, so that the compressed data is long.
local noise = {}
do
  local state = 1
  for i = 1, 3000 do
    state = state * 1103515245 + 12345 & 0x7fffffff
    noise[i] = string.char(state >> 16 & 255)
  end
  noise = table.concat(noise)
end

describe("gunzip", function()
  it("reads what another program wrote, with a file name in the header", function()
    assert.equal(text, mt.gunzip(made_by_python))
  end)

  it("reads a file by its path", function()
    process.with_folder(function(folder)
      mt.write_file(folder .. "/a.gz", mt.gzip(noise))
      assert.equal(noise, mt.gunzip(folder .. "/a.gz"))
      if process.has("gzip") then
        local _, output = process.run(("gzip -dc %s/a.gz | md5sum"):format(folder))
        assert.equal(mt.md5(noise), output:match("^%x+"))
      end
    end)
  end)

  it("gives back what gzip got: nothing, noise, and data that shrinks a thousandfold", function()
    for _, data in ipairs{ "", "x", noise, ("\0"):rep(3000000) } do
      assert.equal(data, mt.gunzip(mt.gzip(data)))
    end
  end)

  it("reads several members one after the other", function()
    assert.equal(text .. noise .. text, mt.gunzip(made_by_python .. mt.gzip(noise) .. made_by_python))
  end)

  it("refuses data cut short at any byte", function()
    for _, whole in ipairs{ made_by_python, mt.gzip(noise) } do
      for length = 2, #whole - 1, #whole < 100 and 1 or 37 do
        assert.error_matches(function()
          mt.gunzip(whole:sub(1, length))
        end, "gunzip: 'data' is truncated", nil, nil, "length " .. length)
      end
    end
  end)

  it("refuses a wrong checksum, a wrong length, damaged blocks and trailing bytes", function()
    local function with_byte(position, value)
      return made_by_python:sub(1, position - 1) .. string.char(value) .. made_by_python:sub(position + 1)
    end
    local n = #made_by_python
    local crc, length = made_by_python:byte(n - 7), made_by_python:byte(n - 3)
    for message, data in pairs{
      ["is damaged %(incorrect data check%)"] = with_byte(n - 7, crc ~ 1),
      ["is damaged %(incorrect length check%)"] = with_byte(n - 3, length ~ 1),
      ["is damaged %(unknown compression method%)"] = with_byte(3, 7),
      ["has 5 bytes after the end of its data"] = made_by_python .. "extra",
      ["has 1 bytes after the end of its data"] = made_by_python .. "\0",
    } do
      assert.error_matches(function()
        mt.gunzip(data)
      end, message)
    end
  end)

  it("stops at the limit, however large the result would be", function()
    assert.equal(text, mt.gunzip(made_by_python, #text))
    assert.error_matches(function()
      mt.gunzip(made_by_python, #text - 1)
    end, "gunzip: 'data' holds more than 28 bytes")
    assert.error_matches(function()
      mt.gunzip(mt.gzip(("\0"):rep(3000000)), 1000)
    end, "more than 1000 bytes")
    assert.equal("", mt.gunzip(mt.gzip(""), 0))
  end)

  it("names the file that is missing or not gzip", function()
    assert.error_matches(function()
      mt.gunzip("/nowhere.gz")
    end, "cannot open '/nowhere.gz': No such file or directory")
    process.with_folder(function(folder)
      mt.write_file(folder .. "/plain", "plain text")
      assert.error_matches(function()
        mt.gunzip(folder .. "/plain")
      end, "gunzip: '[^']*/plain' is not gzip data")
    end)
    assert.error_matches(function()
      mt.gunzip(made_by_python, -1)
    end, "integer")
  end)
end)
