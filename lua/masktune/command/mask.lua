--- What MaskTune would hide.
local core = require "masktune.core"
local data = require "masktune.data"
local options = require "masktune.command.parts.options"
local pictures = require "masktune.command.parts.pictures"
local project = require "masktune.command.parts.project"
local recipe = require "masktune.recipe"
local steps = require "masktune.command.parts.steps"

local SHOWN = 16

return {
  summary = "makes the masks of the training images, and shows some",
  about = "Writes masks.safetensors (`keep`: uint8 {N,H,W}, 1 = keep) and masks.png.",
  argument = options.run,
  options = options.joined({ options.out }, options.masking),
  example = "masktune mask out/photos --k 1.5",
  run = function(o)
    local run = project.open { out = options.folder(o) }
    local train = run:sets().train
    local masking = steps.masks_for(o, (run:read "diagnosis.json" or {}).initial)
    local masked, found = recipe.mask_dataset(run:model "initial", train, masking)
    core.save(run:path "masks.safetensors", { keep = found.keep:to("uint8") })
    local positions = {}
    for i = 1, math.min(SHOWN, data.size(train)) do
      positions[i] = i
    end
    pictures.sheet(run:path "masks.png", pictures.beside(pictures.images(train, positions),
      pictures.images(masked, positions)))
    return { hidden = found.fraction, empty = found.empty, file = run:path "masks.png" },
      ("the masks hide %.1f %% of the pixels; of %d images nothing\n%s"):format(100 * found.fraction, found.empty,
        run:path "masks.png")
  end,
}
