#!/usr/bin/env lua5.4
-- Selective classification: a classifier that says nothing where it is not sure (MaskTune's second half).
--
--   lua5.4 examples/selective.lua --dataset folder --data DIR       DIR/CLASS/*.png, or DIR/train and DIR/test
--   lua5.4 examples/selective.lua --dataset cifar10                 the paper's run: ResNet-32, 300 epochs
--   lua5.4 examples/selective.lua --help
--
-- For every seed: train (ERM), mask what the net looked at, fine-tune (MaskTune), and multiply the probabilities of
-- both models. Thresholds for each wanted coverage are set on a validation split, coverage and error are measured on
-- the test split; beside it the same for the ERM model's own probabilities (SR), and, as controls, for its product with
-- a model that was trained one more plain epoch, and with one fine-tuned on random masks of MaskTune's area. --methods
-- adds classifiers that are trained to abstain (paper, Table 4): with their own scores, and with SR on their logits.

dofile((arg[0]:match("^.*/") or "") .. "checkout.lua")

local experiment_sets = require "masktune.experiment.sets"
local mt = require "masktune"
local cli, say, with = mt.cli, mt.cli.say, mt.tables.merged

local VALIDATION_SHARE, TEST_SHARE, TEST_SEED = 0.2, 0.2, 0
--- Models that are fine-tuned from the ERM model, and multiplied with it.
local TUNED = {
  continue = { method = "continue", title = "ERM x one more epoch" },
  randmask_area = { method = "randmask", random = "area", title = "ERM x RandMask, same area" },
  masktune = { method = "masktune", title = "MaskTune" },
}
local abstaining = mt.selective.methods

--- What --methods chooses from, in the order of tables: SR, what is fine-tuned, what is trained to abstain.
local ALL_METHODS = { "sr", "continue", "randmask_area", "masktune" }
for _, name in ipairs(mt.registry.names(abstaining)) do
  if name ~= "sr" then ALL_METHODS[#ALL_METHODS + 1] = name end
end

local function title_of(name)
  local own = name:match "^(.*)_on_logits$"
  if own then return abstaining[own].title .. ", SR" end
  return TUNED[name] and TUNED[name].title or abstaining[name].title
end

--- How each data set is trained (paper, section 3). `epochs` is the length that `every` (halve the rate) and `drop` (a
-- tenth of it from then on) belong to.
local PLANS = {
  cifar10 = { epochs = 300, batch = 128, optimizer = "sgd", lr = 0.1, weight_decay = 1e-4, every = 25, augment = true },
  svhn = { epochs = 300, batch = 1024, optimizer = "sgd", lr = 0.1, weight_decay = 5e-4, every = 25 },
  catsdogs = { epochs = 200, batch = 128, optimizer = "adam", lr = 1e-3, weight_decay = 1e-4, drop = 50, size = 64 },
  folder = { epochs = 300, batch = 128, optimizer = "sgd", lr = 0.1, weight_decay = 1e-4, every = 25, size = 32 },
}

--- "1 epoch", "2 epochs".
local function counted(count, what) return ("%d %s%s"):format(count, what, count == 1 and "" or "s") end

-- ---- data ----

--- Reads a published data set; fetches it where it is nowhere on disk.
local function published(o, read, download)
  local found, train = pcall(read, { root = o.data, split = "train" })
  if not found and (o.data or not tostring(train):find("not found in", 1, true)) then error(train, 0) end
  if found then return train, read { root = o.data, split = "test" } end
  say("%s\nfetching it", train)
  local folder = download()
  return read { root = folder, split = "train" }, read { root = folder, split = "test" }
end

--- A name for titles: the folder's own, without the way to it.
local function folder_title(path) return ("images in %s"):format(path:match("([^/]+)/*$") or path) end

--- A folder of images: DIR/train and DIR/test where they are there (and DIR/val), else DIR with a random test split.
local function image_folder(o)
  if not o.data then error("--data: the folder of the images expected with --dataset folder", 0) end
  local function read(folder, class_names)
    return mt.data.image_folder { root = folder, size = o.size, class_names = class_names }
  end
  if not (mt.file_exists(o.data .. "/train") and mt.file_exists(o.data .. "/test")) then
    local all = read(o.data)
    local count = math.floor(TEST_SHARE * mt.data.size(all) + 0.5)
    all.name = folder_title(o.data)
    local train, test = mt.data.split(all, { count = count, seed = TEST_SEED })
    say("'%s' has no train and test: %d of its %d images, drawn with seed %d, are the test split", o.data, count,
      mt.data.size(all), TEST_SEED)
    return train, test, { share = TEST_SHARE, seed = TEST_SEED }
  end
  local train = read(o.data .. "/train")
  local test = read(o.data .. "/test", train.class_names)
  local val = mt.file_exists(o.data .. "/val") and read(o.data .. "/val", train.class_names) or nil
  for _, set in pairs { train, test, val } do
    set.name = folder_title(o.data)
  end
  return train, test, nil, val
end

--- Name -> reader: training set, test set, how the test set was split off where that was done here, and the validation
-- set where there is one.
local READERS = {
  cifar10 = function(o) return published(o, mt.data.cifar10, mt.data.download_cifar10) end,
  svhn = function(o) return published(o, mt.data.svhn, mt.data.download_svhn) end,
  catsdogs = function(o)
    if not o.data then error("--data: the folder of cat.N.jpg and dog.N.jpg expected with --dataset catsdogs", 0) end
    local function read(split) return mt.data.cats_dogs { root = o.data, split = split, size = o.size } end
    return read "train", read "test"
  end,
  folder = image_folder,
}

local function limited(set, limit) return experiment_sets.limited(set, limit, 0) end

--- How many images validate: the set's own, or a share of those for training.
local function validation_count(data)
  return data.val and mt.data.size(data.val) or math.floor(VALIDATION_SHARE * mt.data.size(data.train) + 0.5)
end

--- Training and validation images of a seed.
local function split_off(data, seed)
  if data.val then return data.train, data.val end
  return mt.data.split(data.train, { count = validation_count(data), seed = seed })
end

local function load_data(o)
  local train, test, split, val = READERS[o.dataset](o)
  local data = {
    train = limited(train, o.limit), test = limited(test, o.limit), split = split, val = val and limited(val, o.limit),
  }
  local held_out = validation_count(data)
  if held_out < 1 or mt.data.size(data.train) - (val and 0 or held_out) < 2 or mt.data.size(data.test) < 1 then
    error(("%d training and %d test images are too few: 3 and 1 or more expected"):format(mt.data.size(data.train),
      mt.data.size(data.test)), 0)
  end
  for _, target in ipairs(o.coverage) do
    if target / 100 * held_out < 0.5 then -- known before the training rather than behind it
      error(("--coverage: %g%% of %d validation images keeps none"):format(target, held_out), 0)
    end
  end
  return data
end

-- ---- nets ----

local NETS = { "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "vgg16_bn", "small_cnn" }

local function new_net(name, set)
  local shape = set.images:shape()
  local size = { shape[2], shape[3], shape[4] }
  if name:find("^resnet") then return mt.models[name] { classes = set.classes, input_channels = size[3] } end
  return mt.models[name] { classes = set.classes, input = size }
end

-- ---- training ----

--- The rates: the plan's, at the length of this run unless --exact-schedule.
local function schedule_of(o)
  local plan = PLANS[o.dataset]
  local function scaled(epochs)
    return o.exact_schedule and epochs or math.max(1, math.ceil(epochs * o.epochs / plan.epochs))
  end
  if plan.drop then return mt.schedule.multi_step { lr = o.lr, milestones = { scaled(plan.drop) }, factor = 0.1 } end
  return mt.schedule.step { lr = o.lr, every = scaled(plan.every), factor = 0.5 }
end

local function augmentation(o)
  if not o.augment then return nil end
  return mt.data.augment { { "horizontal_flip" }, { "affine", degrees = 15, shift = 0.1 } }
end

--- What ERM and MaskTune share.
local function training_options(o, data, seed)
  local train, val = split_off(data, seed)
  return {
    train = train,
    val = val,
    epochs = o.epochs,
    batch = o.batch,
    lr = o.lr,
    schedule = schedule_of(o),
    optimizer = PLANS[o.dataset].optimizer,
    weight_decay = PLANS[o.dataset].weight_decay,
    augment = augmentation(o),
    seed = seed,
    checkpoint = cli.seed_folder(o, seed),
    resume = true, -- main has cleared the folder, unless the run goes on
    settings = {
      net = o.net,
      limit = o.limit or "none",
      init = o.init and mt.checkpoint.digest(o.initial_weights) or "none",
      validation_share = data.val and "its own" or VALIDATION_SHARE,
      validation_split_seed = data.val and "none" or seed,
      test_split_seed = data.split and data.split.seed or "none",
    },
  }
end

--- The options of one fine-tuning.
local function tuned_options(o, name)
  local tuned = TUNED[name]
  local all = {
    cam = o.cam, protocol = o.protocol, random = tuned.random,
    finetune_lr = name == "masktune" and o.finetune_lr or "last",
  }
  return with(mt.tables.picked(all, mt.methods[tuned.method].schema), { method = tuned.method })
end

--- The ERM model's result: trained, or the given weights.
local function train_erm(o, model, shared, seed, write_rows)
  if not o.initial_weights then
    return mt.masktune.erm(model, with(shared, {
      checkpoint = cli.seed_folder(o, seed) .. "/erm.safetensors",
      on_epoch = function(_, history) write_rows(mt.report.epoch_rows(seed, "erm", history)) end,
    }))
  end
  model:load_state_dict(o.initial_weights)
  return o.initial_weights
end

local function run_abstaining(o, data, name, shared, erm)
  local method = abstaining[name]
  local own = {
    build = function() return new_net(o.net, data.train) end,
    coverage = o.selectivenet_coverage, members = o.members,
  }
  mt.manual_seed(shared.seed)
  return method(new_net(o.net, data.train), with(shared, mt.tables.picked(own, method.schema), { initial = erm }))
end

--- ERM, masks, fine-tunings, classifiers trained to abstain: `erm` (model), `tuned` and `abstaining` (name -> result),
-- `val` (the validation split).
local function train_seed(o, data, seed, write_rows)
  mt.manual_seed(seed)
  local model, shared = new_net(o.net, data.train), training_options(o, data, seed)
  say("\nseed %d: %d training, %d validation, %d test images", seed, mt.data.size(shared.train),
    mt.data.size(shared.val), mt.data.size(data.test))
  local erm = train_erm(o, model, shared, seed, write_rows)
  local trained = { erm = model, tuned = {}, abstaining = {}, val = shared.val }
  local rows = mt.report.epoch_rows(seed, "erm", erm.history or {})
  local function keep(name, net)
    mt.save(("%s/final-%s.safetensors"):format(cli.seed_folder(o, seed), name), net:state_dict())
  end
  if erm.last then model:load_state_dict(erm.last.model) end
  keep("erm", model)
  for _, name in ipairs(ALL_METHODS) do
    if o.chosen[name] and TUNED[name] then
      local result = mt.masktune(model:clone(), with(shared, tuned_options(o, name), { initial = erm }))
      local tuned = mt.report.epoch_rows(seed, name, result.finetune.candidates)
      write_rows(table.move(tuned, 1, #tuned, #rows + 1, rows))
      keep(name, result.final)
      trained.tuned[name] = result
    elseif o.chosen[name] and name ~= "sr" then
      trained.abstaining[name] = run_abstaining(o, data, name, shared, erm)
      keep(name, trained.abstaining[name].final)
    end
  end
  if o.export then
    mt.masktune.export(shared.train, ("%s/seed-%d"):format(o.export, seed), {
      keep = trained.tuned.masktune.masks[1].keep,
    })
  end
  return trained
end

-- ---- selection ----

local function same_scores(a, b)
  for i, score in ipairs(a.scores) do
    if score ~= b.scores[i] then return false end
  end
  return true
end

--- Answers of every method on one split: name -> answers, and the names in the order of tables. A classifier trained to
-- abstain is there with SR on its logits, too, unless that is its own score or SR's.
local function answers_on(trained, set, split)
  local answers, names = {}, {}
  local function add(name, found)
    answers[name], names[#names + 1] = found, name
  end
  local function probabilities(model, name)
    return mt.selective.predict(model, set, { progress = true, label = ("%s, %s split"):format(name, split) })
  end
  local initial = probabilities(trained.erm, "ERM")
  add("sr", mt.selective.softmax_response(initial))
  for _, name in ipairs(ALL_METHODS) do
    local tuned, abstains = trained.tuned[name], trained.abstaining[name]
    if tuned then
      local final = probabilities(tuned.final, mt.methods[TUNED[name].method].title)
      add(name, mt.selective.product(initial, final))
      if name == "masktune" then
        answers.masktune_softmax = mt.selective.softmax_product(initial, final)
        answers.agreement = mt.selective.agreement(initial, final)
      end
    elseif abstains then
      local sr = mt.selective.softmax_response(abstains.probabilities(set))
      add(name, abstains.answers(set))
      local is_other = not same_scores(answers[name], sr) and not same_scores(answers.sr, sr)
      if is_other then add(name .. "_on_logits", sr) end
    end
  end
  return answers, names
end

--- What one method reaches for every wanted coverage, thresholds from the validation split.
local function selected(o, val, test, labels)
  local list = {}
  for i, target in ipairs(o.coverage) do
    local gamma, on_validation = mt.selective.threshold(val.scores, { coverage = target / 100, ties = "nearest" })
    list[i] = with(mt.selective.evaluate(test, labels, gamma), { gamma = gamma, on_validation = on_validation })
  end
  return list
end

local function run_seed(o, data, seed, write_rows)
  local started = mt.clock()
  local trained = train_seed(o, data, seed, write_rows)
  local val, test, names = answers_on(trained, trained.val, "validation"), answers_on(trained, data.test, "test")
  local labels, masktune = data.test.labels:totable(), trained.tuned.masktune
  local run = {
    names = names,
    answers = test.masktune or test.sr,
    finetune_lr = masktune and masktune.finetune.lr,
    masked = masktune and masktune.masks[1].fraction,
    selected = {},
    curves = {},
    agreement = test.agreement and mt.selective.evaluate(test.agreement, labels, 0),
    validation_count = mt.data.size(trained.val),
  }
  for method, answers in pairs(test) do
    if method ~= "agreement" then
      run.selected[method] = selected(o, val[method], answers, labels)
      run.curves[method] = mt.selective.risk_coverage(answers, labels)
    end
  end
  run.seconds = mt.clock() - started
  return run
end

-- ---- results ----

--- A list with an entry for every run.
local function of_runs(runs, value)
  local list = mt.json.array()
  for i, run in ipairs(runs) do
    list[i] = value(run)
  end
  return list
end

--- One method for results.json. Everything is a list over seeds; coverage and error are one such list for each target.
local function collect_method(o, runs, method)
  local collected = {
    aurc = of_runs(runs, function(run) return run.curves[method].aurc end),
    e_aurc = of_runs(runs, function(run) return run.curves[method].e_aurc end),
    coverage = {}, error = {}, gamma = {}, validation_coverage = {},
  }
  for i, target in ipairs(o.coverage) do
    local key = ("%.10g"):format(target)
    local function list(value) return of_runs(runs, function(run) return value(run.selected[method][i]) end) end
    collected.coverage[key] = list(function(found) return mt.report.percent(found.coverage) end)
    collected.error[key] = list(function(found) return mt.report.percent(found.error) end)
    collected.validation_coverage[key] = list(function(found) return mt.report.percent(found.on_validation) end)
    collected.gamma[key] = list(function(found) return found.gamma end)
  end
  return collected
end

local function collect(o, data, runs, total_seconds)
  local collected = {
    dataset = o.dataset,
    data = data.train.name,
    classes = data.train.classes,
    net = o.net,
    init = o.init,
    epochs = o.epochs,
    batch = o.batch,
    lr = o.lr,
    schedule = mt.schedule.describe(schedule_of(o), o.epochs),
    augment = o.augment,
    cam = o.cam,
    protocol = o.protocol,
    finetune_lr = o.finetune_lr,
    limit = o.limit,
    seeds = mt.json.array(o.seeds),
    validation_split = {
      share = not data.val and VALIDATION_SHARE or nil,
      count = runs[1].validation_count,
      seeds = not data.val and mt.json.array(o.seeds) or nil,
    },
    test_split = data.split,
    test_count = mt.data.size(data.test),
    target_coverage = mt.json.array(o.coverage),
    methods = {},
    seconds = { seeds = of_runs(runs, function(run) return run.seconds end), total = total_seconds },
  }
  for method in pairs(runs[1].selected) do
    collected.methods[method] = collect_method(o, runs, method)
  end
  if o.chosen.masktune then
    collected.chosen_lr = of_runs(runs, function(run) return run.finetune_lr end)
    collected.masked_share = of_runs(runs, function(run) return run.masked end)
    collected.agreement = {
      coverage = of_runs(runs, function(run) return mt.report.percent(run.agreement.coverage) end),
      error = of_runs(runs, function(run) return mt.report.percent(run.agreement.error) end),
    }
  end
  return collected
end

--- Mean +- std; a dash where a seed covered nothing and so has no error.
local function shown(values, options)
  for _, value in ipairs(values) do
    if value ~= value then return "-" end
  end
  return mt.report.mean_std(values, options or { digits = 2 })
end

--- A row for each method and wanted coverage. All methods use class labels and nothing else.
local function results_table(o, collected, names)
  local rows = {}
  for _, target in ipairs(o.coverage) do
    local key = ("%.10g"):format(target)
    for _, method in ipairs(names) do
      local found = collected.methods[method]
      rows[#rows + 1] = { title_of(method), key .. "%", shown(found.coverage[key]), shown(found.error[key]) }
    end
  end
  return mt.report.table({ "method (labels used: class)", "wanted", "coverage", "error" }, rows)
end

--- As the paper's Table 4: a row for each method, the error at each wanted coverage from the largest on; areas under
-- the risk-coverage curve times 1000.
local function errors_table(o, collected, names)
  local heads, rows, targets = { "method (labels used: class)" }, {}, table.move(o.coverage, 1, #o.coverage, 1, {})
  table.sort(targets, function(a, b) return a > b end)
  for _, target in ipairs(targets) do
    heads[#heads + 1] = ("error at %.10g%%"):format(target)
  end
  table.move({ "AURC", "E-AURC" }, 1, 2, #heads + 1, heads)
  local function thousand(values)
    local list = {}
    for i, value in ipairs(values) do
      list[i] = 1000 * value
    end
    return shown(list)
  end
  for _, method in ipairs(names) do
    local found = collected.methods[method]
    local row = { title_of(method) }
    for _, target in ipairs(targets) do
      row[#row + 1] = shown(found.error[("%.10g"):format(target)])
    end
    table.move({ thousand(found.aurc), thousand(found.e_aurc) }, 1, 2, #row + 1, row)
    rows[#rows + 1] = row
  end
  return mt.report.table(heads, rows)
end

local function print_results(o, data, collected, names)
  local spread = #o.seeds > 1 and ", mean +- std" or ""
  print(("\n%s, %s, %s, %s; coverage and error among the covered in %%%s"):format(data.train.name, o.net,
    counted(o.epochs, "epoch"), counted(#o.seeds, "seed"), spread))
  print(results_table(o, collected, names))
  print "\nThe same errors, and areas under the risk-coverage curve times 1000"
  print(errors_table(o, collected, names))
  if o.chosen.selectivenet then print(("SelectiveNet is trained for coverage %g"):format(o.selectivenet_coverage)) end
  if collected.agreement then
    print(("where both models agree: coverage %s, error %s"):format(shown(collected.agreement.coverage),
      shown(collected.agreement.error)))
  end
  print(("results.json, metrics.csv, risk_coverage.png, kept_and_rejected.png and checkpoints are in %s"):format(o.out))
end

-- ---- pictures ----

local CURVE_POINTS = 200

--- The mean over seeds of a method's curve, with a band of a standard deviation where there are several.
local function curve_series(runs, method)
  local series = { name = method == "sr" and "SR (softmax response)" or title_of(method), x = {}, y = {} }
  if #runs > 1 then series.low, series.high = {}, {} end
  for i = 1, CURVE_POINTS do
    local share, risks = i / CURVE_POINTS, {}
    for r, run in ipairs(runs) do
      risks[r] = 100 * mt.selective.risk_at(run.curves[method], share)
    end
    local mean, std = mt.report.statistics(risks)
    series.x[i], series.y[i] = 100 * share, mean
    if std then series.low[i], series.high[i] = math.max(0, mean - std), mean + std end
  end
  return series
end

--- Where the thresholds of the validation split come out on the test split; nil where nothing was covered.
local function threshold_marks(o, collected, method)
  local marks = { x = {}, y = {}, marks = true }
  for _, target in ipairs(o.coverage) do
    local key = ("%.10g"):format(target)
    local found = collected.methods[method]
    local x, y = mt.report.statistics(found.coverage[key]), mt.report.statistics(found.error[key])
    if y == y then
      marks.x[#marks.x + 1], marks.y[#marks.y + 1] = x, y
    end
  end
  return #marks.x > 0 and marks or nil
end

--- What the plot shows, in its order: of a classifier trained to abstain its own scores, and no controls.
local function plotted(names)
  local list = {}
  for _, name in ipairs(names) do
    if name == "masktune" or name == "sr" or abstaining[name] then list[#list + 1] = name end
  end
  return list
end

local function write_plot(path, o, data, runs, collected)
  local series, shown_methods = {}, plotted(runs[1].names)
  local function color(i) return mt.plot.palette[(i - 1) % #mt.plot.palette + 1] end
  for i, name in ipairs(shown_methods) do
    local curve = with(curve_series(runs, name), { color = color(i), dashed = name == "sr" })
    local has_band = name == "sr" or name == "masktune" -- more would hide each other
    series[i] = has_band and curve or mt.tables.without(curve, { "low", "high" })
  end
  for i, name in ipairs(shown_methods) do
    local marks = threshold_marks(o, collected, name)
    if marks then series[#series + 1] = with(marks, { color = color(i) }) end
  end
  local last = series[#series]
  if last.marks then -- one entry in the legend for the marks of all
    last.name, last.legend_color = "thresholds set on the validation split", { 95, 100, 108 }
  end
  local over = #runs > 1 and (", mean of %d seeds, bands: ± standard deviation"):format(#runs) or ""
  return mt.plot.lines({
    title = ("%s, %s"):format(data.train.name, o.net),
    subtitle = ("%s, %s%s"):format(counted(mt.data.size(data.test), "test image"), counted(o.epochs, "epoch"), over),
    x = { label = "coverage (%)", min = 0, max = 100 },
    y = { label = "error among the covered (%)", min = 0 },
    series = series,
  }):write(path)
end

local function write_gallery(path, o, data, run)
  return mt.selective.gallery({
    images = data.test.images,
    answers = run.answers,
    labels = data.test.labels,
    names = data.test.class_names,
    title = ("%s, %s%s, seed %d"):format(data.train.name, o.net, o.chosen.masktune and " with MaskTune" or "",
      o.seeds[1]),
  }):write(path)
end

-- ---- the program ----

--- Options that depend on the data set or on files.
local function complete(o)
  local plan = PLANS[o.dataset]
  for _, name in ipairs { "epochs", "batch", "lr" } do
    o[name] = o[name] or plan[name]
  end
  if o.size and not plan.size then error(("--size: images of %s have a size of their own"):format(o.dataset), 0) end
  o.size = o.size or plan.size
  if o.augment == nil then o.augment = plan.augment or false end
  if o.init then o.initial_weights = mt.load(o.init) end
  o.chosen = { sr = true }
  for _, name in ipairs(o.methods) do
    o.chosen[name] = true
  end
  if o.export and not o.chosen.masktune then
    error("--export: the masks are MaskTune's, which --methods leaves out", 0)
  end
end

local function main(o)
  local started = mt.clock()
  if o.threads then mt.set_num_threads(o.threads) end
  complete(o)
  local data = load_data(o)
  cli.open_seeds(o, { "results.json", "metrics.csv", "risk_coverage.png", "kept_and_rejected.png" }, mt.masktune.clear)
  local runs, write_rows = {}, mt.report.csv_by_run(o.out .. "/metrics.csv", mt.report.epoch_columns)
  for i, seed in ipairs(o.seeds) do
    runs[i] = run_seed(o, data, seed, function(rows) write_rows(i, rows) end)
  end
  local collected = collect(o, data, runs, mt.clock() - started)
  write_plot(o.out .. "/risk_coverage.png", o, data, runs, collected)
  write_gallery(o.out .. "/kept_and_rejected.png", o, data, runs[1])
  mt.write_file(o.out .. "/results.json", mt.json.encode(collected, 2) .. "\n")
  print_results(o, data, collected, runs[1].names)
end

local kinds = cli.kinds

--- Different percentages in (0, 100], with commas between them.
local function percentages(text)
  local list, seen = {}, {}
  for piece in (text .. ","):gmatch("([^,]*),") do
    local value = tonumber(piece)
    if not value or not (value > 0 and value <= 100) or seen[value] then
      return nil, "different percentages above 0 up to 100, such as 90,95,100"
    end
    list[#list + 1], seen[value] = value, true
  end
  return list
end

local function on_off(text)
  if text == "on" or text == "off" then return text == "on" end
  return nil, "on or off"
end

--- A number in (0, 1].
local function share(text)
  local value = kinds.positive(text)
  if value and value <= 1 then return value end
  return nil, "a number above 0 up to 1"
end

local program = {
  name = "selective.lua",
  about = "Selective classification with MaskTune, beside the softmax response of the model it started from.",
  main = main,
  options = {
    { name = "dataset", value = "NAME", kind = kinds.choice { "cifar10", "svhn", "catsdogs", "folder" },
      default = "folder", default_text = "folder", help = "cifar10, svhn, catsdogs, or folder: your own images" },
    { name = "data", value = "DIR", kind = kinds.text, help = "folder of the data set",
      default_text = "cifar10, svhn: $MASKTUNE_DATA, ./data, the cache folder" },
    { name = "size", value = "N", kind = kinds.integer(4, 4096),
      help = "height and width that images of catsdogs and folder are brought to", default_text = "64 and 32" },
    { name = "net", value = "NAME", kind = kinds.choice(NETS), default = "resnet32", default_text = "resnet32",
      help = table.concat(NETS, ", ") },
    { name = "init", value = "FILE", kind = kinds.text,
      help = "weights to start from instead of ERM training (.safetensors, .pth)" },
    { name = "epochs", value = "N", kind = kinds.integer(1), help = "epochs of ERM; the rates change accordingly",
      default_text = "300, catsdogs 200" },
    { name = "exact-schedule", help = "change the rates at the paper's epochs, however long the run is" },
    { name = "batch", value = "N", kind = kinds.integer(2), help = "batch size", default_text = "128, svhn 1024" },
    { name = "lr", value = "RATE", kind = kinds.positive, help = "first learning rate",
      default_text = "0.1, catsdogs 0.001" },
    { name = "augment", value = "on|off", kind = on_off, help = "flip, turn and shift the training images",
      default_text = "on for cifar10" },
    cli.cam_option(mt.cam),
    cli.options.protocol,
    { name = "finetune-lr", value = "RATE", kind = kinds.choice({ "auto", "last" }, kinds.positive), default = "last",
      default_text = "last", help = "MaskTune's rate: last, auto (best by the validation split), a number" },
    { name = "coverage", value = "LIST", kind = percentages, default = { 80, 85, 90, 95, 100 },
      default_text = "80,85,90,95,100", help = "wanted coverages in per cent" },
    { name = "methods", value = "LIST", kind = kinds.registered_list(abstaining, TUNED),
      default = { "sr", "continue", "randmask_area", "masktune" },
      default_text = "sr,continue,randmask_area,masktune", help = table.concat(ALL_METHODS, ", ") },
    { name = "selectivenet-coverage", value = "SHARE", kind = share, default = 0.9, default_text = "0.9",
      help = "coverage that SelectiveNet is trained for" },
    { name = "members", value = "N", kind = kinds.integer(2, 100), default = 5, default_text = "5",
      help = "nets of the ensemble, ERM's among them" },
    cli.options.seeds,
    { name = "limit", value = "N", kind = kinds.integer(10), help = "use N training and N test images only" },
    cli.options.threads,
    { name = "out", value = "DIR", kind = kinds.text, default = "out/selective", default_text = "out/selective",
      help = "folder for results and checkpoints" },
    cli.options.export,
    cli.options.resume,
    cli.options.serve,
    cli.options.overwrite,
    cli.options.help,
  },
}

os.exit(cli.run(program, arg), true)
