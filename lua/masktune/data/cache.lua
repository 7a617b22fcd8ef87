--- Decoded and resized images on disk, for machines on which decoding is what takes the time: a file of rows
-- (masktune.data.row_file), one image a row, as they were decoded first. It fills as images are looked at; a run that
-- was killed has lost nothing but the image in hand.
-- @module masktune.data.cache
local core = require "masktune.core"
local notice = require "masktune.notice"
local row_file = require "masktune.data.row_file"

local cache = {}

local MADE_BY = 1 -- another number once images are decoded or resized to other values
local MOST_TEXT = 4096

--- The MD5 sum of a list of texts, of which there may be hundreds of thousands.
-- @tparam {string,...} texts
-- @treturn string
function cache.sum_of(texts)
  local sums = {}
  for first = 1, #texts, MOST_TEXT do
    sums[#sums + 1] = core.md5(table.concat(texts, "\n", first, math.min(first + MOST_TEXT - 1, #texts)))
  end
  return core.md5(table.concat(sums, " "))
end

--- What tells files from others without reading them: their names and sizes.
-- @tparam {string,...} paths
-- @tparam {integer,...} sizes
-- @treturn string
function cache.files_digest(paths, sizes)
  local texts = {}
  for i, path in ipairs(paths) do
    texts[i] = ("%s %d"):format(path, sizes[i])
  end
  return cache.sum_of(texts)
end

local in_use = setmetatable({}, { __mode = "v" }) -- path -> file: two data sets may share it

--- Opens the cache of some files in a folder, where the caches of others may lie as well.
-- @string where the public function, for messages
-- @string folder made where it is missing
-- @tparam {string,...} paths
-- @tparam {integer,...} sizes of the files
-- @tparam {integer,integer,integer} shape height, width, channels
-- @string fit
-- @treturn ?userdata file of rows; nil, which is said, while another process fills it
-- @raise where it was made with other settings (size, fit, files that have changed since): which
function cache.open(where, folder, paths, sizes, shape, fit)
  core.make_directory(folder)
  local path = ("%s/images-%s.safetensors"):format(folder, cache.sum_of(paths):sub(1, 12))
  local settings = {
    height = shape[1], width = shape[2], channels = shape[3], fit = fit, files = cache.files_digest(paths, sizes),
    made_by = MADE_BY,
  }
  local ok, file = pcall(row_file.open, where, path, {
    name = "images", dtype = "uint8", shape = { #paths, table.unpack(shape) }, settings = settings,
  })
  if ok then
    in_use[path] = file
    return file
  end
  if not tostring(file):find("it is in use", 1, true) then error(file, 0) end
  if not in_use[path] then notice.say("%s: images are decoded each time: %s", where, file) end
  return in_use[path]
end

return cache
