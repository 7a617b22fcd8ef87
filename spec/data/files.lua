-- Temporary folders and idx files for the specs of mt.data.
local mt = require "masktune"

local files = {}

function files.temporary_folder()
  local path = os.tmpname()
  os.remove(path)
  mt.make_directory(path)
  return path
end

function files.remove_folder(path)
  assert(path:find("^/tmp/[%w_]+$"))
  os.execute("rm -rf " .. path)
end

--- The bytes of an idx file of unsigned bytes.
function files.idx(shape, data)
  return (">I4"):pack(0x800 | #shape) .. (">I4"):rep(#shape):pack(table.unpack(shape)) .. data
end

--- Writes a tiny MNIST: 2x3 images whose pixels count up, with the given digits.
function files.write_mnist(folder, split, digits, suffix)
  local prefix = split == "train" and "train" or "t10k"
  local pixels = {}
  for i = 1, 6 * #digits do
    pixels[i] = string.char(i % 256)
  end
  local contents = {
    ["-images-idx3-ubyte"] = files.idx({ #digits, 2, 3 }, table.concat(pixels)),
    ["-labels-idx1-ubyte"] = files.idx({ #digits }, string.char(table.unpack(digits))),
  }
  for name, content in pairs(contents) do
    if suffix == ".gz" then content = mt.gzip(content) end
    mt.write_file(folder .. "/" .. prefix .. name .. (suffix or ""), content)
  end
end

return files
