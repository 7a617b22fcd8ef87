--- Files that exist only for one call: what a reader makes of some bytes.
local mt = require "masktune"
local process = require "support.process"

local contents = {}

--- Bytes from hexadecimal digits.
function contents.from_hex(hex)
  return (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

--- Turns a reader of paths into one of strings; in its messages the file is called `name`.
function contents.reader(read, name)
  return function(content, ...)
    local path = os.tmpname()
    -- mt.write_file waits for the disk, a thousand times in some specs
    local file = assert(io.open(path, "wb"))
    assert(file:write(content))
    file:close()
    local results = table.pack(pcall(read, path, ...))
    os.remove(path)
    if not results[1] then error((results[2]:gsub(path:gsub("%p", "%%%0"), name)), 0) end
    return table.unpack(results, 2, results.n)
  end
end

--- Asserts that reading fails again and again without keeping memory.
function contents.assert_nothing_kept(read, content)
  local before = mt.memory().live
  for _ = 1, 100 do
    assert(not pcall(read, content), "the file was read")
  end
  assert(mt.memory().live <= before, "memory is kept")
end

--- Asserts that write(path, value) refuses each value, with the message that is its key, and leaves the old file.
function contents.assert_refused(write, values)
  process.with_folder(function(folder)
    local path = folder .. "/a"
    mt.write_file(path, "old")
    for message, value in pairs(values) do
      local ok, problem = pcall(write, path, value)
      assert(not ok, "not refused: " .. message)
      assert(problem:find(message, 1, true), problem)
    end
    assert(mt.read_file(path) == "old", "the old file is gone")
  end)
end

return contents
