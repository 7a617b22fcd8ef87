--- Files of rows of one size, filled in any order: decoded images, heatmaps, masks (csrc/io/row_file.h). A safetensors
-- file with the rows under a name of their own, and in its metadata what they depend on; a file that depends on
-- something else is refused. Until all rows are there it is called PATH.partial, and the next run goes on with it.
-- @module masktune.data.row_file
local core = require "masktune.core"
local dist = require "masktune.dist"
local json = require "masktune.json"
local tables = require "masktune.tables"

local row_file = {}

local FORMAT = "masktune rows 1"
local PAGE = 4096 -- rows begin at a multiple of it

local item_bytes = { uint8 = 1, float32 = 4 }
local dtype_names = { uint8 = "U8", float32 = "F32" }

local function product(shape, from)
  local count = 1
  for axis = from, #shape do
    count = count * shape[axis]
  end
  return count
end

--- What the file begins with.
local function header_of(o)
  local count = o.shape[1]
  local rows_end = product(o.shape, 1) * item_bytes[o.dtype]
  local text = json.encode {
    __metadata__ = { format = FORMAT, settings = json.encode(o.settings) },
    [o.name] = { dtype = dtype_names[o.dtype], shape = json.array(o.shape), data_offsets = { 0, rows_end } },
    checks = { dtype = "I32", shape = { count }, data_offsets = { rows_end, rows_end + 4 * count } },
  }
  text = text .. (" "):rep(-(8 + #text) % PAGE)
  return ("<s8"):pack(text)
end

--- The settings that a file was made with; nil where there is none yet.
local function settings_in(path)
  if not core.file_exists(path) then return nil end
  local head = io.open(path, "rb")
  local begun = head and (head:read(8) or ""):find "[^\0]"
  if head then head:close() end
  if not begun then return nil end
  local metadata = core.load_metadata(path)
  if metadata.format ~= FORMAT then error(("'%s' is no file of rows of masktune's"):format(path), 0) end
  return json.decode(metadata.settings)
end

--- Opens a file, or begins it.
-- @string where the public function, for messages
-- @string path in a folder that is there
-- @tparam table o `name` of the rows' tensor; `dtype` ("uint8", "float32"); `shape` {N,...}; `settings`: name ->
-- number, string or boolean: all that the rows depend on
-- @treturn userdata with `put(first, rows)`, `get(first, rows)`, `present()`, `close()`
-- @tparam[opt=false] boolean shared whether other processes may have it open in this way
-- @raise where the file depends on something else: on what
function row_file.open(where, path, o, shared)
  for _, name in ipairs { path, path .. ".partial" } do
    local there = settings_in(name)
    local difference = there and tables.differences(there, o.settings) or ""
    if difference ~= "" then
      error(("%s: '%s' was made with other settings: %s. Remove it, or use another folder"):format(where, name,
        difference), 0)
    end
  end
  return core.data.row_file(path, header_of(o), o.shape[1], product(o.shape, 2) * item_bytes[o.dtype],
    shared or false)
end

--- Gives a file whose rows are all there its name, where the process that put the last of them was killed before: the
-- last row is put again, which makes the core look.
local function name_whole(file, path, o)
  local count = o.shape[1]
  if file:present() < count or not core.file_exists(path .. ".partial") then return end
  local last = core.zeros({ 1, table.unpack(o.shape, 2) }, o.dtype)
  file:get(count, last)
  file:put(count, last)
end

--- Makes a file whole that several processes have put their rows into.
local function complete(where, path, o)
  local file = row_file.open(where, path, o)
  local count = o.shape[1]
  name_whole(file, path, o)
  local there = file:present()
  file:close()
  if there < count then
    error(("%s: '%s' has %d of %d rows after all ranks have put theirs: it must lie in a folder that all of them share")
      :format(where, path, there, count), 0)
  end
end

--- Opens a file and has it filled where it is not whole. Ranks (masktune.dist) put different rows into the one file.
-- @string where the public function, for messages
-- @string path
-- @tparam table o as in open
-- @tparam function fill (file): puts this rank's rows
-- @treturn userdata the whole file
function row_file.filled(where, path, o, fill)
  if dist.world() == 1 then
    local file = row_file.open(where, path, o)
    name_whole(file, path, o)
    local filled, problem = pcall(function()
      if file:present() < o.shape[1] then fill(file) end
    end)
    if filled then return file end
    file:close()
    error(problem, 0)
  end
  if not dist.from_first(core.file_exists, path) then
    local file = dist.rank() == 0 and row_file.open(where, path, o, true)
    dist.barrier("the beginning of a file") -- which rank 0 has made
    file = file or row_file.open(where, path, o, true)
    dist.barrier("the opening of a file") -- before anyone completes it
    fill(file)
    file:close()
    dist.barrier("the filling of a file")
    dist.on_first(complete, where, path, o)
  end
  dist.barrier("the completion of a file")
  return row_file.open(where, path, o)
end

--- The shape of the rows' tensor in a file that was begun; nil where there is none.
-- @string path
-- @string name of the tensor
-- @treturn ?{integer,...}
function row_file.shape(path, name)
  for _, file in ipairs { path, path .. ".partial" } do
    if settings_in(file) then
      local head = assert(io.open(file, "rb"))
      local size = ("<i8"):unpack(head:read(8))
      local header = json.decode(head:read(size))
      head:close()
      return header[name] and header[name].shape
    end
  end
end

return row_file
