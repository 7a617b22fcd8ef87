--- Anybody's images: a folder with a folder for each class.
-- @module masktune.data.image_folder
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local image_files = require "masktune.data.image_files"
local image_list = require "masktune.data.image_list"

local WHERE = "mt.data.image_folder"
local MOST_NAMED = 10

local function fail(message, ...) error((WHERE .. ": " .. message):format(...), 0) end

-- ---- is it the right folder? ----

local split_names = {}
for name in ("train training val valid validation dev test testing eval"):gmatch "%S+" do
  split_names[name] = true
end

local function names_of(classes)
  local names = {}
  for i, class in ipairs(classes) do
    names[i] = class.name
  end
  return names
end

--- Names as text, not all of a thousand.
local function listed(names)
  if #names <= MOST_NAMED then return table.concat(names, ", ") end
  return ("%s, ... (%d in all)"):format(table.concat(names, ", ", 1, MOST_NAMED), #names)
end

local function parent(path)
  local clean = path:gsub("(.)/+$", "%1")
  local above, name = clean:match "^(.-)/*([^/]*)$"
  if name == "" or name == "." or name == ".." then return clean .. "/.." end
  return above ~= "" and above or path:sub(1, 1) == "/" and "/" or "."
end

--- Folders that are named like the splits of a data set would become its classes.
local function refuse_splits(root, folders)
  local names, inner = {}, nil
  for _, folder in ipairs(folders) do
    local name = folder.name:lower()
    if #folder.files > 0 then
      if not split_names[name] then return end
      names[#names + 1] = folder.name
      if not inner or name:find "^train" then inner = folder end
    end
  end
  if not inner then return end
  fail("'%s' has images in %s, which look like splits, not classes%s", root, table.concat(names, ", "),
    #inner.folders > 0 and (": try root = '%s'"):format(inner.path)
      or (", and there is no folder for each class in '%s'"):format(inner.path))
end

local function refuse_too_few(root, classes, own_images)
  local hint = ""
  if own_images > 0 and #classes == 0 then
    hint = ("; it has %d images itself, so it looks like the folder of one class: try root = '%s'"):format(own_images,
      parent(root))
  elseif #classes == 1 and #classes[1].folders > 1 then
    hint = ("; there are folders of images in '%s': try that as root"):format(classes[1].path)
  end
  fail("'%s' has %d folders, expected 2 or more (one for each class)%s", root, #classes, hint)
end

--- Every class folder has the same folders with images, and no image of its own: says so, since the classes may be one
-- level further down.
local function hint_at_level(root, classes, log)
  local inner = table.concat(classes[1].folders, ", ")
  for _, class in ipairs(classes) do
    if class.own > 0 or #class.folders < 2 or table.concat(class.folders, ", ") ~= inner then return end
  end
  log(("%s: every folder in '%s' has the folders %s: if those are the classes, root is one of %s"):format(WHERE, root,
    listed(classes[1].folders), listed(names_of(classes))))
end

local function hint_at_case(root, classes, log)
  local seen = {}
  for _, class in ipairs(classes) do
    local name = class.name:lower()
    if seen[name] then
      log(("%s: in '%s' the folders '%s' and '%s' differ only in case, and are two classes"):format(WHERE, root,
        seen[name], class.name))
    end
    seen[name] = class.name
  end
end

-- ---- classes ----

--- Each folder in the root with the images in it: {name=, path=, files=, folders=, own=}.
local function find_folders(o, skipped)
  local images, folders = image_files.look(o.root, skipped)
  image_files.pass_over(skipped, "outside", images)
  local classes = {}
  for i, path in ipairs(folders) do
    local files, inner, own = image_files.collect(o.root, path, o.recursive, skipped)
    classes[i] = { name = image_files.name_of(path), path = path, files = files, folders = inner, own = own }
  end
  return classes, #images
end

--- The folders as they are make the classes.
local function own_classes(o, folders, own_images)
  if #folders < 2 then refuse_too_few(o.root, folders, own_images) end
  refuse_splits(o.root, folders)
  for _, class in ipairs(folders) do
    if #class.files == 0 then
      fail("'%s' has no image%s", class.path, #class.folders > 0 and " of its own, only in deeper folders" or "")
    end
  end
  hint_at_level(o.root, folders, o.log)
  hint_at_case(o.root, folders, o.log)
  return folders, names_of(folders)
end

local function refuse_unknown(folder, class_names)
  for _, name in ipairs(class_names) do
    if name:lower() == folder.name:lower() then
      fail("'%s' is not a class: class_names has '%s', which differs in case", folder.path, name)
    end
  end
  fail("'%s' is not a class: class_names has %s", folder.path, listed(class_names))
end

--- The classes of another set, usually that for training, each with its folder where there is one.
local function given_classes(o, folders)
  local by_name, classes = {}, {}
  for i, name in ipairs(o.class_names) do
    if by_name[name] then fail("option 'class_names': '%s' is there twice", name) end
    classes[i] = { name = name, files = {} }
    by_name[name] = classes[i]
  end
  for _, folder in ipairs(folders) do
    local class = by_name[folder.name]
    if class then
      class.files = folder.files
    elseif #folder.files > 0 then
      refuse_unknown(folder, o.class_names)
    end
  end
  return classes, o.class_names
end

--- Paths and labels of all images, class after class.
local function list_files(o, classes)
  local paths, labels = {}, {}
  for label, class in ipairs(classes) do
    for _, path in ipairs(class.files) do
      paths[#paths + 1], labels[#labels + 1] = path, label
    end
  end
  if #paths == 0 then fail("'%s' has no image in a folder of a class", o.root) end
  return paths, labels
end

--- The names of the classes without a label; none may be among the set's own.
local function find_missing(o, class_names, labels)
  local seen, missing = {}, {}
  for _, label in ipairs(labels) do
    seen[label] = true
  end
  for label, name in ipairs(class_names) do
    if not seen[label] then missing[#missing + 1] = name end
  end
  if #missing == 0 then return missing end
  if not o.class_names then fail("no image of class '%s' can be read", missing[1]) end
  o.log(("%s: no image of %s in '%s'"):format(WHERE, listed(missing), o.root))
  return missing
end

-- ---- the data set ----

local schema = {
  root = { type = "string" },
  size = { type = "any" },
  class_names = { type = "list", of = { type = "string" }, min_length = 1, optional = true },
  recursive = { type = "boolean", default = true },
}
for name, rule in pairs(image_list.schema) do
  schema[name] = rule
end

local function picked(list, positions)
  local result = {}
  for i, position in ipairs(positions) do
    result[i] = list[position]
  end
  return result
end

--- Reads a folder of images: `root/CLASS/NAME`, of any size, gray or colour, with or without transparency (dropped), in
-- any format of `mt.image.formats()`. What a file is its contents say, not its name. EXIF orientations are respected.
-- Where a JPEG file is more than twice as large as `size` in both directions it is decoded at a smaller scale; images
-- that shrink are averaged (Pillow's bilinear).
--
-- Images in formats that are not read, and whatever is called NAME.png, .jpg and so on but is none, count as files that
-- cannot be read (`on_error`). All else is passed over, counted and said: hidden and system files, files that are no
-- images, images outside of the class folders.
-- @tparam table options `root`; `size` (integer or {height, width}: what every image is brought to); `class_names` (for
-- validation and test sets: the training set's, so that labels mean the same; a class may lack images, a folder of
-- another name with images is an error; default: the folders' names); `recursive` (true: images in folders below a
-- class folder, too, are of that class); `channels` (3; 1: gray); `fit` ("stretch": the whole image; "crop": the
-- largest middle part with the proportions of `size`); `on_error` ("fail": an error that names the files that cannot be
-- read; "skip": they are left out, with a line for each); `memory_limit` (bytes, 2 GiB): images that need more stay in
-- their files, which are not looked at here, and are decoded whenever a batch needs them: the same batches, but what
-- cannot be read is found then; `cache`: a folder in which decoded images are kept (size * size * channels bytes each)
-- as they come, for machines on which decoding takes longer than training; such images stay in their files, and a cache
-- of another size or fit, or of files that have changed, is refused; `log` (function called with a line of text;
-- mt.notice)
-- @treturn table data set: images uint8 {N,H,W,C} (or streamed), labels int32 {N}; class_names (sorted, or as given):
-- label i is class_names[i]; files: all paths; file int32 {N}: an image's place in `files`; unreadable: list of {path=,
-- message=} (where images are in memory); skipped: how many were passed over, {hidden=, other=, irregular=, outside=,
-- deeper=}; missing_classes: names of classes without images
-- @raise naming the folder or file; where the root looks one level too high or too low, with the likely one
local function image_folder(options)
  local o = check.options(WHERE, options, schema)
  o.height, o.width = image_list.size(WHERE, o.size)
  local skipped = image_files.nothing_skipped()
  local folders, own_images = find_folders(o, skipped)
  local classes, class_names
  if o.class_names then
    classes, class_names = given_classes(o, folders)
  else
    classes, class_names = own_classes(o, folders, own_images)
  end
  local paths, labels = list_files(o, classes)
  image_list.log_skipped(WHERE, o, skipped)
  local images, positions, unreadable = image_list.read(WHERE, paths, o)
  labels = picked(labels, positions)
  return dataset.named {
    images = images,
    labels = core.tensor(labels, { dtype = "int32" }),
    file = core.tensor(positions, { dtype = "int32" }),
    files = paths,
    unreadable = unreadable,
    skipped = skipped.counts,
    missing_classes = find_missing(o, class_names, labels),
    classes = #class_names,
    class_names = class_names,
    name = ("images in %s"):format(o.root),
  }
end

return { entries = { image_folder = image_folder }, summary = "a folder of images with a folder for each class" }
