--- How good the nets of a run are.
local options = require "masktune.command.parts.options"
local project = require "masktune.command.parts.project"
local steps = require "masktune.command.parts.steps"
local story = require "masktune.command.parts.story"

return {
  summary = "accuracies of the nets of a run on its validation and test images",
  argument = options.run,
  options = { options.out },
  example = "masktune evaluate out/photos --json",
  run = function(o)
    local found = steps.evaluate(project.open { out = options.folder(o) })
    return found, story.accuracies(found)
  end,
}
