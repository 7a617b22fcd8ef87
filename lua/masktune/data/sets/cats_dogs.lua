--- Cats vs Dogs (Kaggle 2013; Elson et al. 2007): a folder of cat.N.jpg and dog.N.jpg, in any case and image format.
-- @module masktune.data.cats_dogs
local check = require "masktune.check"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local image_files = require "masktune.data.image_files"
local image_list = require "masktune.data.image_list"

local WHERE = "mt.data.cats_dogs"
local class_names = { "cat", "dog" }
local list_files = { ["cat_idx.txt"] = true, ["dog_idx.txt"] = true }

--- Class and number that a name has, "cat.12.jpg" in any case and with any suffix; nil for another name.
local function parts_of(name)
  local class, digits = name:lower():match "^(%a+)%.(%d+)%.%w+$"
  local number = digits and math.tointeger(tonumber(digits))
  if number and (class == "cat" or class == "dog") then return class, number end
end

local function holds_images(folder)
  local ok, names = pcall(core.list_directory, folder)
  for _, name in ipairs(ok and names or {}) do
    if parts_of(name) then return true end
  end
  return false
end

--- The same photographs in two folders, as others publish them.
local function class_folders(root)
  for _, folder in ipairs { root, root .. "/train", root .. "/PetImages" } do
    for _, name in ipairs { "Cat", "cat", "cats" } do
      if core.path_kind(folder .. "/" .. name) == "folder" then return folder end
    end
  end
end

--- The folder of the images: root, or Kaggle's folder train in it.
local function image_place(root)
  for _, folder in ipairs { root, root .. "/train", root .. "/train/train" } do
    if holds_images(folder) then return folder end
  end
  local other = class_folders(root)
  error(("%s: no cat.N.jpg in '%s' and '%s/train'%s"):format(WHERE, root, root, other
    and ("; '%s' has a folder for each class, which mt.data.image_folder reads"):format(other) or ""), 0)
end

--- Class name -> the numbers of its images, rising; class name -> number -> path.
local function numbers_in(folder, skipped)
  local numbers, paths = { cat = {}, dog = {} }, { cat = {}, dog = {} }
  local images, folders = image_files.look(folder, skipped, list_files)
  for _, path in ipairs(images) do
    local class, number = parts_of(image_files.name_of(path))
    if not class then
      image_files.pass_over(skipped, "outside", { path })
    elseif paths[class][number] then
      error(("%s: '%s' and '%s' are both %s %d"):format(WHERE, paths[class][number], path, class, number), 0)
    else
      paths[class][number] = path
      table.insert(numbers[class], number)
    end
  end
  for _, inner in ipairs(folders) do
    image_files.pass_over(skipped, "deeper", (image_files.collect(folder, inner, true, skipped)))
  end
  for _, class in ipairs(class_names) do
    if #numbers[class] == 0 then error(("%s: no %s.N.jpg in '%s'"):format(WHERE, class, folder), 0) end
    table.sort(numbers[class])
  end
  return numbers, paths
end

-- ---- which images are the test split ----

--- The set of the numbers in a list file: a line for each image, "N", "N.jpg" or "cat.N.jpg".
local function listed(path, class, numbers)
  local known, chosen, line_number = {}, {}, 0
  for _, number in ipairs(numbers) do
    known[number] = true
  end
  for line in (core.read_file(path) .. "\n"):gmatch("([^\r\n]*)\r?\n") do
    line_number = line_number + 1
    local text = line:match("^%s*(.-)%s*$")
    local number = math.tointeger(tonumber(text:gsub("^" .. class .. "%.", ""):gsub("%.jpg$", ""):match("^%d+$")))
    if text ~= "" and not (number and known[number]) then
      error(("%s: '%s', line %d: %s, expected the number of a %s.N.jpg that is there"):format(WHERE, path,
        line_number, check.describe(text), class), 0)
    end
    if number then chosen[number] = true end
  end
  return chosen
end

--- A random share of the numbers, the same for the same seed.
local function drawn(numbers, share, seed)
  local chosen, order = {}, core.generator(seed):permutation(#numbers):totable()
  for i = 1, math.floor(share * #numbers + 0.5) do
    chosen[numbers[order[i]]] = true
  end
  return chosen
end

--- Class name -> set of the numbers of its test images.
local function test_numbers(o, folder, numbers)
  local lists, found = {}, 0
  for _, class in ipairs(class_names) do
    for _, place in ipairs { o.root, folder } do
      local path = place .. "/" .. class .. "_idx.txt"
      if not lists[class] and core.file_exists(path) then
        lists[class] = path
        found = found + 1
      end
    end
  end
  if found == 1 then
    local class = lists.cat and "dog" or "cat"
    error(("%s: '%s' is there, but no %s_idx.txt beside it"):format(WHERE, lists.cat or lists.dog, class), 0)
  end
  local chosen = {}
  for position, class in ipairs(class_names) do
    chosen[class] = found == 2 and listed(lists[class], class, numbers[class])
      or drawn(numbers[class], o.test_share, o.seed + position)
  end
  return chosen
end

-- ---- the data set ----

local function choose(o, folder, skipped)
  local numbers, path_of = numbers_in(folder, skipped)
  local paths, labels = {}, {}
  local test = test_numbers(o, folder, numbers)
  for label, class in ipairs(class_names) do
    for _, number in ipairs(numbers[class]) do
      if (test[class][number] == true) == (o.split == "test") then
        paths[#paths + 1] = path_of[class][number]
        labels[#labels + 1] = label
      end
    end
  end
  return paths, labels
end

local schema = {
  root = { type = "string" },
  split = { choices = { "train", "test" }, default = "train" },
  size = { type = "any", default = 64 },
  test_share = { type = "number", min = 0, max = 1, default = 0.2 },
  seed = { type = "integer", default = 0 },
}
for name, rule in pairs(image_list.schema) do
  schema[name] = rule
end

--- Reads Cats vs Dogs. The test split is what the files cat_idx.txt and dog_idx.txt list (as published with
-- SelectiveNet; beside the images or in `root`); where they are not there, a random share of each class.
-- @tparam table options `root`: the folder of cat.N.jpg and dog.N.jpg, or the one above their folder train; `split`
-- ("train"; "test"); `size` (64: every image is brought to 64x64); `test_share` (0.2) and `seed` (0) of the random
-- split; `channels`, `fit`, `on_error`, `memory_limit`, `log` as in mt.data.image_folder
-- @treturn table data set as of mt.data.image_folder: labels 1 for cats, 2 for dogs
-- @raise naming the folder or file
local function cats_dogs(options)
  local o = check.options(WHERE, options, schema)
  o.height, o.width = image_list.size(WHERE, o.size)
  local skipped = image_files.nothing_skipped()
  local paths, labels = choose(o, image_place(o.root), skipped)
  image_list.log_skipped(WHERE, o, skipped)
  local images, positions, unreadable = image_list.read(WHERE, paths, o)
  for i, position in ipairs(positions) do
    labels[i] = labels[position]
  end
  return dataset.named {
    images = images,
    labels = core.tensor(table.move(labels, 1, #positions, 1, {}), { dtype = "int32" }),
    file = core.tensor(positions, { dtype = "int32" }),
    files = paths,
    unreadable = unreadable,
    skipped = skipped.counts,
    classes = 2,
    class_names = class_names,
    name = "Cats vs Dogs",
    split = o.split,
  }
end

return { entries = { cats_dogs = cats_dogs }, summary = "Cats vs Dogs: cat.N.jpg and dog.N.jpg in a folder" }
