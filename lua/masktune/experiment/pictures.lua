--- The paper's Figure 3 for an experiment: images of every group, where ERM looks, what is masked, where MaskTune
-- looks.
-- @module masktune.experiment.pictures
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local evaluate = require "masktune.evaluate"
local figure = require "masktune.figure"
local masks = require "masktune.recipe.masks"
local recipe = require "masktune.recipe"
local tables = require "masktune.tables"

local pictures = {}

local ROWS = 8 -- at most, but for at least one of each group

--- For each group its first images in a random order that ERM gets wrong (then others): nobody chose them.
local function chosen(set, erm)
  local answers = evaluate(erm, set, { predictions = true }).predictions
  local labels, groups = set.labels:totable(), (set.group or set.labels):totable()
  local names = set.group_names or set.class_names
  local per_group, wrong, right = math.max(1, ROWS // #names), {}, {}
  for _, i in ipairs(core.generator(1):permutation(#labels):totable()) do
    local list = answers[i] ~= labels[i] and wrong or right
    list[groups[i]] = list[groups[i]] or {}
    table.insert(list[groups[i]], i)
  end
  local positions = {}
  for group in ipairs(names) do
    local list = table.move(right[group] or {}, 1, #(right[group] or {}), #(wrong[group] or {}) + 1, wrong[group] or {})
    table.move(list, 1, math.min(per_group, #list), #positions + 1, positions)
  end
  return dataset.subset(set, positions)
end

local function captions(set, answers)
  local list, labels, groups = {}, set.labels:totable(), (set.group or set.labels):totable()
  local names = set.group_names or set.class_names
  for i, label in ipairs(labels) do
    list[i] = { { text = names[groups[i]] } }
    for n, name in ipairs { "ERM", "MaskTune" } do
      local answer = answers[n][i]:item()
      list[i][n + 1] = {
        text = ("%s: %s"):format(name, set.class_names[answer]),
        color = answer == label and figure.good or figure.bad,
      }
    end
  end
  return list
end

local function pixels_of(set)
  local list = {}
  for i = 1, dataset.count(set) do
    list[i] = set.images[i]
  end
  return core.stack(list, 1)
end

--- Draws the figure.
-- @tparam table experiment the recipe
-- @tparam table o the command line's values
-- @tparam table sets
-- @tparam table run a seed's, as from masktune.experiment.seed
-- @treturn Drawing
function pictures.draw(experiment, o, sets, run)
  local test = sets.tests[experiment.figure_test or 1]
  local set, tuned = chosen(test.set, run.erm), run.tuned
  local look = { cam = o.cam, progress = false }
  local before, erm_says = recipe.explain(run.erm, set, look)
  local after, tuned_says = recipe.explain(tuned.model, set, look)
  local rule = tables.picked(tuned.row.options, masks.rule_schema)
  local masked = select(2, recipe.mask_dataset(run.erm, set, tables.merged(rule, { heat = before })))
  return figure.comparison {
    images = pixels_of(set),
    before = before,
    after = after,
    keep = masked.keep,
    captions = captions(set, { erm_says, tuned_says }),
    map = "viridis",
    smooth = true,
    title = ("%s: where the net looks"):format(experiment.title),
    subtitle = ("%s, %s; ERM's errors at random"):format(o.net, tuned.row.title),
    columns = { { test.name, "image" }, { "before", "(ERM)" }, { "mask", "(from ERM)" }, { "after", "(MaskTune)" } },
  }
end

return pictures
