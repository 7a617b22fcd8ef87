--- Options that several subcommands have.
-- @module masktune.command.parts.options
local cams = require "masktune.cam"
local cli = require "masktune.cli"
local layer = require "masktune.command.parts.layer"
local models = require "masktune.models"
local project = require "masktune.command.parts.project"
local tables = require "masktune.tables"

local kinds = cli.kinds
local options = {}

options.out = { name = "out", value = "DIR", kind = kinds.text, default = project.default,
  default_text = project.default, help = "folder of the run" }

--- The folder of a run where the command takes nothing else.
options.run = { name = "OUT", key = "folder", kind = kinds.text, optional = true, help = "the same as --out OUT" }

options.data = { name = "data", value = "DIR", kind = kinds.text,
  help = "the images: folders train, val, test; one folder, which is split; or a CSV file" }

--- How a net is trained.
options.training = {
  options.data,
  { name = "net", value = "NAME", kind = kinds.registered(models),
    help = "a net of mt.models", default_text = "efficientnet_lite0; small_cnn for images up to 64 pixels" },
  { name = "pretrained", value = "FILE", kind = kinds.text,
    help = "weights to begin with: a file, yes (the published ones), no", default_text = "yes where they can be had" },
  { name = "size", value = "N", kind = kinds.integer(8, 4096), help = "height and width of the images",
    default_text = "160, or their own up to 64" },
  { name = "epochs", value = "N", kind = kinds.integer(1),
    help = "epochs at most: it ends early where nothing improves",
    default_text = "12 with published weights, else 30" },
  { name = "batch", value = "N", kind = kinds.integer(2), help = "images in a step",
    default_text = "32; 128 from 5,000 images" },
  { name = "lr", value = "RATE", kind = kinds.positive, help = "learning rate", default_text = "the best of three" },
  { name = "seed", value = "N", kind = kinds.integer(0), help = "seed of all that is random", default_text = "1" },
  options.out,
  cli.options.resume,
  cli.options.overwrite,
  cli.options.serve,
}

--- How heatmaps are made.
options.cam = tables.merged(cli.cam_option(cams), { default = layer.cam, default_text = layer.cam })

--- How heatmaps become masks, and how the net is fine-tuned on them.
options.masking = {
  options.cam,
  { name = "protocol", value = "NAME", kind = kinds.choice { "reference", "paper" }, default = "paper",
    default_text = "paper", help = "how heatmaps become masks: reference or paper" },
  { name = "k", value = "K", kind = kinds.choice({ "auto" }, kinds.positive), default = "auto",
    default_text = "auto: the hottest window where a cue was found, else 2",
    help = "hide what is K standard deviations hotter than the mean" },
  { name = "fill", value = "WITH", kind = kinds.choice { "impute", "zero" }, default = "impute",
    default_text = "impute", help = "what takes the place of what is hidden: impute (its surroundings), zero (black)" },
}

options.finetuning = {
  { name = "finetune-steps", value = "N", kind = kinds.integer(1), default = 100, default_text = "100",
    help = "fine-tune an epoch, but for no fewer steps than this" },
  { name = "finetune-lr", value = "RATE", kind = kinds.choice({ "auto", "last" }, kinds.positive), default = "auto",
    default_text = "auto", help = "auto (best by the validation split), last, a number" },
  { name = "exchange", value = "WHEN", kind = kinds.choice { "auto", "never" }, default = "auto", default_text = "auto",
    help = "fine-tune also on images that show what was hidden on another class: auto (where a cue was found), never" },
  { name = "iterations", value = "N", kind = kinds.choice({ "auto" }, kinds.integer(1, 3)), default = "auto",
    default_text = "auto: 1 or 2", help = "times of masking and fine-tuning" },
}

--- Several lists as one.
function options.joined(...)
  local all = {}
  for _, list in ipairs { ... } do
    table.move(list, 1, #list, #all + 1, all)
  end
  return all
end

--- The run that is meant: the folder given as such, else --out.
function options.folder(o) return o.folder or o.out end

return options
