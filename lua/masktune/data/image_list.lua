--- Image files as the images of a data set: in memory where they fit, else streamed.
-- @module masktune.data.image_list
local core = require "masktune.core"
local image_files = require "masktune.data.image_files"
local interrupt = require "masktune.interrupt"
local notice = require "masktune.notice"
local streamed = require "masktune.data.streamed"

local image_list = {}

local FILES_PER_CALL = 512 -- between two looks at whether to stop

-- The options that every data set of image files has.
image_list.schema = {
  channels = { choices = { 1, 3 }, default = 3 },
  fit = { choices = { "stretch", "crop" }, default = "stretch" },
  on_error = { choices = { "fail", "skip" }, default = "fail" },
  memory_limit = { type = "integer", min = 0, default = 2 << 30 },
  cache = { type = "string", optional = true },
  log = { type = "function", default = function(line) notice.say("%s", line) end },
}

--- Option `size`, an integer or {height, width}, as two numbers.
function image_list.size(where, value)
  local pair = type(value) == "table" and value or { value, value }
  local height, width = math.tointeger(pair[1]), math.tointeger(pair[2])
  if #pair == 2 and height and width and height >= 1 and width >= 1 and height <= 65536 and width <= 65536 then
    return height, width
  end
  error(("%s: option 'size': integer in [1, 65536] or {height, width} expected"):format(where), 3)
end

--- Says what was passed over, if anything was.
function image_list.log_skipped(where, o, skipped)
  local text = image_files.describe_skipped(skipped)
  if text then o.log(("%s: '%s': passed over %s"):format(where, o.root, text)) end
end

--- Refuses all files that cannot be read, at once: a user mends them in one go.
local function fail(where, unreadable)
  local lines = {}
  for i, entry in ipairs(unreadable) do
    lines[i] = "\n  " .. entry.message
  end
  error(("%s: %d image file%s cannot be read (on_error = \"skip\" leaves such files out):%s"):format(where,
    #unreadable, #unreadable == 1 and "" or "s", table.concat(lines)), 0)
end

--- Decodes all files into `images`; the list of those that could not be read.
local function decode_all(where, paths, images, o)
  local unreadable = {}
  for first = 1, #paths, FILES_PER_CALL do
    local count = math.min(FILES_PER_CALL, #paths - first + 1)
    local into = images:narrow(1, first, count)
    local messages = core.image.read_files(table.move(paths, first, first + count - 1, 1, {}), into, { fit = o.fit })
    for i = 1, count do
      local message, path = messages[i], paths[first + i - 1]
      if message then unreadable[#unreadable + 1] = { position = first + i - 1, path = path, message = message } end
    end
    interrupt.check("reading the images")
  end
  if #unreadable > 0 and o.on_error == "fail" then fail(where, unreadable) end
  return unreadable
end

local function readable_positions(count, unreadable)
  local bad, positions = {}, {}
  for _, entry in ipairs(unreadable) do
    bad[entry.position] = true
  end
  for position = 1, count do
    if not bad[position] then positions[#positions + 1] = position end
  end
  return positions
end

local function all_positions(count)
  local positions = {}
  for position = 1, count do
    positions[position] = position
  end
  return positions
end

--- Reads image files. Those that stay where they are, are not looked at: which of them cannot be read shows when a
-- batch needs them (masktune.data.streamed).
-- @string where the public function, for messages
-- @tparam {string,...} paths
-- @tparam table o the options of image_list.schema, and `height`, `width`
-- @treturn Tensor|StreamedImages images uint8 {N,H,W,C} of those that can be read
-- @treturn {integer,...} their positions in `paths`
-- @treturn table list of the others: `path`, `message`, `position`
function image_list.read(where, paths, o)
  local shape = { o.height, o.width, o.channels }
  if o.cache or #paths * o.height * o.width * o.channels > o.memory_limit then
    local images = streamed(paths, shape, { fit = o.fit, on_error = o.on_error, cache = o.cache, where = where })
    return images, all_positions(#paths), {}
  end
  local images = core.zeros({ #paths, table.unpack(shape) }, "uint8")
  local unreadable = decode_all(where, paths, images, o)
  for _, entry in ipairs(unreadable) do
    o.log(("%s: left out: %s"):format(where, entry.message))
  end
  local positions = readable_positions(#paths, unreadable)
  if #unreadable > 0 then images = images:index(positions) end
  return images, positions, unreadable
end

return image_list
