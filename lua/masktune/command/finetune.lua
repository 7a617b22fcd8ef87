--- MaskTune's fine-tuning.
local options = require "masktune.command.parts.options"
local project = require "masktune.command.parts.project"
local steps = require "masktune.command.parts.steps"
local cli = require "masktune.cli"

return {
  summary = "masks what the net looks at and fine-tunes it on what is left",
  argument = options.run,
  options = options.joined({ options.out }, options.masking, options.finetuning, {
    cli.options.resume, cli.options.serve,
  }),
  example = "masktune finetune out/photos --finetune-steps 200",
  run = function(o)
    local run = project.open { out = options.folder(o) }
    local found = steps.treat(run, o)
    return found, found.outcome .. (found.masks and "\n" .. run:path "final.safetensors" or "")
  end,
}
