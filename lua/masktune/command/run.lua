--- All steps, one after the other.
local cli = require "masktune.cli"
local options = require "masktune.command.parts.options"
local page = require "masktune.command.parts.page"
local progress = require "masktune.progress"
local project = require "masktune.command.parts.project"
local steps = require "masktune.command.parts.steps"

return {
  summary = "all of it: train, diagnose, mask and fine-tune where the net leans on a cue, evaluate, report",
  about = "The images lie in DIR/train, DIR/val and DIR/test (a folder for each class in each), in one folder with a"
    .. "\nfolder for each class, or are listed in a CSV file (file, label; and split, group where there are any).",
  options = options.joined(options.training, options.masking, options.finetuning, {
    { name = "treat", value = "WHEN", kind = cli.kinds.choice { "auto", "always", "never" }, default = "auto",
      default_text = "auto", help = "mask and fine-tune: auto (where a cue is found), always, never" },
    page.option,
  }),
  example = "masktune run --data photos --out out/photos\nmasktune run --resume --out out/photos",
  run = function(o)
    local run = project.create(o)
    steps.train(run, o)
    local diagnosis = steps.diagnose(run, "initial")
    progress.note("Diagnosis: %s", diagnosis.verdict)
    if o.treat == "always" or o.treat == "auto" and diagnosis.leans then steps.treat(run, o) end
    steps.evaluate(run)
    return page.write(run, o)
  end,
}
