#!/usr/bin/env lua5.4
-- Does `masktune run` find a planted shortcut in a small folder of photos, and does it help? For each seed: photos of
-- two classes with a sticker on most of one class; `masktune run` on them; a test with the sticker on the other class.
--
--   lua5.4 examples/planted_stickers.lua --photos FOLDER --pretrained FILE --seeds 1,2,3,4,5
--   lua5.4 examples/planted_stickers.lua --help
--
-- The training photos are as people have them: of mixed sizes, some turned (EXIF), two files broken. The reversed test
-- holds the two groups that training hardly shows: photos of the one class without the sticker, and of the other class
-- with it; the worst group is the worse of them.

dofile((arg[0]:match("^.*/") or "") .. "checkout.lua")

local command = require "masktune.command"
local mt = require "masktune"
local kinds, say = mt.cli.kinds, mt.cli.say

-- ---- photos ----

local FACE, RIM = { 255, 215, 0 }, { 25, 25, 25 }
local RIM_FROM = 0.8 -- of the radius

--- 1 within the radius of the middle: float32 {S,S,1}.
local function disc(side, radius)
  local at = mt.arange(0, side) - (side - 1) / 2
  local distance = at:reshape(side, 1) ^ 2 + at:reshape(1, side) ^ 2
  return distance:le(radius ^ 2):to("float32"):reshape(side, side, 1)
end

--- Puts a round sticker on a photo.
-- @tparam Tensor photo uint8 {H,W,3}; changed
-- @tparam integer side of the sticker, in pixels
-- @tparam integer row first row
-- @tparam integer column first column
local function stick(photo, side, row, column)
  local place = photo:narrow(1, row, side):narrow(2, column, side)
  local whole, face = disc(side, side / 2), disc(side, RIM_FROM * side / 2)
  local sticker = face * mt.tensor(FACE) + (whole - face) * mt.tensor(RIM)
  local pixels = (place:to("float32") * (1 - whole) + sticker):to("uint8")
  photo[{ { row, row + side - 1 }, { column, column + side - 1 } }] = pixels
end

local SCALES = { 0.7, 1.3 } -- of the photo's size

--- A photo in a random size, with a sticker where one is wanted.
local function prepared(path, wanted, o, generator)
  local photo = mt.image.read(path)
  local scale = SCALES[1] + (SCALES[2] - SCALES[1]) * generator:uniform()
  local height, width = math.floor(photo:size(1) * scale), math.floor(photo:size(2) * scale)
  photo = mt.image.resize(photo:unsqueeze(1), { size = { height, width } })[1]
  if photo:size(3) == 1 then photo = mt.cat({ photo, photo, photo }, 3) end
  local side = math.floor(o.sticker / 100 * math.min(height, width))
  local row, column = height - side + 1, width - side + 1
  if o.place == "any" then row, column = generator:integer(1, row), generator:integer(1, column) end
  if wanted then stick(photo, side, row, column) end
  return photo
end

--- EXIF orientation -> the stored form of an upright photo.
local turned = {
  [3] = function(photo) return photo:flip { 1, 2 } end,
  [6] = function(photo) return photo:transpose(1, 2):flip { 1 } end,
  [8] = function(photo) return photo:transpose(1, 2):flip { 2 } end,
}

