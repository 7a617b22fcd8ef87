--- The finished stages of a recipe, kept in a folder so that a run that was killed repeats only what was not finished.
-- Heatmaps and fine-tunings are kept under the digest of what they depend on: runs with other masks, rates or methods
-- lie side by side in one folder and share the ERM, and the heatmaps where these are the same.
-- Without a folder nothing is kept, and nothing is ever found. A run that does not resume removes what it finds first.
-- @module masktune.recipe.stages
local checkpoint = require "masktune.checkpoint"
local core = require "masktune.core"
local dist = require "masktune.dist"

local Stages = {}
Stages.__index = Stages

--- File names a recipe writes: the number is the iteration's, the rest a digest.
local patterns = {
  "^erm%.safetensors$", "^heat%-%d+%-%x+%.safetensors$", "^finetune%-%d+%-%x+%.safetensors$",
  "^train%-[%w_]+%-%x+%.safetensors$", "^groups%-[%w_]+%-%x+%.safetensors$",
  "^embed%-[%w_]+%-%x+%.safetensors$", "^embed%-[%w_]+%-%x+%.safetensors%.part$",
  "^masks%-%d+%-%l+%-%x+%.safetensors$", "^heat%-%d+%-%l+%-%x+%.safetensors$",
}

local function remove_stages(folder)
  if not core.file_exists(folder) then return end
  for _, name in ipairs(core.list_directory(folder)) do
    for _, pattern in ipairs(patterns) do
      if name:gsub("%.partial$", ""):find(pattern) then core.remove_file(folder .. "/" .. name) end
    end
  end
end

--- Removes the stages in a folder (a folder that is not there has none).
-- @string folder
local function clear(folder) dist.on_first(remove_stages, folder) end

local function digest(settings)
  local texts = {}
  for name, value in pairs(settings) do
    texts[#texts + 1] = ("%s = %s"):format(name, value)
  end
  table.sort(texts)
  return core.md5(table.concat(texts, "\n")):sub(1, 8)
end

--- The path of a stage's file; nil without a folder.
-- @string name "erm", "heat-1", "finetune-1", "train-groupdro", "groups-eiil", ...
-- @tparam[opt] table settings what it depends on
function Stages:path(name, settings)
  local suffix = settings and "-" .. digest(settings) or ""
  return self.folder and ("%s/%s%s.safetensors"):format(self.folder, name, suffix)
end

local function saved(path, settings)
  if core.file_exists(path) then return (checkpoint.load(path, settings)) end
end

--- The state of a stage that was saved, nil where there is none. (Rank 0 reads and writes, for all.)
-- @string name
-- @tparam table settings
function Stages:load(name, settings)
  if self.folder then return dist.from_first(saved, self:path(name, settings), settings) end
end

function Stages:save(name, state, settings)
  if self.folder then dist.on_first(checkpoint.save, self:path(name, settings), state, settings) end
end

--- Removes what a stage leaves behind on its way.
function Stages:remove(name, settings)
  if self.folder then dist.on_first(core.remove_file, self:path(name, settings)) end
end

--- Opens a folder of stages.
-- @tparam ?string folder made where it is missing
-- @tparam boolean resume whether what is there counts
local function open(folder, resume)
  if folder then
    dist.on_first(core.make_directory, folder)
    if not resume then clear(folder) end
  end
  return setmetatable({ folder = folder }, Stages)
end

return { open = open, clear = clear }
