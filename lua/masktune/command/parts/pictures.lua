--- Pictures of what a net looks at.
-- @module masktune.command.parts.pictures
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"

local pictures = {}

local COLUMNS = 4

--- Images of a set as uint8 {n,H,W,3}: some, in the order given, or all.
function pictures.images(set, positions)
  local images = (positions and dataset.subset(set, positions) or set).images
  images = images:narrow(1, 1, #images)
  if images:dtype() ~= "uint8" then images = (images * 255):to "uint8" end
  if images:size(4) == 1 then images = images:expand(images:size(1), images:size(2), images:size(3), 3) end
  return images
end

--- Images with heatmaps over them, as float32 of the images' size.
function pictures.overlay(images, heat) return core.image.overlay(images, heat) end

--- Writes images as a sheet, a file.
function pictures.sheet(path, images)
  core.image.save_grid(path, images, {
    columns = math.min(COLUMNS, #images), padding = 4, background = { 255, 255, 255 },
  })
end

--- Two lists of images, each with its own beside it: a, b, a, b, ...
function pictures.beside(a, b)
  local list = {}
  for i = 1, #a do
    list[#list + 1], list[#list + 2] = a[i], b[i]
  end
  return core.stack(list, 1)
end

return pictures
