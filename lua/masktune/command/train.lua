--- Trains a net on the user's images.
local options = require "masktune.command.parts.options"
local project = require "masktune.command.parts.project"
local steps = require "masktune.command.parts.steps"

return {
  summary = "trains a net on a folder of images (the first step of run)",
  options = options.training,
  example = "masktune train --data photos --out out/photos",
  run = function(o)
    local run = project.create(o)
    local found = steps.train(run, o)
    return found, ("trained %s: %.1f %% right on the validation images after epoch %d; the net is in %s"):format(
      run.settings.net, 100 * found.accuracy, found.best_epoch, run:path "initial.safetensors")
  end,
}
