--- Experiments on photos as programs. What differs from one to the other is a recipe, a short table; the command line,
-- the rows of the table, resuming, the figure and the dry run are the same for all.
-- @module masktune.experiment
local cli = require "masktune.cli"
local core = require "masktune.core"
local dry_run = require "masktune.experiment.dry_run"
local json = require "masktune.json"
local measures = require "masktune.experiment.measures"
local options = require "masktune.experiment.options"
local pictures = require "masktune.experiment.pictures"
local recipe = require "masktune.recipe"
local report = require "masktune.report"
local results = require "masktune.experiment.results"
local rows_of = require "masktune.experiment.rows"
local seed_run = require "masktune.experiment.seed"
local sets_of = require "masktune.experiment.sets"

--- Removes what an earlier run left in a seed's folder, the masked images that it wrote among it.
local function clear(folder)
  recipe.clear(folder)
  for _, name in ipairs(core.list_directory(folder)) do
    if name:find "^masked%-" then cli.remove_files(folder .. "/" .. name, "^%d+.*%.png$") end
  end
end

local function write_results(experiment, o, rows, runs, seconds)
  local collected = results.collect(experiment, o, rows, runs, seconds)
  core.write_file(o.out .. "/results.json", json.encode(collected, 2) .. "\n")
  return collected
end

local function main(experiment, o)
  local started = core.clock()
  if o.threads then core.set_num_threads(o.threads) end
  if o.freeze and o.augment ~= "none" then
    error("--freeze computes each image once: it does not go together with --augment", 0)
  end
  if o.dry_run then o.cache = nil end -- which would be written
  local sets, rows = sets_of.open(experiment, o), rows_of.of(o)
  if o.dry_run then return dry_run(experiment, o, seed_run.encoded(o, sets), rows) end
  seed_run.model(o, sets.train.classes, o.seeds[1]) -- what is wrong with the weights is said before anything is written
  cli.open_seeds(o, { "results.json", "metrics.csv", "heatmaps.png" }, clear)
  sets = seed_run.encoded(o, sets)
  local runs, collected = {}, nil
  local write_rows = report.csv_by_run(o.out .. "/metrics.csv", report.epoch_columns)
  for i, seed in ipairs(o.seeds) do
    local run = seed_run.run(experiment, o, sets, rows, seed, function(list) write_rows(i, list) end)
    if i == 1 and run.tuned then
      pictures.draw(experiment, o, sets, run):write(o.out .. "/heatmaps.png")
    end
    runs[i] = { rows = run.rows } -- without the models
    collected = write_results(experiment, o, rows, runs, core.clock() - started)
  end
  results.print(collected, o)
end

local experiment = { measures = measures }

--- The program of a recipe.
-- @tparam table definition
--
-- * `name` of the script, `about`, `title` of the data, `out` (folder); `data_help`: what --data is; `folders` and
--   `marker`: where the data lie when --data is not given, and a file that shows it
-- * `open(o, root, split)` -> data set, for "train", "val", "test"; or `tests(o, root)` -> list of `name`, `set` and
--   `validation_share` of the training images
-- * `columns` and `measure(model, sets)` -> values, parts (name -> value): as in experiment.measures
-- * `defaults`: `net`, `size`, `epochs`, `batch`, `lr`, `schedule`; `options`: further ones of the command line;
--   `figure_test`: which test the figure shows
-- @treturn table for masktune.cli
function experiment.program(definition)
  return {
    name = definition.name,
    about = definition.about,
    options = options(definition),
    main = function(o) main(definition, o) end,
  }
end

--- Runs the program of a recipe.
-- @tparam table definition
-- @tparam {string,...} arguments
-- @treturn integer exit status
function experiment.run(definition, arguments) return cli.run(experiment.program(definition), arguments) end

return experiment
