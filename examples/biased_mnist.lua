#!/usr/bin/env lua5.4
-- Biased MNIST: a net that cheats (it reads a blue square) becomes one that reads digits.
--
--   lua5.4 examples/biased_mnist.lua --epochs 4          after `make`, from the checkout or with masktune installed
--   lua5.4 examples/biased_mnist.lua --help
--
-- For every seed: train on digits where a blue square gives the class away (ERM), then train one more epoch: on the
-- same images, on images masked at random (RandMask: squares, or the area that MaskTune masks), and on images masked
-- where the net looked (MaskTune); the controls at a rate of their own and at MaskTune's. Two tests: the original
-- digits, and the biased ones, where the square says the wrong thing.

dofile((arg[0]:match("^.*/") or "") .. "checkout.lua")

local mt = require "masktune"
local rows_of_tables = require "masktune.experiment.rows"
local cli, say, with = mt.cli, mt.cli.say, mt.tables.merged
local method_of, title_of = rows_of_tables.method_of, rows_of_tables.title_of

local DEFAULT_METHODS = {
  "erm", "continue", "randmask", "randmask_area", "masktune", "continue_matched", "randmask_area_matched",
}

local SQUARE = 4 -- side, in pixels
local VALIDATION_SHARE = 0.2 -- 12,000 of 60,000

-- ---- data ----

--- Real digits from disk or from a mirror; drawn ones where neither can be had.
local function mnist_digits(o)
  local folder = mt.data.find_mnist(o.data)
  if not folder and o.data then
    error(("--data: MNIST's four files are not in '%s' (left out: they are looked for, or fetched)"):format(o.data), 0)
  end
  if not folder then
    say("MNIST is not on disk (looked in $MASKTUNE_DATA, ./data, the cache folder): fetching it")
    local fetched, problem = pcall(mt.data.download_mnist)
    if not fetched then
      say("%s", problem)
      return nil
    end
    folder = mt.data.find_mnist()
  end
  return {
    train = mt.data.mnist { root = folder, split = "train" },
    test = mt.data.mnist { root = folder, split = "test" },
  }
end

--- Drawn training images; with MNIST's 60,000 the exceptions alone teach ERM nearly all of the drawn digits.
local DRAWN = 40000

local function synthetic_digits(o)
  local train = math.min(o.limit or DRAWN, 60000)
  return {
    train = mt.data.synthetic_digits { count = train, seed = 1 },
    test = mt.data.synthetic_digits { count = math.min(train, 10000), seed = 2 },
    synthetic = true,
  }
end

local function first_images(set, limit)
  if not limit or limit >= mt.data.size(set) then return set end
  return mt.data.subset(set, limit)
end

local function load_digits(o)
  local digits = not o.synthetic and mnist_digits(o)
  if not digits then
    digits = synthetic_digits(o)
    say("Using SYNTHETIC digits drawn by masktune: the figures below are not MNIST's.")
  end
  digits.train, digits.test = first_images(digits.train, o.limit), first_images(digits.test, o.limit)
  return digits
end

--- The data sets of one seed.
local function biased_sets(o, digits, seed)
  local function build(source, split)
    return mt.data.biased_mnist {
      source = source, split = split, bias = o.bias, squares = o.squares, size = SQUARE, seed = seed,
    }
  end
  local all = build(digits.train, "train")
  local count = math.max(1, math.floor(VALIDATION_SHARE * mt.data.size(all)))
  local train, val = mt.data.split(all, { count = count, seed = seed })
  return {
    train = train, val = val, original = build(digits.test, "original"), biased = build(digits.test, "biased"),
  }
end

-- ---- one seed ----

--- The options that all methods share. The stages of all lie in one folder, which main has cleared unless it resumes.
local function shared_options(o, sets, seed)
  return {
    train = sets.train,
    val = sets.val,
    epochs = o.epochs,
    batch = o.batch,
    lr = o.lr,
    seed = seed,
    checkpoint = cli.seed_folder(o, seed),
    resume = true,
    settings = { data = o.data_name, limit = o.limit or "none", bias = o.bias, squares = o.squares },
  }
end

--- The rate that a method is fine-tuned at, as options.
local function rate_of(o, form, results)
  if form.matched then return results.masktune.finetune.options end
  return { finetune_lr = form.method == "masktune" and o.finetune_lr or form.method == "randmask" and o.randmask_lr
    or "last" }
end

--- The options that one method takes besides: those of its schema.
local function method_options(o, name, results)
  local method, form = method_of(name)
  local all = with(o.threshold, {
    cam = o.cam,
    protocol = o.protocol,
    empty = o.empty,
    iterations = o.iterations,
    accumulate = o.accumulate,
    random = form.random,
  }, rate_of(o, form, results))
  return with(mt.tables.picked(all, method.schema), { method = form.method })
