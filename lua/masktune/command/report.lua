--- A run in one page: of text, and of HTML with its pictures and charts.
local cli = require "masktune.cli"
local core = require "masktune.core"
local options = require "masktune.command.parts.options"
local page = require "masktune.command.parts.page"
local project = require "masktune.command.parts.project"
local story = require "masktune.command.parts.story"

return {
  summary = "what was done in a run and what came of it: report.txt, and report.html with pictures and charts",
  argument = options.run,
  options = {
    options.out,
    { name = "pictures", value = "N", kind = cli.kinds.integer(1, 100000), default = 200, default_text = "200",
      help = "how many validation images the page shows at most, drawn at random" },
  },
  example = "masktune report out/photos",
  run = function(o)
    local run = project.open { out = options.folder(o) }
    local text, found = story.report(run)
    core.write_file(run:path "report.txt", text .. "\n")
    core.write_file(run:path "report.html", page.of(run, o))
    return found, ("%s\n\n%s"):format(text, run:path "report.html")
  end,
}
