--- What a net of a run says of images.
local cli = require "masktune.cli"
local core = require "masktune.core"
local options = require "masktune.command.parts.options"
local project = require "masktune.command.parts.project"
local readable = require("masktune.words").readable
local recipe = require "masktune.recipe"
local report = require "masktune.report"
local selective = require "masktune.selective"

--- The images as a data set of the run's size; all that cannot be read are named at once.
local function read(run, paths)
  local size = run.settings.size
  local images = core.zeros({ #paths, size, size, 3 }, "uint8")
  local messages, lines = core.image.read_files(paths, images, {}), {}
  for i = 1, #paths do
    if messages[i] then lines[#lines + 1] = "\n  " .. messages[i] end
  end
  if #lines > 0 then
    error(("%d of %d images cannot be read:%s"):format(#lines, #paths, table.concat(lines)), 0)
  end
  local labels = {}
  for i = 1, #paths do
    labels[i] = 1 -- nobody looks at them
  end
  return { images = images, labels = core.tensor(labels, { dtype = "int32" }), classes = run.settings.classes,
    name = "the images" }
end

--- The file that an image's heatmap goes to.
local function heat_path(folder, path)
  local name = path:match("([^/]*)$"):gsub("%.%w+$", "")
  return ("%s/%s-heat.png"):format(folder, name)
end

local function write_heatmaps(folder, model, set, paths, cam)
  core.make_directory(folder)
  local heat = recipe.explain(model, set, { cam = cam, progress = false })
  local over, files = core.image.overlay(set.images, heat), {}
  for i, path in ipairs(paths) do
    files[i] = heat_path(folder, path)
    core.image.write_png(files[i], over[i])
  end
  return files
end

--- The threshold that `evaluate` has set; without one nothing is abstained from.
local function threshold(run)
  local results = run:read "results.json"
  return results and results.abstain_below or -math.huge
end

local function answers(run, set)
  local first = selective.predict(run:model "initial", set)
  local last = run:latest() == "final" and selective.predict(run:model "final", set) or first
  return selective.product(first, last), last
end

return {
  summary = "what the net of a run says of images: class, probability, and whether it would rather abstain",
  about = "It abstains where both nets together, before and after MaskTune, are less sure than of 95 % of the"
    .. "\nvalidation images (masktune evaluate sets that threshold).",
  argument = { name = "IMAGE", key = "images", many = true, kind = cli.kinds.text, help = "image files" },
  options = {
    options.out,
    { name = "heatmaps", value = "DIR", kind = cli.kinds.text,
      help = "write a PNG of where the net looks for each image" },
    options.cam,
  },
  example = "masktune predict cat.jpg dog.jpg --out out/photos --heatmaps out/heat",
  run = function(o)
    local run = project.open(o)
    local set = read(run, o.images)
    local found, probabilities = answers(run, set)
    local files = o.heatmaps and write_heatmaps(o.heatmaps, run:model(run:latest()), set, o.images, o.cam) or {}
    local rows, list, least = {}, {}, threshold(run)
    for i, path in ipairs(o.images) do
      local class = found.predictions[i]
      local row = { image = readable(path), class = run.settings.class_names[class],
        probability = probabilities[i][class], probabilities = probabilities[i],
        score = found.scores[i], abstains = found.scores[i] <= least,
        heatmap = files[i] }
      list[i] = row
      rows[i] = { path, row.class, ("%.4f"):format(row.probability), row.abstains and "abstains" or "", files[i] }
    end
    return list, report.table({ "image", "class", "probability", "", files[1] and "heatmap" or "" }, rows)
  end,
}
