--- Checkpoints: the state of a run in one safetensors file, together with the settings that made it.
-- A state is a table of tables whose leaves are tensors or plain values. Tensors are stored under their path
-- ("model/linear.0.weight"), everything else as JSON in the file's metadata, numbers so that they read back as the same
-- bits. The file is replaced as a whole, so at every moment it holds one complete state; and it is refused when a run
-- with other settings asks for it.
-- @module masktune.checkpoint
local check = require "masktune.check"
local core = require "masktune.core"
local json = require "masktune.json"
local streamed = require "masktune.data.streamed"
local tables = require "masktune.tables"

local checkpoint = {}

local FORMAT = "masktune checkpoint 1"

--- What a checkpoint's file has beside its tensors.
-- @tparam table plain the state without its tensors
-- @tparam table settings
-- @treturn table metadata for mt.save
function checkpoint.metadata(plain, settings)
  return { format = FORMAT, state = json.encode(plain), settings = json.encode(settings) }
end

--- A key as a piece of a path: integers are marked, so that they read back as integers.
local function path_piece(key)
  if math.type(key) == "integer" then return "#" .. key end
  if type(key) == "string" and not key:find("^#") and not key:find("/", 1, true) then return key end
  local got = check.describe(key)
  error(("checkpoint.save: key %s: integer, or string without '/' and leading '#' expected"):format(got), 0)
end

--- Moves the tensors of a tree into `tensors`, and returns the tree of plain values that is left.
local function take_tensors(tree, prefix, tensors)
  local plain = {}
  for key, value in pairs(tree) do
    if check.is_tensor(value) then
      tensors[prefix .. path_piece(key)] = value
    elseif type(value) == "table" then
      plain[key] = take_tensors(value, prefix .. path_piece(key) .. "/", tensors)
    else
      plain[key] = value
    end
  end
  return plain
end

--- Puts a tensor where its path says; false where the path leads through something that is no table.
local function put_tensor(tree, path, tensor)
  local folders, name = path:match("^(.*/)([^/]+)$")
  for folder in (folders or ""):gmatch("[^/]+") do
    local key = math.tointeger(tonumber(folder:match("^#(.+)"))) or folder
    tree[key] = tree[key] or {}
    tree = tree[key]
    if type(tree) ~= "table" then return false end
  end
  name = name or path
  tree[math.tointeger(tonumber(name:match("^#(.+)"))) or name] = tensor
  return true
end

--- A state as a text and tensors by their paths.
-- @tparam table state tables of tables; leaves are tensors, numbers, strings, booleans
-- @treturn string
-- @treturn table name -> tensor
function checkpoint.pack(state)
  check.argument("checkpoint.pack", "state", state, { type = "table" })
  local tensors = {}
  return json.encode(take_tensors(state, "", tensors)), tensors
end

--- The state that was packed.
-- @string text
-- @tparam table tensors
-- @treturn table
function checkpoint.unpack(text, tensors)
  check.argument("checkpoint.unpack", "text", text, { type = "string" })
  check.argument("checkpoint.unpack", "tensors", tensors, { type = "table" })
  local state = json.decode(text)
  if type(state) ~= "table" then
    check.fail("checkpoint.unpack: argument 'text': a text of checkpoint.pack expected, got %s", check.describe(text))
  end
  for name, tensor in pairs(tensors) do
    if type(name) ~= "string" or not put_tensor(state, name, tensor) then
      check.fail("checkpoint.unpack: argument 'tensors': names of checkpoint.pack expected, got %s",
        check.describe(name))
    end
  end
  return state
end

--- Writes a state.
-- @string path
-- @tparam table state tables of tables; leaves are tensors, numbers, strings, booleans
-- @tparam table settings name -> number, string or boolean: what the state depends on
function checkpoint.save(path, state, settings)
  check.argument("checkpoint.save", "path", path, { type = "string" })
  check.argument("checkpoint.save", "state", state, { type = "table" })
  check.argument("checkpoint.save", "settings", settings, { type = "table" })
  local tensors = {}
  local plain = take_tensors(state, "", tensors)
  core.save(path, tensors, checkpoint.metadata(plain, settings))
