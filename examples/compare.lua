#!/usr/bin/env lua5.4
-- Many methods on the same data, chosen and reported in the same way.
--
--   lua5.4 examples/compare.lua --data biased_mnist --methods erm,masktune,jtt,groupdro,dfr --seeds 1,2,3
--   lua5.4 examples/compare.lua --data waterbirds --root DIR --methods erm,afr,dfr --budget 60 --resume
--   lua5.4 examples/compare.lua --help
--
-- One table: weighted average (by the training set's groups), worst group, mean over the groups and calibration error
-- on the test set, the minutes it took, and which labels each method used; one table of what choosing among the methods
-- without labels of groups would have cost. Methods share the ERM and the embeddings of a seed (their minutes are
-- counted for the first that needs them; of a method that was interrupted, those of its last part). What is finished is
-- kept in --out, so that a sweep that was interrupted goes on with --resume; at most an epoch is lost.

dofile((arg[0]:match("^.*/") or "") .. "checkout.lua")

local mt = require "masktune"
local experiment_seed = require "masktune.experiment.seed"
local experiment_rows = require "masktune.experiment.rows"
local experiment_sets = require "masktune.experiment.sets"
local cli, say, with = mt.cli, mt.cli.say, mt.tables.merged
local method_of, title_of = experiment_rows.method_of, experiment_rows.title_of

local VALIDATION_SHARE = 0.2

-- ---- data ----

--- Some of a set's images, always the same.
local function some_images(set, limit) return experiment_sets.limited(set, limit, 0) end

local function digits_of(o, split)
  local folder = not o.synthetic and mt.data.find_mnist(o.root)
  if folder then return some_images(mt.data.mnist { root = folder, split = split }, o.limit) end
  if not o.synthetic then error("MNIST is not there (--root names its folder; --synthetic draws digits)", 0) end
  return mt.data.synthetic_digits { count = o.limit or 10000, seed = split == "train" and 1 or 2 }
end

--- Data -> function (o, seed) -> train, val, test, and further tests by name.
local sources = {}

--- The test has all four groups: the digits as they are, with the square on the wrong class, and with it on the right
-- one.
function sources.biased_mnist(o, seed)
  o.digits = o.digits or { train = digits_of(o, "train"), test = digits_of(o, "test") }
  local function build(split, of) return mt.data.biased_mnist { source = o.digits[of], split = split, seed = seed } end
  local train, val = mt.data.split(build("train", "train"), { share = VALIDATION_SHARE, seed = seed })
  local original, biased = build("original", "test"), build("biased", "test")
  local test = mt.data.concat { original, biased, build("train", "test") }
  return train, val, test, { original = original, biased = biased }
end

--- Opened once for all seeds; what --freeze keeps as it is sees each image once.
local function photos(open)
  return function(o)
    if not o.root then error("--root: the folder of the images expected", 0) end
    if not o.photos then
      local function set(split)
        return some_images(open { root = o.root, split = split, size = o.size, cache = o.cache }, o.limit)
      end
      local sets = { train = set "train", val = set "val", tests = { { name = "test", set = set "test" } } }
      o.photos = experiment_seed.encoded(o, sets)
    end
    return o.photos.train, o.photos.val, o.photos.tests[1].set, {}
  end
end

sources.waterbirds = photos(function(options) return mt.data.waterbirds(options) end)
sources.celeba = photos(function(options) return mt.data.celeba(options) end)

local function model_of(o, train, seed)
  if o.data ~= "biased_mnist" then return experiment_seed.model(o, train.classes, seed) end
  mt.manual_seed(seed)
  return mt.models[o.net] { classes = train.classes }
end

-- ---- one method, one seed ----

--- Choice of the epoch -> the options that mean it.
local choices = {
  last = { weights = "last" },
  average = { weights = "best", select = "accuracy" },
  worst_class = { weights = "best", select = "worst_class" },
  worst_group = { weights = "best", select = "worst_group" },
}

--- The rate that a method is fine-tuned at, as options; none: its own.
local function rate_of(run, form)
  if form.matched then return run.rate end
  return { finetune_lr = form.method == "masktune" and "auto" or nil }
end

local function options_of(o, run, name)
  local method, form = method_of(name)
  local chosen = choices[o.choose]
  local masks = mt.tables.picked(o.threshold, method.schema)
  return with(masks, {
    method = form.method, random = form.random, train = run.train, val = run.val, epochs = o.epochs, batch = o.batch,
    lr = o.lr, weight_decay = o.weight_decay, seed = run.seed,
    checkpoint = run.folder, resume = true, select = chosen.select,
    weights = method.schema.weights and chosen.weights or nil,
    environments = method.schema.environments and "attribute" or nil,
    on_epoch = function()
      if o.deadline and mt.clock() > o.deadline then error("budget", 0) end
    end,
  }, rate_of(run, form))
end

--- What is reported of a net.
local function measured(model, run)
  local counts = {}
  for _, group in ipairs(run.train.group:totable()) do
    counts[group] = (counts[group] or 0) + 1
  end
  local found = mt.evaluate(model, run.test, { groups = "group" })
  local weights = {}
  for group in pairs(found.per_group) do
    weights[group] = counts[group] or 0
  end
  local row = {
    weighted = mt.metrics.weighted(found.per_group, weights), worst = found.worst_group,
    balanced = found.balanced_group, ece = found.ece, groups = {}, tests = {},
  }
  for group, accuracy in pairs(found.per_group) do
    row.groups[tostring(group)] = accuracy
  end
  for test, set in pairs(run.tests) do
    row.tests[test] = mt.evaluate(model, set).accuracy
  end
  return row
end

--- The stand-ins by which a net could be chosen: those that need a second look come from the seed's ERM.
local function scores_of(model, run)
  if not run.judge then
    local erm = run.erm()
    local masked = mt.masktune.mask_dataset(erm, run.val, { progress = false })
    run.judge = { inferred = mt.groups.errors(erm, run.val).group, masked = masked }
  end
  return mt.choose.scores(model, run.val, run.judge)
end

local function result_path(run, name) return ("%s/result-%s.json"):format(run.folder, name) end

--- What a finished result was made with; another run's results are not taken for this one's.
local function settings_of(o)
  local data = o.synthetic and "drawn digits" or o.data
  local photo = o.data ~= "biased_mnist" and (" at %d pixels, frozen %s, heat at %s"):format(o.size,
    o.freeze and "up to " .. o.freeze or "nothing", o.layer or "the net's layer") or ""
  local what = ("%s, %s images%s, %s"):format(data, o.limit or "all", photo, o.net)
  local rule = o.threshold
  local masks = rule.k == 2 and "" or (", masks by %s %s"):format(rule.rule, rule.k or rule.top or "")
  return ("%s, %d epochs, batch %d, lr %s, weight decay %s, chosen by %s%s"):format(what, o.epochs, o.batch,
    o.lr or "default", o.weight_decay or "default", o.choose, masks)
end

--- A result that is on disk.
local function finished(o, run, name)
  local path = result_path(run, name)
  if not mt.file_exists(path) then return nil end
  local row = mt.json.decode(mt.read_file(path))
  if row.settings == settings_of(o) then return row end
  error(("'%s' is of another run (%s): the same options, or another --out, expected"):format(path, row.settings), 0)
end

--- Runs a method, or takes its result from disk. Nil where the budget is spent.
local function run_method(o, run, name)
  local row = finished(o, run, name)
  if row then return row end
  if select(2, method_of(name)).matched and not run.rate then
    error(("'%s' does not say MaskTune's rate, which %s takes: it is an older version's; without it, it is made anew")
      :format(result_path(run, "masktune"), name), 0)
  end
  local started = mt.clock()
  local model = model_of(o, run.train, run.seed)
  local ok, result = pcall(mt.masktune, model, options_of(o, run, name))
  local seconds = mt.clock() - started
  if not ok and result == "budget" then return nil end
  if not ok and type(result) == "string" then result = ("%s, seed %d: %s"):format(name, run.seed, result) end
  if not ok then error(result, 0) end
  row = measured(model, run)
  row.settings, row.seconds, row.choice = settings_of(o), seconds, scores_of(model, run)
  row.rate = result.finetune and result.finetune.options
  local frozen = o.photos and o.photos.frozen
  mt.save(("%s/final-%s.safetensors"):format(run.folder, name), with(frozen or {}, model:state_dict()))
  mt.write_file(result_path(run, name), mt.json.encode(row, 2) .. "\n")
  return row
end

--- Removes the results of an earlier run of a seed.
local function clear(folder)
  mt.masktune.clear(folder)
  cli.remove_files(folder, "^result%-.*%.json$")
end

local function new_run(o, seed)
  local run = { seed = seed, folder = cli.seed_folder(o, seed) }
  run.train, run.val, run.test, run.tests = sources[o.data](o, seed)
  function run.erm()
    local model = model_of(o, run.train, seed)
    mt.masktune(model, options_of(o, run, "erm"))
    return model
  end
  return run
end

-- ---- results ----

--- What the table shows of each result, in per cent.
local columns = {
  { title = "weighted average", of = function(row) return row.weighted end },
  { title = "worst group", of = function(row) return row.worst end },
  { title = "mean of groups", of = function(row) return row.balanced end },
  { title = "ECE", of = function(row) return row.ece end, smaller = true },
}

local function all_columns(results)
  local list, first = table.move(columns, 1, #columns, 1, {}), nil
  for _, rows in pairs(results) do
    first = first or rows[1]
  end
  local names = {}
  for name in pairs(first and first.tests or {}) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    list[#list + 1] = { title = name .. " test", of = function(row) return row.tests[name] end }
  end
  return list
end

local function values_of(rows, column)
  local values = {}
  for i, row in ipairs(rows) do
    values[i] = 100 * column.of(row)
  end
  return values
end

--- Whether a mean lies within one deviation (the larger of both) of the best of its column.
local function near_best(values, best, column)
  local mean, std = mt.report.statistics(values)
  local best_mean, best_std = mt.report.statistics(best)
  local apart = column.smaller and mean - best_mean or best_mean - mean
  return apart <= math.max(std or 0, best_std or 0)
end

local function best_values(results, names, column)
  local best, best_mean
  for _, name in ipairs(names) do
    local values = values_of(results[name], column)
    local mean = mt.metrics.mean(values) * (column.smaller and -1 or 1)
    if not best or mean > best_mean then best, best_mean = values, mean end
  end
  return best
end

--- Whether a method uses labels of groups.
local function uses_groups(name)
  local labels = method_of(name).labels
  return labels:find("group") ~= nil
end

--- One block of the table: its methods are compared with each other.
local function block(results, names, list)
  local rows = {}
  for i, name in ipairs(names) do
    local cells = { title_of(name) }
    for _, column in ipairs(list) do
      local values = values_of(results[name], column)
      local good = near_best(values, best_values(results, names, column), column)
      cells[#cells + 1] = (good and "**%s**" or "%s"):format(mt.report.mean_std(values))
    end
    local seconds = {}
    for j, row in ipairs(results[name]) do
      seconds[j] = row.seconds / 60
    end
    cells[#cells + 1], cells[#cells + 2] = mt.report.mean_std(seconds), method_of(name).labels
    rows[i] = cells
  end
  return rows
end

local function results_table(results, names)
  local list, titles, rows = all_columns(results), { "method" }, {}
  for _, column in ipairs(list) do
    titles[#titles + 1] = column.title
  end
  titles[#titles + 1], titles[#titles + 2] = "minutes", "labels used"
  for _, needs in ipairs { false, true } do
    local part = {}
    for _, name in ipairs(names) do
      if uses_groups(name) == needs then part[#part + 1] = name end
    end
    local cells = block(results, part, list)
    table.move(cells, 1, #cells, #rows + 1, rows)
  end
  return mt.report.table(titles, rows)
end

--- Whether a method learns from the validation split, which then says nothing of it.
local function learns_from_validation(name) return method_of(name).labels:find("in validation", 1, true) ~= nil end

--- What choosing among the methods by each rule costs: mean over the seeds, in per cent of the worst test group.
-- Methods that learn from the validation split are no candidates.
local function choice_table(o, results, names)
  local costs, order = {}, {}
  for i in ipairs(o.seeds) do
    local candidates = {}
    for _, name in ipairs(names) do
      local row = not learns_from_validation(name) and results[name][i]
      if row then candidates[#candidates + 1] = { scores = row.choice, test = row.worst, name = name } end
    end
    for _, row in ipairs(#candidates > 0 and mt.choose.compare(candidates) or {}) do
      if not costs[row.rule] then
        costs[row.rule], order[#order + 1] = { cost = {}, chosen = {} }, row.rule
      end
      table.insert(costs[row.rule].cost, 100 * row.cost)
      table.insert(costs[row.rule].chosen, candidates[row.chosen].name)
    end
  end
  local rows = {}
  for i, rule in ipairs(order) do
    rows[i] = { rule, mt.report.mean_std(costs[rule].cost), table.concat(costs[rule].chosen, ", ") }
  end
  return mt.report.table({ "chosen by", "cost in worst group", "chosen" }, rows)
end

--- Colours around the circle, every second one darker.
local function color_of(i, count)
  local angle, light, color = 2 * math.pi * (i - 1) / count, i % 2 == 0 and 0.55 or 0.85, {}
  for channel = 1, 3 do
    local wave = 0.5 + 0.5 * math.cos(angle - 2 * math.pi * (channel - 1) / 3)
    color[channel] = math.floor(255 * light * wave + 0.5)
  end
  return color
end

--- Worst group against weighted average, with a deviation to each side.
local function write_plot(path, o, results, names)
  local series = {}
  for i, name in ipairs(names) do
    local x, dx = mt.report.statistics(values_of(results[name], columns[1]))
    local y, dy = mt.report.statistics(values_of(results[name], columns[2]))
    local color = color_of(i, #names)
    series[#series + 1] = { name = title_of(name), x = { x }, y = { y }, marks = true, color = color }
    if dx then
      series[#series + 1] = { x = { x - dx, x + dx }, y = { y, y }, color = color }
      series[#series + 1] = { x = { x, x }, y = { y - dy, y + dy }, color = color }
    end
  end
  return mt.plot.lines({
    title = "Worst group against average", subtitle = settings_of(o),
    x = { label = "weighted average, %" }, y = { label = "worst group, %" }, series = series, height = 1000,
  }):write(path)
end

-- ---- the program ----

local function main(o)
  if o.threads then mt.set_num_threads(o.threads) end
  o.net = o.net or (o.data == "biased_mnist" and "small_cnn" or "efficientnet_lite0")
  experiment_rows.check_matched(o.methods)
  cli.open_seeds(o, { "compare.json", "compare.png", "compare.txt" }, clear)
  o.deadline = o.budget and mt.clock() + 60 * o.budget
  local results, spent = {}, false
  for _, seed in ipairs(o.seeds) do
    local run = not spent and new_run(o, seed)
    for _, name in ipairs(run and o.methods or {}) do
      if not spent then
        say("seed %d: %s", seed, title_of(name))
        local row = run_method(o, run, name)
        spent = row == nil
        if name == "masktune" and row then run.rate = row.rate end
        results[name] = results[name] or {}
        table.insert(results[name], row)
      end
    end
  end
  local names = {}
  for _, name in ipairs(o.methods) do
    if results[name] and #results[name] > 0 then names[#names + 1] = name end
  end
  if spent then say("the budget of %g minutes is spent; --resume goes on", o.budget) end
  if #names == 0 then return end
  mt.write_file(o.out .. "/compare.json", mt.json.encode({
    settings = settings_of(o), seeds = mt.json.array(o.seeds), complete = not spent, methods = results,
  }, 2) .. "\n")
  write_plot(o.out .. "/compare.png", o, results, names)
  local text = ("%s\n\n%s\n%s"):format(settings_of(o), results_table(results, names), choice_table(o, results, names))
  mt.write_file(o.out .. "/compare.txt", text)
  print("\n" .. text)
end

local kinds = cli.kinds
local words = { "biased_mnist", "waterbirds", "celeba" }

local program = {
  name = "compare.lua",
  about = "Methods against shortcuts, in one table.",
  main = main,
  options = {
    { name = "data", value = "NAME", kind = kinds.choice(words), default = words[1], default_text = words[1],
      help = "data set: " .. table.concat(words, ", ") },
    { name = "root", value = "DIR", kind = kinds.text, help = "folder of the data set" },
    { name = "synthetic", help = "biased_mnist: drawn digits instead of MNIST" },
    { name = "methods", value = "LIST", kind = kinds.registered_list(mt.methods, experiment_rows.forms_and_matched),
      default = { "erm", "continue", "masktune" }, default_text = "erm,continue,masktune",
      help = "methods: " .. table.concat(mt.registry.names(mt.methods), ", ") .. "; randmask_area is RandMask with as "
        .. "much of each image as MaskTune hides; continue_matched, randmask_area_matched: at MaskTune's rate" },
    cli.options.seeds,
    { name = "choose", value = "RULE", kind = kinds.choice { "last", "average", "worst_class", "worst_group" },
      default = "last", default_text = "last",
      help = "which epoch counts: last, or the best on validation by average, worst_class or worst_group" },
    { name = "budget", value = "MINUTES", kind = kinds.positive, help = "stop after so long, at the end of an epoch" },
    { name = "epochs", value = "N", kind = kinds.integer(1), default = 20, default_text = "20", help = "epochs" },
    { name = "batch", value = "N", kind = kinds.integer(2), default = 128, default_text = "128", help = "batch size" },
    { name = "lr", value = "RATE", kind = kinds.positive,
      help = "first learning rate; halved after each quarter of the epochs", default_text = "0.01" },
    { name = "net", value = "NAME", kind = kinds.registered(mt.models),
      help = "net (default small_cnn for digits, efficientnet_lite0 for photos)" },
    { name = "weight-decay", value = "X", kind = kinds.positive, help = "weight decay", default_text = "the method's" },
    { name = "weights", value = "FILE", kind = kinds.weights, default = true, default_text = "published",
      help = "photos: what the net starts from: published (fetched where they are not on disk), a file, none" },
    { name = "freeze", value = "NAME", kind = kinds.text, default_text = "nothing",
      help = "photos: the net up to and with this part stays as it is, and is computed once an image" },
    { name = "layer", value = "NAME", kind = kinds.text, default_text = "the net's",
      help = "photos: the layer heatmaps are made at" },
    cli.options.threshold,
    { name = "cache", value = "DIR", kind = kinds.text, help = "photos: keep them decoded in this folder" },
    { name = "size", value = "N", kind = kinds.integer(16), default = 224, default_text = "224",
      help = "height and width of photos" },
    { name = "limit", value = "N", kind = kinds.integer(10), help = "use N images of each split only" },
    cli.options.threads,
    { name = "out", value = "DIR", kind = kinds.text, default = "out/compare", default_text = "out/compare",
      help = "folder for results and checkpoints" },
    cli.options.resume,
    cli.options.serve,
    cli.options.overwrite,
    cli.options.help,
  },
}

os.exit(cli.run(program, arg), true)
