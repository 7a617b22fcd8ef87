--- Anybody's images: a folder with a folder for each class.
-- @module masktune.data.image_folder
local check = require "masktune.check"
local core = require "masktune.core"
local image_list = require "masktune.data.image_list"

local suffixes = { png = true, jpg = true, jpeg = true }

local function is_image_name(name)
  local suffix = name:match("^[^.].*%.(%a+)$")
  return suffix ~= nil and suffixes[suffix:lower()] == true
end

--- The names in a folder; nil for what is no folder.
local function names_in(path)
  local ok, names = pcall(core.list_directory, path)
  return ok and names or nil
end

--- Class names, and the files with their classes, all in the order of their names' bytes.
local function scan(root)
  local class_names, paths, labels = {}, {}, {}
  for _, class in ipairs(core.list_directory(root)) do
    local folder = root .. "/" .. class
    local names = not class:find("^%.") and names_in(folder)
    if names then
      local before = #paths
      class_names[#class_names + 1] = class
      for _, name in ipairs(names) do
        if is_image_name(name) then
          paths[#paths + 1] = folder .. "/" .. name
          labels[#labels + 1] = #class_names
        end
      end
      if #paths == before then
        error(("mt.data.image_folder: '%s' has no .png, .jpg or .jpeg file"):format(folder), 0)
      end
    end
  end
  if #class_names < 2 then
    error(("mt.data.image_folder: '%s' has %d folders, expected 2 or more (one for each class)"):format(root,
      #class_names), 0)
  end
  return class_names, paths, labels
end

local function picked(list, positions)
  local result = {}
  for i, position in ipairs(positions) do
    result[i] = list[position]
  end
  return result
end

local schema = { root = { type = "string" }, size = { type = "any" } }
for name, rule in pairs(image_list.schema) do
  schema[name] = rule
end

--- Reads a folder of images: `root/CLASS/NAME.png`, `.jpg` or `.jpeg`, of any size, gray or colour, with or without
-- transparency (dropped). EXIF orientations are respected. Hidden folders and files with other names are passed over.
-- Where a JPEG file is more than twice as large as `size` in both directions it is decoded at a smaller scale; images
-- that shrink are averaged (Pillow's bilinear).
-- @tparam table options `root`; `size` (integer or {height, width}: what every image is brought to); `channels` (3; 1:
-- gray); `fit` ("stretch": the whole image; "crop": the largest middle part with the proportions of `size`);
-- `on_error` ("fail": an error that names the files that cannot be read; "skip": they are left out, with a line for
-- each); `memory_limit` (bytes, 2 GiB): images that need more stay in their files and are decoded whenever a batch
-- needs them, which gives the same batches; `log` (function called with a line of text; standard error)
-- @treturn table data set: images uint8 {N,H,W,C} (or streamed), labels int32 {N}; class_names, sorted: label i is
-- class_names[i]; files: all paths; file int32 {N}: an image's place in `files`; unreadable: list of {path=, message=}
-- @raise naming the folder or file
local function image_folder(options)
  local o = check.options("mt.data.image_folder", options, schema)
  o.height, o.width = image_list.size("mt.data.image_folder", o.size)
  local class_names, paths, labels = scan(o.root)
  local images, positions, unreadable = image_list.read("mt.data.image_folder", paths, o)
  return {
    images = images,
    labels = core.tensor(picked(labels, positions), { dtype = "int32" }),
    file = core.tensor(positions, { dtype = "int32" }),
    files = paths,
    unreadable = unreadable,
    classes = #class_names,
    class_names = class_names,
    name = ("images in %s"):format(o.root),
  }
end

return { entries = { image_folder = image_folder }, summary = "a folder of images with a folder for each class" }
