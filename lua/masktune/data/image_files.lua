--- Finding image files in folders. What a file is its contents say, not its name; nothing is lost uncounted.
-- @module masktune.data.image_files
local core = require "masktune.core"

local image_files = {}

--- What is passed over: reason -> how a message calls it.
local reasons = {
  { "hidden", "hidden or system files" },
  { "other", "files that are no images" },
  { "irregular", "that are no files (FIFOs, devices, broken links, folders in themselves)" },
  { "outside", "images in no class folder" },
  { "deeper", "images in deeper folders" },
}

--- A fresh count of what is passed over: reason -> number, and the first of each kind.
function image_files.nothing_skipped()
  local counts = {}
  for _, reason in ipairs(reasons) do
    counts[reason[1]] = 0
  end
  return { counts = counts, first = {} }
end

local function skip(skipped, reason, path)
  skipped.counts[reason] = skipped.counts[reason] + 1
  skipped.first[reason] = skipped.first[reason] or path
end

--- Counts images as passed over.
-- @tparam table skipped
-- @string reason
-- @tparam {string,...} paths
function image_files.pass_over(skipped, reason, paths)
  for _, path in ipairs(paths) do
    skip(skipped, reason, path)
  end
end

--- What was passed over, in a line of text; nil for nothing.
function image_files.describe_skipped(skipped)
  local parts = {}
  for _, reason in ipairs(reasons) do
    local count, first = skipped.counts[reason[1]], skipped.first[reason[1]]
    if count > 0 then
      parts[#parts + 1] = ("%d %s ('%s'%s)"):format(count, reason[2], first, count > 1 and ", ..." or "")
    end
  end
  return #parts > 0 and table.concat(parts, "; ") or nil
end

-- ---- names ----

local system_names = {}
for _, name in ipairs {
  "Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN",
  "System Volume Information", "Icon\r",
} do
  system_names[name:lower()] = true
end

--- Whether a file or folder is one that systems leave behind, or is hidden.
local function is_hidden(name) return name:sub(1, 1) == "." or system_names[name:lower()] == true end

local image_suffixes = {}
for suffix in ([[png jpg jpeg jpe jfif bmp dib pnm ppm pgm pbm pam pfm webp gif tif tiff avif heic heif jp2 j2k jxl
  psd svg]]):gmatch "%S+" do
  image_suffixes[suffix] = true
end

local function has_image_suffix(name) return image_suffixes[(name:match "%.(%w+)$" or ""):lower()] == true end

-- ---- folders ----

local image_formats = {}
for _, list in ipairs { core.image.formats() } do
  for _, format in ipairs(list) do
    image_formats[format] = true
  end
end

local no_files = { FIFO = true, socket = true, device = true, missing = true }

--- What is in a folder, without hidden files: the images, or what calls itself one, and the folders. All else is
-- counted in `skipped`, but for files named in the set `expected`.
-- @string folder
-- @tparam table skipped
-- @tparam[opt] table expected
-- @treturn {string,...} paths of images
-- @treturn {string,...} paths of folders
function image_files.look(folder, skipped, expected)
  local names, paths = {}, {}
  for _, name in ipairs(core.list_directory(folder)) do
    local path = folder .. "/" .. name
    if is_hidden(name) then
      skip(skipped, "hidden", path)
    elseif not (expected and expected[name]) then
      names[#names + 1], paths[#paths + 1] = name, path
    end
  end
  local images, folders = {}, {}
  for i, kind in ipairs(core.image.probe(paths)) do
    if kind == "folder" then
      folders[#folders + 1] = paths[i]
    elseif image_formats[kind] or has_image_suffix(names[i]) then
      images[#images + 1] = paths[i]
    else
      skip(skipped, no_files[kind] and "irregular" or "other", paths[i])
    end
  end
  return images, folders
end

--- The last name of a path.
function image_files.name_of(path) return path:match "[^/]*$" end

--- Appends the images in a folder and those below; `above` holds the identities of the folders on the way there.
-- How many are its own, and the names of the folders in it that have images.
local function descend(folder, found, skipped, above)
  local _, identity = core.path_kind(folder)
  identity = identity or folder -- one that has gone since: listing it says so
  if above[identity] then
    skip(skipped, "irregular", folder)
    return 0, {}
  end
  above[identity] = true
  local images, folders = image_files.look(folder, skipped)
  table.move(images, 1, #images, #found + 1, found)
  local with_images = {}
  for _, inner in ipairs(folders) do
    local before = #found
    descend(inner, found, skipped, above)
    if #found == before and has_image_suffix(inner) then found[#found + 1] = inner end -- reading it says what it is
    if #found > before then with_images[#with_images + 1] = image_files.name_of(inner) end
  end
  above[identity] = nil
  return #images, with_images
end

--- The identities of a folder and of those above it, so that a link to one of them is seen.
local function ancestors(folder)
  local above, path, last = {}, folder, nil
  while true do
    local _, identity = core.path_kind(path)
    if not identity or identity == last then return above end
    above[identity], last, path = true, identity, path .. "/.."
  end
end

--- All images in a folder of `root` and, with `recursive`, in those below: first its own, then those of each folder in
-- it, sorted by the bytes of their names. Without, those below are counted as passed over.
-- @string root
-- @string folder
-- @tparam boolean recursive
-- @tparam table skipped
-- @treturn {string,...} paths
-- @treturn {string,...} names of the folders in it that have images in them, or below
-- @treturn integer how many images are its own
function image_files.collect(root, folder, recursive, skipped)
  local found = {}
  local own, with_images = descend(folder, found, skipped, ancestors(root))
  if not recursive then
    image_files.pass_over(skipped, "deeper", table.move(found, own + 1, #found, 1, {}))
    found = table.move(found, 1, own, 1, {})
  end
  return found, with_images, own
end

return image_files
