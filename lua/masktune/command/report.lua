--- A run in one page: of text, and of HTML with its pictures and charts.
local options = require "masktune.command.parts.options"
local page = require "masktune.command.parts.page"
local project = require "masktune.command.parts.project"

return {
  summary = "what was done in a run and what came of it: report.txt, and report.html with pictures and charts",
  argument = options.run,
  options = { options.out, page.option },
  example = "masktune report out/photos",
  run = function(o) return page.write(project.open { out = options.folder(o) }, o) end,
}