--- Adds the EXIF orientation to a JPEG file.
local function mark_turned(path, orientation)
  local bytes = mt.read_file(path)
  local tiff = ("c2>I2>I4>I2>I2>I2>I4>I2>I2>I4"):pack("MM", 42, 8, 1, 0x112, 3, 1, orientation, 0, 0)
  local exif = "Exif\0\0" .. tiff
  mt.write_file(path, bytes:sub(1, 2) .. (">I2>I2"):pack(0xffe1, #exif + 2) .. exif .. bytes:sub(3))
end

local ORIENTATIONS = { 3, 6, 8 }
local TURNED = 0.1 -- of the photos

local function write_photo(path, photo, generator)
  local orientation = generator:uniform() < TURNED and ORIENTATIONS[generator:integer(1, #ORIENTATIONS)]
  mt.image.write_jpeg(path, orientation and turned[orientation](photo) or photo)
  if orientation then mark_turned(path, orientation) end
end

--- Writes the photos of one class and one split.
-- @tparam table files a list of paths
-- @number share of the photos that get a sticker
local function write_class(folder, files, share, o, generator)
  mt.make_directory(folder)
  for n, path in ipairs(files) do
    local wanted = generator:uniform() < share
    local name = ("%s/%04d.jpg"):format(folder, n)
    write_photo(name, prepared(path, wanted, o, generator), generator)
  end
end

--- A class's photos in random order, the first for training, the next for the test.
local function drawn(paths, o, generator)
  if #paths < o.train + o.test then
    error(("--photos: %d photos of a class expected (--train and --test say how many), got %d"):format(
      o.train + o.test, #paths), 0)
  end
  local splits = { train = {}, test = {} }
  for n, position in ipairs(generator:permutation(#paths):totable()) do
    local split = splits[n <= o.train and "train" or "test"]
    if n <= o.train + o.test then split[#split + 1] = paths[position] end
  end
  return splits
end

--- Writes what a seed trains on and is tested on: FOLDER/train and FOLDER/test, a folder for each class in each.
local function write_photos(folder, classes, o, seed)
  local generator = mt.generator(seed)
  for i, class in ipairs(classes) do
    local splits = drawn(class.paths, o, generator)
    local share = o.share / 100
    write_class(("%s/train/%s"):format(folder, class.name), splits.train, i == 1 and share or 0, o, generator)
    write_class(("%s/test/%s"):format(folder, class.name), splits.test, i == 1 and 0 or 1, o, generator)
  end
  local broken = ("%s/train/%s/broken"):format(folder, classes[1].name)
  mt.write_file(broken .. "1.jpg", mt.read_file(("%s/train/%s/0001.jpg"):format(folder, classes[1].name)):sub(1, 300))
  mt.write_file(broken .. "2.jpg", "no photo")
end

--- The two classes: their names and all their photos.
local function classes_of(path)
  local is_csv = path:lower():find "%.csv$"
  local set = is_csv and mt.data.csv { path = path, size = 32, file = "file", label = "label" }
    or mt.data.image_folder { root = path, size = 32 }
  if set.classes ~= 2 then error(("--photos: two classes expected, got %d"):format(set.classes), 0) end
  local classes = {}
  for class, name in ipairs(set.class_names) do
    classes[class] = { name = name, paths = {} }
  end
  local labels = set.labels:totable()
  for i, file in ipairs(set.file:totable()) do
    table.insert(classes[labels[i]].paths, set.files[file])
  end
  return classes
end

-- ---- runs ----

local function read(folder, name)
  return mt.file_exists(folder .. name) and mt.json.decode(mt.read_file(folder .. name)) or nil
end

--- Arguments of `masktune run`, those of --options last.
local function arguments_of(o, photos, out, seed)
  local arguments = { "run", "--data", photos, "--out", out, "--seed", tostring(seed), "--resume" }
  if o.pretrained then table.move({ "--pretrained", o.pretrained }, 1, 2, #arguments + 1, arguments) end
  if o.threads then table.move({ "--threads", tostring(o.threads) }, 1, 2, #arguments + 1, arguments) end
  for word in (o.options or ""):gmatch "%S+" do
    arguments[#arguments + 1] = word
  end
  return arguments
end

local function run_seed(o, classes, seed)
  local folder = ("%s/seed-%d"):format(o.out, seed)
  local photos, out = folder .. "/photos", folder .. "/run"
  if not mt.file_exists(photos .. "/done") then
    write_photos(photos, classes, o, seed)
    mt.write_file(photos .. "/done", "")
  end
  say("\nseed %d", seed)
  local started = mt.clock()
  local status = command.run(arguments_of(o, photos, out, seed))
  if status ~= 0 then error(("seed %d: masktune run failed"):format(seed), 0) end
  return {
    seed = seed, seconds = mt.clock() - started, results = read(out, "/results.json"),
    diagnosis = read(out, "/diagnosis.json"), finetuning = read(out, "/finetuning.json") or {},
  }
end

local function percent(share) return share and ("%.1f"):format(100 * share) or "" end

--- The net that the run says is the one to use.
local function advised(run)
  return run.results.models.final and run.finetuning.helped ~= false and "final" or "initial"
end

local function row_of(run)
  local models, used = run.results.models, advised(run)
  local final = models.final
  return {
    run.seed, percent(models.initial.test.worst_class), percent(final and final.test.worst_class),
    percent(models[used].test.worst_class), percent(models.initial.test.accuracy), percent(models[used].test.accuracy),
    percent(models.initial.val.accuracy), percent(models[used].val.accuracy), ("%.0f"):format(run.seconds),
  }
end

local function main(o)
  local classes = classes_of(o.photos)
  mt.cli.open_out(o.out, o, function() end)
  local rows, lines = {}, {}
  for i, seed in ipairs(o.seeds) do
    local run = run_seed(o, classes, seed)
    rows[i] = row_of(run)
    lines[i] = ("seed %d: %s. %s"):format(seed, run.diagnosis.initial.verdict, run.finetuning.outcome or "")
  end
  local place = o.place == "any" and "anywhere" or "in the corner"
  print(("\n%d training and %d test photos of each class, sticker of %g %% of the side, %s, on %g %% of class %s")
    :format(o.train, o.test, o.sticker, place, o.share, classes[1].name))
  print(mt.report.table({ "seed", "worst group: ERM", "MaskTune", "advised net", "reversed test: ERM", "advised",
    "validation: ERM", "advised", "seconds" }, rows))
  print(table.concat(lines, "\n"))
end

os.exit(mt.cli.run({
  name = "planted_stickers.lua",
  about = "`masktune run` on photos with a planted sticker: what it finds, and what that gains.",
  main = main,
  options = {
    { name = "photos", value = "DIR", kind = kinds.text,
      help = "photos of two classes: a folder with a folder for each, or a CSV file with the columns file and label" },
    { name = "train", value = "N", kind = kinds.integer(10), default = 300, default_text = "300",
      help = "training photos of each class" },
    { name = "test", value = "N", kind = kinds.integer(2), default = 150, default_text = "150",
      help = "test photos of each class" },
    { name = "share", value = "PERCENT", kind = kinds.positive, default = 95, default_text = "95",
      help = "of the first class's training photos that have the sticker" },
    { name = "sticker", value = "PERCENT", kind = kinds.positive, default = 20, default_text = "20",
      help = "the sticker's side, of the photo's shorter side" },
    { name = "place", value = "PLACE", kind = kinds.choice { "any", "corner" }, default = "any", default_text = "any",
      help = "where the sticker lies: any, corner" },
    { name = "pretrained", value = "FILE", kind = kinds.text, help = "as of masktune run" },
    { name = "options", value = "TEXT", kind = kinds.text, help = "further options of masktune run" },
    mt.cli.options.seeds,
    mt.cli.options.threads,
    { name = "out", value = "DIR", kind = kinds.text, default = "out/stickers", default_text = "out/stickers",
      help = "folder for the photos and the runs" },
    mt.cli.options.resume,
    mt.cli.options.overwrite,
    mt.cli.options.help,
  },
}, arg), true)
