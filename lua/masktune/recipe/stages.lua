--- The finished stages of a recipe, kept in a folder so that a run that was killed repeats only what was not finished.
-- Without a folder nothing is kept, and nothing is ever found. A run that does not resume removes what it finds first:
-- what lies in the folder is always of one run.
-- @module masktune.recipe.stages
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"

local Stages = {}
Stages.__index = Stages

--- File names a recipe writes; the number is the iteration's.
local patterns = { "^erm%.safetensors$", "^heat%-%d+%.safetensors$", "^finetune%-%d+%.safetensors$" }

--- Removes the stages in a folder (a folder that is not there has none).
-- @string folder
local function clear(folder)
  if not core.file_exists(folder) then return end
  for _, name in ipairs(core.list_directory(folder)) do
    for _, pattern in ipairs(patterns) do
      if name:find(pattern) then core.remove_file(folder .. "/" .. name) end
    end
  end
end

--- The path of a stage's file; nil without a folder.
-- @string name "erm", "heat-1", "finetune-1", ...
function Stages:path(name)
  return self.folder and ("%s/%s.safetensors"):format(self.folder, name)
end

--- The state of a stage that was saved, nil where there is none.
-- @string name
-- @tparam table settings as in checkpoint.load, which refuses those of another run
function Stages:load(name, settings)
  local path = self:path(name)
  if path and core.file_exists(path) then return (checkpoint.load(path, settings)) end
end

function Stages:save(name, state, settings)
  if self.folder then checkpoint.save(self:path(name), state, settings) end
end

--- Opens a folder of stages.
-- @tparam ?string folder made where it is missing
-- @tparam boolean resume whether what is there counts
local function open(folder, resume)
  if folder then
    core.make_directory(folder)
    if not resume then clear(folder) end
  end
  return setmetatable({ folder = folder }, Stages)
end

return { open = open, clear = clear }
