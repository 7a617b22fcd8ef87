--- Does the net of a run lean on one cue?
local options = require "masktune.command.parts.options"
local pictures = require "masktune.command.parts.pictures"
local project = require "masktune.command.parts.project"
local steps = require "masktune.command.parts.steps"
local cli = require "masktune.cli"

local SHOWN = 8 -- images of each kind on a sheet

--- A sheet for each class: the images that its cue carries most, then those that it carries least.
local function write_sheets(run, found)
  local val, files = run:sets().val, {}
  for _, row in ipairs(found.classes) do
    local count, positions = math.min(SHOWN, #row.ranking), {}
    for i = 1, count do
      positions[i], positions[count + i] = row.ranking[i].image, row.ranking[#row.ranking - count + i].image
    end
    files[#files + 1] = run:path(("looks-at-%d.png"):format(row.class))
    pictures.sheet(files[#files], pictures.images(val, positions))
  end
  return files
end

return {
  summary = "does the net of a run lean on one cue? (validation images, no group labels)",
  about = "Writes diagnosis.json, and looks-at-CLASS.png: images most, then least, carried by what decides.",
  argument = options.run,
  options = {
    options.out,
    { name = "model", value = "WHICH", kind = cli.kinds.choice { "initial", "final" }, default = "initial",
      default_text = "initial", help = "the net: initial (as trained), final (after MaskTune)" },
  },
  example = "masktune diagnose out/photos",
  run = function(o)
    local run = project.open { out = options.folder(o) }
    local found = steps.diagnose(run, o.model)
    local files = write_sheets(run, found)
    return run:read("diagnosis.json")[o.model], tostring(found) .. "\n" .. table.concat(files, "\n")
  end,
}
