--- Small data sets in their publishers' layouts, with a planted shortcut: the class is a bright bar on the left or on
-- the right, noisy; the shortcut is the colour of the background, right for most training images.
local mt = require "masktune"

local miniatures = {}

local HEIGHT, WIDTH = 40, 36

--- One image: `class` 1 or 2 says where the bar is, `background` 1 (green) or 2 (blue) what is behind it.
local function image(generator, class, background)
  local pixels = mt.zeros({ HEIGHT, WIDTH, 3 })
  pixels:fill(30)
  local channel = background == 1 and 2 or 3
  local tint = mt.zeros({ HEIGHT, WIDTH, 1 }) + 120
  local planes = { pixels:narrow(3, 1, 1), pixels:narrow(3, 2, 1), pixels:narrow(3, 3, 1) }
  planes[channel] = planes[channel] + tint
  pixels = mt.cat(planes, 3)
  local column = class == 1 and generator:integer(6, 12) or generator:integer(22, 28)
  local bar = mt.zeros({ HEIGHT, 4, 3 }) + 220
  pixels = mt.cat({ pixels:narrow(2, 1, column), bar, pixels:narrow(2, column + 5, WIDTH - column - 4) }, 2)
  return (pixels + mt.rand({ HEIGHT, WIDTH, 3 }, { generator = generator }) * 25):to "uint8"
end

local function write(generator, path, class, background)
  mt.make_directory(path:match("^(.*)/"))
  mt.image.write_jpeg(path, image(generator, class, background), { quality = 92 })
end

--- Images of a split: class, background. In training 9 of 10 have their class's background; elsewhere half.
local function plan(count, biased)
  local rows = {}
  for n = 1, count do
    local class = n % 2 + 1
    local usual = biased and n % 10 ~= 0 and n % 10 ~= 1 or not biased and n % 4 < 2
    rows[n] = { class = class, background = usual and class or 3 - class }
  end
  return rows
end

local sizes = {
  { name = "train", count = 60, biased = true }, { name = "val", count = 24 }, { name = "test", count = 24 },
}

--- Waterbirds: metadata.csv, a folder a species.
function miniatures.waterbirds(root)
  local generator, lines, id = mt.generator(1), { "img_id,img_filename,y,split,place,place_filename" }, 0
  for number, split in ipairs(sizes) do
    for _, row in ipairs(plan(split.count, split.biased)) do
      id = id + 1
      local name = ("%03d.Species/Bird_%04d.jpg"):format(row.class, id)
      write(generator, root .. "/" .. name, row.class, row.background)
      local place = row.background - 1
      lines[#lines + 1] = ("%d,%s,%d,%d,%d,/l/place.jpg"):format(id, name, row.class - 1, number - 1, place)
    end
  end
  mt.write_file(root .. "/metadata.csv", table.concat(lines, "\n") .. "\n")
end

--- CelebA: img_align_celeba, both tables as text. Blond_Hair is the class, Male the background.
function miniatures.celeba(root)
  local generator, id = mt.generator(2), 0
  local rows, parts = {}, {}
  for number, split in ipairs(sizes) do
    for _, row in ipairs(plan(split.count, split.biased)) do
      id = id + 1
      local name = ("%06d.jpg"):format(id)
      write(generator, root .. "/img_align_celeba/" .. name, row.class, row.background)
      rows[id] = ("%s %2d %2d %2d"):format(name, -1, row.class * 2 - 3, row.background * 2 - 3)
      parts[id] = ("%s %d"):format(name, number - 1)
    end
  end
  local attributes = ("%d\nBald Blond_Hair Male \n%s\n"):format(id, table.concat(rows, "\n"))
  mt.write_file(root .. "/list_attr_celeba.txt", attributes)
  mt.write_file(root .. "/list_eval_partition.txt", table.concat(parts, "\n") .. "\n")
end

local variants = {
  original = 0, mixed_same = 1, mixed_rand = 2, mixed_next = 3, only_fg = 2, no_fg = 1, only_bg_b = 1, only_bg_t = 1,
}

--- The Background Challenge: a folder a variant, in each val (and for original train) with a folder a class.
function miniatures.background_challenge(root)
  local generator = mt.generator(3)
  local folders = { "00_dog", "01_bird" }
  for variant, kind in pairs(variants) do
    for _, split in ipairs { { name = "train", count = 60, biased = true }, { name = "val", count = 16 } } do
      if variant == "original" or split.name == "val" then
        for n, row in ipairs(plan(split.count, split.biased)) do
          local background = kind < 2 and row.class or kind == 2 and row.background or 3 - row.class
          if kind == 0 and split.name == "train" then background = row.background end
          write(generator, ("%s/%s/%s/%s/img%03d.JPEG"):format(root, variant, split.name, folders[row.class], n),
            row.class, background)
        end
      end
    end
  end
end

return miniatures
