--- Heatmaps of what a net looks at.
local cli = require "masktune.cli"
local core = require "masktune.core"
local data = require "masktune.data"
local options = require "masktune.command.parts.options"
local pictures = require "masktune.command.parts.pictures"
local project = require "masktune.command.parts.project"
local recipe = require "masktune.recipe"

return {
  summary = "writes pictures of where the net looks: each image beside its heatmap",
  argument = options.run,
  options = {
    options.out,
    options.cam,
    { name = "split", value = "NAME", kind = cli.kinds.choice { "train", "val", "test" }, default = "val",
      default_text = "val", help = "train, val or test" },
    { name = "count", value = "N", kind = cli.kinds.integer(1, 1000), default = 16, default_text = "16",
      help = "how many images, drawn at random" },
    { name = "model", value = "WHICH", kind = cli.kinds.choice { "initial", "final" },
      default_text = "final where there is one", help = "initial or final" },
  },
  example = "masktune explain out/photos --count 32",
  run = function(o)
    local run = project.open { out = options.folder(o) }
    local which, set = o.model or run:latest(), run:sets()[o.split]
    local count = math.min(o.count, data.size(set))
    local order = core.generator(run.settings.seed):permutation(data.size(set)):totable()
    local positions = table.move(order, 1, count, 1, {})
    local heat, predicted = recipe.explain(run:model(which), data.subset(set, positions), { cam = o.cam })
    local images = pictures.images(set, positions)
    local path = run:path(("heat-%s-%s.png"):format(which, o.split))
    pictures.sheet(path, pictures.beside(images, core.image.overlay(images, heat)))
    return { file = path, predicted = predicted:totable() }, path
  end,
}
