--- A run's folder: what its settings are, and what it has found so far.
--
--    run.json                the settings: data, net, size, seed, rate, layer
--    split.csv               which image is in which split
--    stages/                 checkpoints
--    initial.safetensors     the net as it was trained (ERM), final.safetensors: after MaskTune
--    training.json, diagnosis.json, finetuning.json, results.json, report.txt
-- @module masktune.command.parts.project
local cli = require "masktune.cli"
local core = require "masktune.core"
local frozen = require "masktune.command.parts.frozen"
local json = require "masktune.json"
local nets = require "masktune.command.parts.nets"
local photos = require "masktune.command.parts.photos"
local recipe = require "masktune.recipe"
local report = require "masktune.report"

local Project = {}
Project.__index = Project

local FILES = {
  "run.json", "split.csv", "initial.safetensors", "final.safetensors", "masks.safetensors", "training.json",
  "diagnosis.json", "finetuning.json", "results.json", "report.txt", "report.html", "metrics.csv",
}

local project = { default = "out/masktune" }

function Project:path(name) return self.folder .. "/" .. name end

function Project:has(name) return core.file_exists(self:path(name)) end

--- Writes a table as JSON.
function Project:write(name, value) core.write_file(self:path(name), json.encode(value, 2) .. "\n") end

--- A table that was written; nil where there is none.
function Project:read(name) return self:has(name) and json.decode(core.read_file(self:path(name))) or nil end

--- The data sets, read once.
function Project:sets()
  self.loaded = self.loaded or photos.load(self.settings)
  return self.loaded
end

--- The training and validation images as the trained part of the net takes them, made once.
-- @tparam Module model the net before training
-- @treturn table `train`, `val`
function Project:trained_on(model)
  self.seen = self.seen or frozen.sets(self.settings, model, self:sets())
  return self.seen
end

--- A net of the run with its weights.
-- @string which "initial" or "final"
function Project:model(which)
  if not self:has(which .. ".safetensors") then
    error(("'%s' has no %s.safetensors: masktune %s makes it"):format(self.folder, which,
      which == "initial" and "train" or "finetune"), 0)
  end
  return nets.saved(self.settings, core.load(self:path(which .. ".safetensors")))
end

--- The net to use: "final" where there is one that is not known to be no better, else "initial".
function Project:latest()
  local found = self:read "finetuning.json" or {}
  return self:has "final.safetensors" and found.helped ~= false and "final" or "initial"
end

function Project:save_settings() self:write("run.json", self.settings) end

local function clear(folder)
  for _, name in ipairs(FILES) do
    core.remove_file(folder .. "/" .. name)
  end
  recipe.clear(folder .. "/stages")
end

--- What a run that goes on must have in common with its beginning.
local FIXED = { "data", "net", "size", "seed", "epochs", "batch", "lr", "pretrained" }

--- Takes the settings of the run in the folder, where those given now do not contradict.
local function resume(self, o)
  local before = self:read "run.json"
  if not before then return end
  for _, name in ipairs(FIXED) do
    local asked = o[name]
    local given = before.asked[name]
    if asked ~= nil and asked ~= given then
      error(("--resume: the run in '%s' has %s %s, not %s"):format(self.folder, name, tostring(given or "as it came"),
        tostring(asked)), 0)
    end
  end
  self.settings = before
end

--- Makes a run's folder and reads its data.
-- @tparam table o values of the command line
-- @treturn Project `settings`; `fresh`: whether nothing of the run was there
function project.create(o)
  if not o.data and not o.resume then error("--data: a folder of images, or a CSV file, expected", 0) end
  if o.data and not core.path_kind(o.data) then error(("--data: '%s' is not there"):format(o.data), 0) end
  cli.open_out(o.out, o, function() clear(o.out) end)
  local self = setmetatable({ folder = o.out }, Project)
  if o.resume then resume(self, o) end
  if self.settings then return self end
  if not o.data then error(("--resume: no run in '%s'"):format(o.out), 0) end
  local asked = {}
  for _, name in ipairs(FIXED) do
    asked[name] = o[name]
  end
  self.fresh = true
  self.settings = { data = o.data, seed = o.seed or 1, size = o.size or photos.natural_size(o.data), asked = asked }
  local sets = self:sets()
  self.settings.classes, self.settings.class_names = sets.train.classes, json.array(sets.train.class_names)
  self.settings.split_off = json.array(sets.split_off)
  core.make_directory(self:path "stages")
  local rows = photos.split_rows(sets)
  if #rows > 0 then report.write_csv(self:path "split.csv", { "file", "label", "split" }, rows) end
  return self
end

--- Opens the folder of a run that was begun.
-- @tparam table o `out`
-- @treturn Project
function project.open(o)
  local self = setmetatable({ folder = o.out }, Project)
  if core.path_kind(o.out) ~= "folder" then error(("--out: there is no run in '%s'"):format(o.out), 0) end
  self.settings = self:read "run.json"
  if not self.settings then
    error(("--out: there is no run in '%s' (masktune train --data FOLDER --out DIR begins one)"):format(o.out), 0)
  end
  cli.open_out(o.out, { resume = true }, clear)
  return self
end

return project