end

--- Refuses a file that is no checkpoint, or was written with other settings.
-- @string path
-- @tparam[opt] table settings those of the run that asks; left out, any file is good
-- @treturn table the settings it was saved with
-- @treturn table the file's metadata
-- @raise the message names what differs
function checkpoint.check(path, settings)
  check.argument("checkpoint.load", "path", path, { type = "string" })
  local metadata = core.load_metadata(path)
  if metadata.format ~= FORMAT then
    check.fail("checkpoint.load: '%s' is no checkpoint (format is %s, expected '%s')", path,
      check.describe(metadata.format), FORMAT)
  end
  local saved = json.decode(metadata.settings)
  local difference = settings and tables.differences(saved, settings) or ""
  if difference ~= "" then
    check.fail("checkpoint.load: '%s' was written with other settings: %s. Use the same settings, or start anew in "
      .. "another place", path, difference)
  end
  return saved, metadata
end

--- Reads a state.
-- @string path
-- @tparam[opt] table settings as in checkpoint.check
-- @treturn table the state as it was saved
-- @treturn table the settings it was saved with
-- @raise when the file is damaged, and as checkpoint.check does
function checkpoint.load(path, settings)
  local saved, metadata = checkpoint.check(path, settings)
  return checkpoint.unpack(metadata.state, core.load(path)), saved
end

local CHUNK = 4096

--- The MD5 sum of a tensor's bytes; long tensors a part at a time, so that no copy of the whole is made. Of images that
-- stay in their files, names and sizes are what counts.
local function tensor_digest(tensor)
  if streamed.is(tensor) then return tensor:digest(tensor_digest) end
  local shape = table.concat(tensor:shape(), ",")
  local sums = { tensor:dtype(), shape }
  if #tensor:shape() == 0 then return core.md5(tensor:dtype() .. tensor:bytes()) end
  for first = 1, tensor:size(1), CHUNK do
    local count = math.min(CHUNK, tensor:size(1) - first + 1)
    sums[#sums + 1] = core.md5(tensor:narrow(1, first, count):bytes())
  end
  return core.md5(table.concat(sums, " "))
end

--- A short name for the content of a tensor or of a table of named tensors: equal digests, equal bits.
-- Settings use it to tell data sets and weights apart.
-- @tparam Tensor|table value
-- @treturn string 12 hexadecimal digits
function checkpoint.digest(value)
  if check.is_tensor(value) then return tensor_digest(value):sub(1, 12) end
  check.argument("checkpoint.digest", "value", value, { type = "table" })
  local names = {}
  for name, tensor in pairs(value) do
    if type(name) ~= "string" or not (check.is_tensor(tensor) or streamed.is(tensor)) then
      check.fail("checkpoint.digest: field %s is %s, expected names of tensors", check.describe(name),
        check.describe(tensor))
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    names[i] = name .. " " .. tensor_digest(value[name])
  end
  return core.md5(table.concat(names, "\n")):sub(1, 12)
end

--- The digest of a data set: its inputs, labels and every other per-image tensor.
-- @tparam table set
-- @treturn string
function checkpoint.dataset_digest(set)
  check.argument("checkpoint.dataset_digest", "set", set, { type = "table" })
  local rows = {}
  for name, value in pairs(set) do
    if check.is_tensor(value) or streamed.is(value) then rows[name] = value end
  end
  return checkpoint.digest(rows)
end

--- What settings say of an option that may be a function: its own text where it has one, "custom" for a plain function,
-- which has none that would be the same in another run, "none" for nil.
-- @param value
-- @treturn string
function checkpoint.text(value)
  if value == nil then return "none" end
  local meta = getmetatable(value)
  if type(value) == "function" or type(value) == "table" and not (meta and meta.__tostring) then return "custom" end
  return tostring(value)
end

return checkpoint
