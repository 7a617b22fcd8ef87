--- A run in one page of text.
local core = require "masktune.core"
local options = require "masktune.command.parts.options"
local project = require "masktune.command.parts.project"
local story = require "masktune.command.parts.story"

return {
  summary = "what was done in a run and what came of it, in one page",
  argument = options.run,
  options = { options.out },
  example = "masktune report out/photos",
  run = function(o)
    local run = project.open { out = options.folder(o) }
    local text, found = story.report(run)
    core.write_file(run:path "report.txt", text .. "\n")
    return found, text
  end,
}
