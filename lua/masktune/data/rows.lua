--- Rows of numbers that stay in a safetensors file and are read when they are looked at: for embeddings that are larger
-- than memory. To a loader they are what the float32 tensor {N,D} would be. (They are read, not mapped into memory: a
-- mapped file that another program cuts short takes the whole process down; a read that falls short is an error.)
-- @classmod masktune.Rows
local check = require "masktune.check"
local core = require "masktune.core"
local json = require "masktune.json"

local FLOAT = 4 -- bytes

local Rows, methods = { __name = "masktune.Rows", streams = true }, {}

local rows = {}

-- ---- reading ----

--- Some consecutive rows as bytes.
local function read(self, file, first, count)
  file:seek("set", self.offset + (first - 1) * self.width * FLOAT)
  local bytes = count > 0 and file:read(count * self.width * FLOAT) or ""
  if bytes and #bytes == count * self.width * FLOAT then return bytes end
  error(("'%s' no longer holds row %d of '%s'"):format(self.path, first + count - 1, self.name), 0)
end

--- The rows at some positions as a tensor; runs of neighbours are read at once.
local function tensor_of(self, positions)
  local file, problem = io.open(self.path, "rb")
  if not file then error("rows can no longer be read: " .. problem, 0) end
  local parts, at = {}, 1
  local ok, message = pcall(function()
    while at <= #positions do
      local count = 1
      while positions[at + count] == positions[at] + count do count = count + 1 end
      parts[#parts + 1] = read(self, file, positions[at], count)
      at = at + count
    end
  end)
  file:close()
  if not ok then error(message, 0) end
  return core.from_bytes(table.concat(parts), "float32", { #positions, self.width })
end

local function real(self, positions)
  if type(positions) == "userdata" then positions = positions:totable() end
  local found = {}
  for i, position in ipairs(positions) do
    if math.type(position) ~= "integer" or position < 1 or position > #self then
      check.fail("rows: position %s, expected 1 to %d", check.describe(position), #self)
    end
    found[i] = self.positions and self.positions[position] or position
  end
  return found
end

function Rows:__len() return self.positions and #self.positions or self.count end

--- A row as a tensor {D} for a number, else a method.
function Rows:__index(key)
  if math.type(key) ~= "integer" then return methods[key] end
  return tensor_of(self, real(self, { key }))[1]
end

--- "float32"
function methods.dtype() return "float32" end

--- True: a loader needs no threads to have them read ahead.
function methods.is_in_memory() return true end

--- {N,D}
function methods:shape() return { #self, self.width } end

--- The length of one axis, or the shape.
function methods:size(axis)
  if axis == nil then return self:shape() end
  return self:shape()[axis]
end

--- Some of the rows, still in the file.
-- @tparam {integer,...}|Tensor positions from 1
-- @treturn Rows
function methods:index(positions)
  return setmetatable({
    path = self.path, name = self.name, offset = self.offset, width = self.width, count = self.count,
    positions = real(self, positions),
  }, Rows)
end

--- Rows one after the other.
-- @treturn Tensor float32 {count,D}
function methods:narrow(axis, first, count)
  if axis ~= 1 then check.fail("rows: narrow of axis %s, expected 1", check.describe(axis)) end
  local positions = {}
  for i = 1, count do
    positions[i] = first + i - 1
  end
  return tensor_of(self, real(self, positions))
end

local CHUNK = 4096

--- The digest of the values, from those of a few rows at a time.
-- @tparam function of_tensor tensor -> digest
-- @treturn string
function methods:digest(of_tensor)
  local sums = {}
  for first = 1, #self, CHUNK do
    sums[#sums + 1] = of_tensor(self:narrow(1, first, math.min(CHUNK, #self - first + 1)))
  end
  return core.md5(table.concat(sums, " "))
end

--- A batch for a net.
-- @tparam Tensor indices int32 {B}, from 1
-- @treturn Tensor float32 {B,D}
function methods:batch(indices) return tensor_of(self, real(self, indices)) end

--- The header of a safetensors file, and where the data begin.
local function header_of(path)
  local file, problem = io.open(path, "rb")
  if not file then error(problem, 0) end
  local size = ("<i8"):unpack(file:read(8) or ("\0"):rep(8))
  local text = size > 0 and size <= file:seek("end") - 8 and file:seek("set", 8) and file:read(size)
  file:close()
  if not text then error(("'%s' is no safetensors file"):format(path), 0) end
  return json.decode(text), 8 + size
end

--- The rows of one tensor {N,D} of a safetensors file.
-- @string path
-- @string name of the tensor
-- @treturn Rows
function rows.open(path, name)
  local header, data = header_of(path)
  local entry = header[name]
  if type(entry) ~= "table" or entry.dtype ~= "F32" or #entry.shape ~= 2 then
    error(("'%s' has no float32 tensor {N,D} called '%s'"):format(path, name), 0)
  end
  return setmetatable({
    path = path, name = name, offset = data + entry.data_offsets[1], width = entry.shape[2], count = entry.shape[1],
  }, Rows)
end

-- ---- writing ----

--- Writes rows as they come: write(tensor {n,D}) for each part, then write() for the end, which puts the file in its
-- place; until then it has another name.
-- @string path
-- @string name of the tensor
-- @tparam integer count
-- @tparam integer width
-- @tparam table metadata name -> string
-- @treturn function
function rows.writer(path, name, count, width, metadata)
  local header = json.encode {
    __metadata__ = metadata,
    [name] = { dtype = "F32", shape = json.array { count, width },
      data_offsets = json.array { 0, count * width * FLOAT } },
  }
  header = header .. (" "):rep(-#header % 8)
  local unfinished = path .. ".part"
  local file = assert(io.open(unfinished, "wb"))
  assert(file:write(("<i8"):pack(#header), header))
  return function(part)
    if part then return assert(file:write(part:bytes())) end
    assert(file:close())
    assert(os.rename(unfinished, path))
  end
end

return rows
