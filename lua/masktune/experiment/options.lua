--- The command line of an experiment: the same options for all, with the recipe's defaults.
-- @module masktune.experiment.options
local cams = require "masktune.cam"
local cli = require "masktune.cli"
local methods = require "masktune.methods"
local models = require "masktune.models"
local rows = require "masktune.experiment.rows"
local schedules = require "masktune.experiment.schedules"
local selection = require "masktune.train.selection"

local kinds = cli.kinds

local DEFAULT_METHODS = { "erm", "continue", "randmask_area", "masktune" }

local function list_of(words, other)
  local one = kinds.choice(words, other)
  return function(text)
    local list = {}
    for piece in (text .. ","):gmatch("([^,]*),") do
      local value, expected = one(piece)
      if value == nil then return nil, expected .. " (several with commas)" end
      list[#list + 1] = value
    end
    return list
  end
end

local rates = list_of({ "auto", "last" }, kinds.positive)
local control_rates = list_of({ "auto", "last", "matched" }, kinds.positive)

local function data_options(recipe)
  local d = recipe.defaults
  return {
    { name = "data", value = "DIR", kind = kinds.text, help = recipe.data_help,
      default_text = ("%s in $MASKTUNE_DATA, ./data or the cache folder"):format(recipe.folders[1]) },
    { name = "size", value = "N", kind = kinds.integer(8, 1024), default = d.size, default_text = tostring(d.size),
      help = "height and width of the images" },
    { name = "limit", value = "N", kind = kinds.integer(10), help = "N images drawn from each split, for a first try" },
    { name = "cache", value = "DIR", kind = kinds.text, help = "a folder in which the decoded images are kept, for "
      .. "machines on which decoding takes longer than training" },
    { name = "augment", value = "NAME", kind = kinds.choice { "none", "flip", "crop" }, default = "none",
      default_text = "none", help = "random changes of the training images: none, flip, crop (and flip)" },
  }
end

local function net_options(recipe)
  local d = recipe.defaults
  return {
    { name = "net", value = "NAME", kind = kinds.registered(models), default = d.net, default_text = d.net,
      help = "one of mt.models: resnet50, efficientnet_lite0, ..." },
    { name = "weights", value = "FILE", kind = kinds.weights, default = true, default_text = "published",
      help = "what the net starts from: published (ImageNet's, fetched where they are not on disk), a file, none" },
    { name = "freeze", value = "NAME", kind = kinds.text, default_text = "nothing",
      help = "the net up to and with this part (layer2, _blocks.10) stays as it is, and is computed once an image" },
    { name = "epochs", value = "N", kind = kinds.integer(1), default = d.epochs, default_text = tostring(d.epochs),
      help = "epochs of ERM" },
    { name = "batch", value = "N", kind = kinds.integer(2), default = d.batch, default_text = tostring(d.batch),
      help = "batch size" },
    { name = "micro-batch", value = "N", kind = kinds.integer(2), help = "at most so many images at once, for less "
      .. "memory (16 is a good number at 224 pixels)" },
    { name = "lr", value = "RATE", kind = kinds.positive, default = d.lr, default_text = tostring(d.lr),
      help = "first learning rate" },
    { name = "schedule", value = "NAME", kind = schedules.kind, default = schedules.kind(d.schedule),
      default_text = d.schedule, help = schedules.help },
    { name = "weight-decay", value = "X", kind = kinds.positive, default = 1e-4, default_text = "0.0001",
      help = "weight decay" },
    { name = "select", value = "METRIC", kind = kinds.choice(selection.rule.choices), default = "accuracy",
      default_text = "accuracy", help = "which epoch the masks come from, by the validation split: "
      .. table.concat(selection.rule.choices, ", ") },
  }
end

local function method_options()
  local by = { "judges", "masked", table.unpack(selection.names) }
  return {
    { name = "method", value = "LIST", kind = kinds.registered_list(methods, rows.forms), default = DEFAULT_METHODS,
      default_text = table.concat(DEFAULT_METHODS, ","), help = "what is compared: print(mt.methods) lists them; "
      .. "randmask_area is RandMask with as much of each image as MaskTune hides" },
    cli.cam_option(cams),
    { name = "layer", value = "NAME", kind = kinds.text, help = "the layer heatmaps are made at",
      default_text = "the net's" },
    { name = "protocol", value = "LIST", kind = list_of { "reference", "paper" }, default = { "paper" },
      default_text = "paper", help = "how heatmaps become masks: paper, reference, or both" },
    cli.options.threshold,
    { name = "empty", value = "RULE", kind = kinds.choice { "keep", "paper" }, default = "keep", default_text = "keep",
      help = "images of which nothing is masked: keep them so, or use the paper's rule" },
    { name = "finetune-lr", value = "LIST", kind = rates, default = { "last", "auto" }, default_text = "last,auto",
      help = "rates of MaskTune's epoch: last, auto (best by the validation split, without group labels), numbers" },
    { name = "auto-by", value = "METRIC", kind = kinds.choice(by), default = "judges", default_text = "judges",
      help = "what auto goes by, on the validation split: judges (masked images and exchanged ones), masked, or as "
      .. "--select; worst_group, balanced_group and weighted use its group labels" },
    { name = "control-lr", value = "LIST", kind = control_rates, default = { "last", "matched" },
      default_text = "last,matched", help = "rates of the controls' epoch: as above, and matched: each that MaskTune "
      .. "is fine-tuned at, the one that auto chooses among them" },
    { name = "iterations", value = "N", kind = kinds.integer(1, 3), default = 1, default_text = "1",
      help = "times of masking and fine-tuning, 1 to 3" },
    { name = "accumulate", help = "later iterations mask what is masked already" },
  }
end

local function run_options(recipe)
  return {
    cli.options.seeds,
    cli.options.threads,
    { name = "out", value = "DIR", kind = kinds.text, default = recipe.out, default_text = recipe.out,
      help = "folder for results and checkpoints" },
    cli.options.resume,
    cli.options.overwrite,
    cli.options.serve,
    { name = "export", help = "write the masked training images as PNG files" },
    { name = "dry-run", help = "say what was found, and the memory and time a run would take; write nothing" },
    cli.options.help,
  }
end

--- All options, as masktune.cli takes them.
-- @tparam table recipe
-- @treturn {table,...}
return function(recipe)
  local all = {}
  for _, list in ipairs { data_options(recipe), recipe.options or {}, net_options(recipe), method_options(),
    run_options(recipe) } do
    table.move(list, 1, #list, #all + 1, all)
  end
  return all
end