end

local function accuracies(model, sets, progress_label)
  local result = {}
  for _, test in ipairs { "original", "biased" } do
    result[test] = mt.evaluate(model, sets[test], {
      progress = true, label = ("%s, %s test"):format(progress_label, test),
    }).accuracy
  end
  return result
end

--- The share of the squares' pixels that the masks hide, over the training images that have them.
local function square_coverage(set, keep, squares)
  local marked = {}
  for i, biased in ipairs(set.biased:totable()) do
    if biased == 1 then marked[#marked + 1] = i end
  end
  if #marked == 0 then return nil end
  local top = keep:index(marked):to("float32"):narrow(2, 1, SQUARE)
  local width, kept = top:size(3), 0
  local lefts = { 1, width - SQUARE + 1 }
  for square = 1, squares do
    kept = kept + top:narrow(3, lefts[square], SQUARE):mean():item()
  end
  return 1 - kept / squares
end

--- ERM, RandMask and MaskTune for one seed: their models, accuracies, and what results.json says of them.
local function run_seed(o, digits, seed, write_rows)
  local sets = biased_sets(o, digits, seed)
  mt.manual_seed(seed)
  local model = mt.models.small_cnn { classes = 2 }
  local shared, folder = shared_options(o, sets, seed), cli.seed_folder(o, seed)

  say("\nseed %d: %d training, %d validation, %d test images", seed, mt.data.size(sets.train), mt.data.size(sets.val),
    mt.data.size(sets.original))
  local erm = mt.masktune.erm(model, with(shared, {
    checkpoint = folder .. "/erm.safetensors",
    on_epoch = function(_, history) write_rows(mt.report.epoch_rows(seed, "erm", history)) end,
  }))
  local rows = mt.report.epoch_rows(seed, "erm", erm.history)
  write_rows(rows)
  local results, keep = {}, nil
  for _, name in ipairs(o.methods) do
    say("seed %d: %s", seed, title_of(name))
    local result = mt.masktune(model:clone(), with(shared, method_options(o, name, results), { initial = erm }))
    if result.finetune then
      local tuned = mt.report.epoch_rows(seed, name, result.finetune.candidates)
      table.move(tuned, 1, #tuned, #rows + 1, rows)
      write_rows(rows)
    end
    if name == "masktune" then keep = result.masks[1].keep end
    result.masks = nil -- large
    results[name] = result
  end

  for _, name in ipairs(o.methods) do
    results[name].accuracy = accuracies(results[name].final, sets, title_of(name))
    mt.save(("%s/final-%s.safetensors"):format(folder, name), results[name].final:state_dict())
  end
  if o.export and keep then mt.masktune.export(sets.train, ("%s/seed-%d"):format(o.export, seed), { keep = keep }) end
  local coverage = o.bias == "square" and keep and square_coverage(sets.train, keep, o.squares) or nil
  return { sets = sets, erm = model, results = results, coverage = coverage }
end

-- ---- the figure ----

local CLASS_NAMES = { "0-4", "5-9" }
local FIGURE_ROWS = 5

--- The first image of each digit that ERM gets wrong, in the order of the data set; nobody chose them for looking good.
local function figure_images(set, erm)
  local wrong, others, shown = {}, {}, {}
  local digits, labels = set.digits:totable(), set.labels:totable()
  for i, predicted in ipairs(mt.evaluate(erm, set, { predictions = true }).predictions) do
    local fooled = predicted ~= labels[i] and not shown[digits[i]]
    if fooled then shown[digits[i]] = true end
    table.insert(fooled and wrong or others, i)
  end
  table.move(others, 1, FIGURE_ROWS, #wrong + 1, wrong) -- where ERM is hardly ever wrong
  return mt.data.subset(set, table.move(wrong, 1, math.min(FIGURE_ROWS, #wrong), 1, {}))
end

local function caption(digit, class, predicted)
  local lines = { { text = ("digit %d: class %s"):format(digit, CLASS_NAMES[class]) } }
  for i, name in ipairs { "ERM", "MaskTune" } do
    local answer = predicted[i]
    lines[i + 1] = {
      text = ("%s says %s"):format(name, CLASS_NAMES[answer]),
      color = answer == class and mt.figure.good or mt.figure.bad,
    }
  end
  return lines
end

--- The paper's Figure 2, right: where ERM looks, what is masked, where MaskTune looks, on the biased test.
local function write_figure(path, o, run)
  local erm, tuned = run.erm, run.results.masktune.final
  local set = figure_images(run.sets.biased, erm)
  local before, erm_says = mt.masktune.explain(erm, set, { cam = o.cam, progress = false })
  local after, tuned_says = mt.masktune.explain(tuned, set, { cam = o.cam, progress = false })
  local masks = select(2, mt.masktune.mask_dataset(erm, set, with(o.threshold, {
    protocol = o.protocol, empty = o.empty, heat = before,
  })))
  local captions, digits, labels = {}, set.digits:totable(), set.labels:totable()
  for i, digit in ipairs(digits) do
    captions[i] = caption(digit, labels[i], { erm_says[i]:item(), tuned_says[i]:item() })
  end
  return mt.figure.comparison({
    images = set.images,
    before = before,
    after = after,
    keep = masks.keep,
    captions = captions,
    title = "Where the net looks, before and after MaskTune",
    subtitle = ("%s, biased test: first ERM errors (%s, %d epochs)"):format(o.data_name == "MNIST" and "MNIST"
      or "SYNTHETIC digits (not MNIST)", o.protocol, o.epochs),
    columns = {
      { "test image", "" }, { "before", "(ERM)" }, { "mask", "(from ERM)" }, { "after", "(MaskTune)" },
    },
  }):write(path)
end

-- ---- results ----

--- What a method took beyond ERM; for ERM, what that took.
local function seconds_of(name, result)
  local seconds = result.seconds
  return name == "erm" and seconds.erm or (seconds.mask or 0) + (seconds.finetune or 0)
end

--- What results.json holds: lists with one entry per seed; accuracies and coverage in per cent.
local function collect(o, runs, total_seconds)
  local json = mt.json
  local collected = {
    protocol = o.protocol,
    cam = o.cam,
    epochs = o.epochs,
    seeds = json.array(o.seeds),
    data = o.data_name,
    bias = o.bias,
    squares = o.squares,
    finetune_lr = o.finetune_lr,
    randmask_lr = o.randmask_lr,
    limit = o.limit,
    square_coverage = json.array(),
    methods = {},
    chosen = {},
    seconds = { total = total_seconds },
  }
  for _, name in ipairs(o.methods) do
    collected.methods[name] = {
      title = title_of(name), labels = method_of(name).labels, original = json.array(),
      biased = json.array(),
    }
    collected.chosen[name], collected.seconds[name] = json.array(), 0
  end
  for i, run in ipairs(runs) do
    for name, result in pairs(run.results) do
      for test, accuracy in pairs(result.accuracy) do
        collected.methods[name][test][i] = mt.report.percent(accuracy)
      end
      local fine = result.finetune
      collected.chosen[name][i] = fine and {
        lr = fine.lr, schedule = fine.options.finetune_schedule, k = fine.k, iterations = fine.iterations,
      }
      collected.seconds[name] = collected.seconds[name] + seconds_of(name, result)
    end
    collected.square_coverage[i] = run.coverage and mt.report.percent(run.coverage)
  end
  return collected
end

local function results_table(o, collected)
  local rows = {}
  for i, name in ipairs(o.methods) do
    local scores = collected.methods[name]
    rows[i] = { scores.title, mt.report.mean_std(scores.original), mt.report.mean_std(scores.biased), scores.labels }
  end
  return mt.report.table({ "accuracy in %", "original", "biased", "labels used" }, rows)
end

local function print_results(o, collected)
  print(("\n%s, %s protocol, %d epochs, %d seed%s"):format(o.data_name, o.protocol, o.epochs, #o.seeds,
    #o.seeds == 1 and "" or "s (mean +- std)"))
  print(results_table(o, collected))
  for i, seed in ipairs(collected.chosen.masktune and o.seeds or {}) do
    local chosen = collected.chosen.masktune[i]
    local falling = chosen.schedule == "cosine" and " falling to 0" or ""
    print(("seed %d: MaskTune fine-tuned at rate %.4g%s (%s), %d iteration%s"):format(seed, chosen.lr, falling,
      o.finetune_lr, chosen.iterations, chosen.iterations == 1 and "" or "s"))
  end
  if #collected.square_coverage > 0 then
    print(("the masks hide %s%% of the square, among training images that have it"):format(
      mt.report.mean_std(collected.square_coverage)))
  end
  print(("results.json, metrics.csv and checkpoints are in %s"):format(o.out))
end

local CUES = { square = "the square", background = "the background", foreground = "the digit's colour" }

local function tests_of(scores) return mt.tables.picked(scores, { title = true, original = true, biased = true }) end

--- The last words: what came of it, and where to see it.
local function print_outcome(o, collected, figure)
  local methods = collected.methods
  if not methods.masktune then return end
  if methods.erm then
    local controls = {}
    for _, name in ipairs(o.methods) do
      if name ~= "erm" and name ~= "masktune" then controls[#controls + 1] = tests_of(methods[name]) end
    end
    print("\n" .. mt.outcome.sentence {
      cue = CUES[o.bias], erm = tests_of(methods.erm), masktune = tests_of(methods.masktune), controls = controls,
    })
  end
  print(("Pictures of where the nets look, before and after: %s"):format(figure))
end

-- ---- the program ----

local function main(o)
  local started = mt.clock()
  if o.threads then mt.set_num_threads(o.threads) end
  rows_of_tables.check_matched(o.methods)
  local digits = load_digits(o)
  cli.open_seeds(o, { "results.json", "metrics.csv", "figure.png" }, mt.masktune.clear)
  o.data_name = digits.synthetic and "synthetic digits" or "MNIST"
  local runs, write_rows = {}, mt.report.csv_by_run(o.out .. "/metrics.csv", mt.report.epoch_columns)
  for i, seed in ipairs(o.seeds) do
    runs[i] = run_seed(o, digits, seed, function(rows) write_rows(i, rows) end)
    if i > 1 then runs[i].sets = nil end
  end
  local figure = runs[1].results.masktune and write_figure(o.out .. "/figure.png", o, runs[1])
  local collected = collect(o, runs, mt.clock() - started)
  mt.write_file(o.out .. "/results.json", mt.json.encode(collected, 2) .. "\n")
  print_results(o, collected)
  print_outcome(o, collected, figure)
end

local kinds = cli.kinds

local rate = kinds.choice({ "auto", "last" }, kinds.positive)

local program = {
  name = "biased_mnist.lua",
  about = "ERM, RandMask and MaskTune on digits with a spurious blue square.",
  main = main,
  options = {
    { name = "data", value = "DIR", kind = kinds.text, help = "folder with MNIST's four files",
      default_text = "$MASKTUNE_DATA, ./data, the cache folder" },
    { name = "synthetic", help = "use drawn digits instead of MNIST" },
    { name = "epochs", value = "N", kind = kinds.integer(1), default = 20, default_text = "20",
      help = "epochs of ERM" },
    cli.options.seeds,
    { name = "batch", value = "N", kind = kinds.integer(2), default = 128, default_text = "128", help = "batch size" },
    { name = "lr", value = "RATE", kind = kinds.positive, default = 0.01, default_text = "0.01",
      help = "first learning rate; halved after each quarter of the epochs" },
    { name = "methods", value = "LIST", kind = kinds.registered_list(mt.methods, rows_of_tables.forms_and_matched),
      default = DEFAULT_METHODS, default_text = table.concat(DEFAULT_METHODS, ","),
      help = "methods to compare: " .. table.concat(mt.registry.names(mt.methods), ", ")
      .. ", randmask_area; continue_matched, randmask_area_matched (at MaskTune's rate)" },
    cli.cam_option(mt.cam),
    cli.options.protocol,
    { name = "empty", value = "RULE", kind = kinds.choice { "keep", "paper" }, default = "keep", default_text = "keep",
      help = "images of which nothing is masked: keep them so, or use the paper's rule" },
    cli.options.threshold,
    { name = "finetune-lr", value = "RATE", kind = rate, default = "auto", default_text = "auto",
      help = "MaskTune's rate: auto (best by the validation split), last, a number" },
    { name = "randmask-lr", value = "RATE", kind = rate, default = "last", default_text = "last",
      help = "RandMask's rate, as above" },
    { name = "bias", value = "NAME", kind = kinds.choice { "square", "background", "foreground" }, default = "square",
      default_text = "square", help = "what gives the class away: square, background, foreground" },
    { name = "squares", value = "N", kind = kinds.integer(1, 2), default = 1, default_text = "1",
      help = "number of squares, 1 or 2" },
    { name = "iterations", value = "N", kind = kinds.integer(1, 3), default = 1, default_text = "1",
      help = "times of masking and fine-tuning, 1 to 3" },
    { name = "accumulate", help = "later iterations mask what is masked already" },
    cli.options.threads,
    { name = "limit", value = "N", kind = kinds.integer(10), help = "use the first N training and test images only" },
    { name = "out", value = "DIR", kind = kinds.text, default = "out/biased_mnist",
      default_text = "out/biased_mnist", help = "folder for results and checkpoints" },
    cli.options.export,
    cli.options.resume,
    cli.options.serve,
    cli.options.overwrite,
    cli.options.help,
  },
}

os.exit(cli.run(program, arg), true)
