--- A run as one page of HTML: what was done, what came of it, and the pictures.
-- @module masktune.command.parts.page
local chart = require "masktune.html.chart"
local cli = require "masktune.cli"
local core = require "masktune.core"
local data = require "masktune.data"
local dataset = require "masktune.data.dataset"
local html = require "masktune.html"
local json = require "masktune.json"
local layer = require "masktune.command.parts.layer"
local photos = require "masktune.command.parts.photos"
local pictures = require "masktune.command.parts.pictures"
local plot = require "masktune.plot"
local recipe = require "masktune.recipe"
local selective = require "masktune.selective"
local story = require "masktune.command.parts.story"
local tables = require "masktune.tables"

local page = {}

local TILE = 96 -- pixels of a picture's shorter side in the gallery
local CONSPICUOUS = 6 -- images of a class shown as its most and least spurious
local NAMES = { initial = "before (ERM)", final = "after MaskTune" }

local function percent(value) return value and ("%.1f"):format(100 * value) or "" end

--- The nets that the run has, first the one trained plainly.
local function models_of(run)
  local list = {}
  for _, which in ipairs { "initial", "final" } do
    if run:has(which .. ".safetensors") then list[#list + 1] = which end
  end
  return list
end

-- ---- numbers ----

local function outcome(found)
  local lines = {}
  if found.diagnosis and found.diagnosis.initial then lines[1] = "Diagnosis: " .. found.diagnosis.initial.verdict end
  if found.finetuning then lines[#lines + 1] = found.finetuning.outcome end
  return html.list(lines)
end

local function accuracies(found)
  if not found.results then return "" end
  local rows = {}
  for _, which in ipairs { "initial", "final" } do
    for _, split in ipairs { "val", "test" } do
      local m = (found.results.models[which] or {})[split]
      if m then
        rows[#rows + 1] = { NAMES[which], split, percent(m.accuracy), percent(m.balanced), percent(m.worst_class),
          percent(m.worst_group), percent(m.ece), m.count }
      end
    end
  end
  return html.table({ "net", "split", "accuracy", "balanced", "worst class", "worst group", "ECE", "images" }, rows,
    "In %. MaskTune used class labels only; groups, where there are any, are for reading the result.")
end

local function per_class(found)
  local parts, names = {}, found.settings.class_names
  for _, which in ipairs { "initial", "final" } do
    local m = found.results and (found.results.models[which] or {}).test
    if m and m.confusion then
      parts[#parts + 1] = "<div>" .. html.confusion(m.confusion, names,
        ("Test images, %s: answers (columns) to images of a class (rows)"):format(NAMES[which])) .. "</div>"
    end
  end
  return #parts > 0 and '<div class="row">' .. table.concat(parts) .. "</div>" or ""
end

local function risk_coverage(run, models)
  local set = run:sets().test
  if data.size(set) == 0 then return "" end
  local labels, answers, probabilities = set.labels, {}, {}
  for _, which in ipairs(models) do
    probabilities[which] = selective.predict(run:model(which), set)
    answers[#answers + 1] = { NAMES[which] .. ", softmax response", selective.softmax_response(probabilities[which]) }
  end
  if probabilities.final then
    answers[#answers + 1] = { "both nets, multiplied", selective.product(probabilities.initial, probabilities.final) }
  end
  local series, rows = {}, {}
  for i, answer in ipairs(answers) do
    local curve = selective.risk_coverage(answer[2], labels)
    local line = { name = answer[1], x = {}, y = {} }
    for n, point in ipairs(curve.points) do
      line.x[n], line.y[n] = 100 * point.coverage, 100 * point.risk
    end
    series[i], rows[i] = line, { answer[1], ("%.4f"):format(curve.aurc), ("%.4f"):format(curve.e_aurc) }
  end
  local curves = plot.lines {
    title = "Error of what is answered", x = { label = "coverage, % of the test images", min = 0, max = 100 },
    y = { label = "error, %", min = 0 },
    series = series, width = chart.size.width, height = chart.size.height,
  }
  return ('<div class="charts">%s<div>%s</div></div>'):format(
    chart.of(curves, "Error of what is answered against coverage"),
    html.table({ "answers", "AURC", "E-AURC" }, rows, "Area under the curve; less is better"))
end

-- ---- diagnosis ----

--- The average heatmaps of each class, before and after.
local function average_heat(heats, labels, names, models)
  local parts = {}
  for class, name in ipairs(names) do
    local members = {}
    for i, label in ipairs(labels) do
      if label == class then members[#members + 1] = i end
    end
    for _, which in ipairs(#members > 0 and models or {}) do
      local mean = heats[which]:index(members):mean(1)
      local image = core.image.colormap(core.image.resize(mean, { size = 128, mode = "nearest" }))
      parts[#parts + 1] = ("<figure>%s<figcaption>%s, %s</figcaption></figure>"):format(html.image(image,
        ("average heatmap of class %s %s"):format(name, NAMES[which]), { lossless = true, width = 128 }),
        html.escape(name), NAMES[which])
    end
  end
  return '<div class="row">' .. table.concat(parts) .. "</div>"
end

local function class_rows(diagnosis, which, rows)
  for _, row in ipairs(diagnosis[which] and diagnosis[which].classes or {}) do
    rows[#rows + 1] = {
      row.name, NAMES[which], row.text, percent(row.carried), percent(row.carried_random), row.place.name,
      percent(row.place.share), percent(row.content.share), ("%.2f"):format(row.drop.most),
      ("%.2f"):format(row.drop.random),
    }
  end
end

--- The images of a class that its cue carries most, and least.
local function spurious(run, diagnosis)
  local parts = {}
  for _, row in ipairs(diagnosis.initial.classes) do
    for _, list in ipairs { { row.most_spurious, "carried most by what the net looks at" },
      { row.least_spurious, "carried least" } } do
      local positions = {}
      for i = 1, math.min(CONSPICUOUS, #list[1]) do
        positions[i] = list[1][i].image
      end
      if #positions > 0 then
        local images = core.image.grid(pictures.images(run:sets().val, positions), { columns = CONSPICUOUS })
        parts[#parts + 1] = ("<figure>%s<figcaption>%s: %s</figcaption></figure>"):format(html.image(images,
          ("%d images of class %s, %s"):format(#positions, row.name, list[2])), html.escape(row.name), list[2])
      end
    end
  end
  return "<h3>Ranked by how much the cue carries them</h3>" .. '<div class="row">' .. table.concat(parts) .. "</div>"
end

local function diagnosis_section(run, found, heats, labels, models)
  local diagnosis = found.diagnosis
  if not diagnosis or not diagnosis.initial then return "" end
  local rows = {}
  class_rows(diagnosis, "initial", rows)
  class_rows(diagnosis, "final", rows)
  local a = diagnosis.initial.accuracy
  local side = diagnosis.initial.side
  local text = "Accuracy %s %%; with the most relevant window of %dx%d pixels hidden %s %%, a random one %s %%, the "
    .. "least relevant %s %%. Windows of a class are pasted into images of other classes: how many then get its answer?"
  return html.paragraph(diagnosis.initial.verdict)
    .. html.paragraph(text:format(percent(a.whole), side, side, percent(a.most), percent(a.random), percent(a.least)))
    .. html.table({ "class", "net", "verdict", "turned, %", "by random windows, %", "place", "of windows there, %",
      "alike, %", "confidence lost when hidden", "when a random one is" }, rows, "What decides for each class")
    .. "<h3>Where the net looks, on average</h3>" .. average_heat(heats, labels, found.settings.class_names, models)
    .. spurious(run, diagnosis)
end

-- ---- pictures ----

--- The pictures that the page shows: drawn at random, at most `count`, in the data set's order.
local function drawn(run, count)
  local set = run:sets().val
  count = math.min(count, data.size(set))
  local order = core.generator(run.settings.seed):permutation(data.size(set)):totable()
  local positions = table.move(order, 1, count, 1, {})
  table.sort(positions)
  return set, positions
end

--- How the run masked; nothing where it did not.
local function masking_of(run) return (run:read "finetuning.json" or {}).masking or {} end

--- Heatmaps of some images, and what a net says of them.
local function look(run, which, some)
  local model = run:model(which)
  model.cam_layer = run.settings.layer
  local cam = masking_of(run).cam or layer.cam
  local heat = recipe.explain(model, some, { cam = cam, layer = run.settings.layer, progress = false })
  return { heat = heat, probabilities = selective.predict(model, some) }
end

local function small(images)
  local height, width = images:size(2), images:size(3)
  local scale = TILE / math.min(height, width)
  local size = { math.floor(height * scale + 0.5), math.floor(width * scale + 0.5) }
  return core.image.resize(images, { size = size, mode = scale > 1 and "nearest" or "bilinear", antialias = scale < 1 })
end

--- The pictures as the run would mask them.
local function masked(run, set, positions, heat)
  return pictures.images((recipe.mask_dataset(run:model "initial", dataset.subset(set, positions),
    tables.merged(masking_of(run), { heat = heat, progress = false }))))
end

local function gallery(run, set, positions, seen, models)
  local names, labels = run.settings.class_names, dataset.subset(set, positions).labels:totable()
  local groups = set.group and dataset.subset(set, positions).group:totable()
  local images = pictures.images(set, positions)
  local columns = { images, core.image.overlay(images, seen.initial.heat) }
  if seen.final then
    columns[3] = masked(run, set, positions, seen.initial.heat)
    columns[4] = core.image.overlay(images, seen.final.heat)
  end
  for i, column in ipairs(columns) do
    columns[i] = small(column)
  end
  local items, last = {}, seen[models[#models]].probabilities
  local answers = selective.softmax_response(last).predictions
  for i, position in ipairs(positions) do
    local before, after, answer, label = seen.initial.probabilities[i], last[i], answers[i], labels[i]
    local tiles = {}
    for n, column in ipairs(columns) do
      tiles[n] = column[i]
    end
    items[i] = {
      source = html.source(core.image.grid(core.stack(tiles, 1), { columns = #tiles, padding = 1 })),
      alt = ("%s, an image of class %s: %s"):format(dataset.name_of(set, position), names[label],
        seen.final and "as it is, heat before, masked, heat after" or "as it is, and heat"),
      caption = ("%s: %s, answered %s (%.0f %%%s)"):format(dataset.name_of(set, position), names[label], names[answer],
        100 * after[answer], seen.final and (", before %.0f %%"):format(100 * before[answer]) or ""),
      values = {
        confidence = after[answer], change = after[label] - before[label], class = names[label],
        answer = answer == label and "right" or "wrong", group = groups and ("group %d"):format(groups[i]) or nil,
      },
    }
  end
  return html.paragraph(seen.final
    and "Each row: the image, where the plainly trained net looks, what the masks leave, where it looks afterwards."
    or "Each pair: the image, and where the net looks.")
    .. html.gallery(items, {
      { name = "confidence", title = "confidence" }, { name = "change", title = "gain of the true class" },
      { name = "class", title = "class" }, { name = "answer", title = "answer" }, { name = "group", title = "group" },
    }, "where the nets look")
end

-- ---- the data, and how to do it again ----

--- Images that lie in more than one split, byte for byte.
local function duplicates(run)
  local first, lines = {}, {}
  for _, split in ipairs { "train", "val", "test" } do
    local set = run:sets()[split]
    for i, path in ipairs(set.files and set.file and set.file:totable() or {}) do
      local file = set.files[path]
      local digest = core.path_kind(file) == "file" and core.md5(file)
      local other = digest and first[digest]
      if other and other.split ~= split then
        lines[#lines + 1] = ("%s (%s) is the same file as %s (%s)"):format(file, split, other.file, other.split)
      elseif digest then
        first[digest] = { split = split, file = file, position = i }
      end
    end
  end
  return lines
end

local function unreadable(run)
  local lines = {}
  for _, split in ipairs { "train", "val", "test" } do
    for _, one in ipairs(run:sets()[split].unreadable or {}) do
      lines[#lines + 1] = ("%s (%s) cannot be read: %s"):format(one.path, split, one.reason or one.message or "")
    end
  end
  return lines
end

local function warnings(run)
  local lines = photos.warnings(run:sets())
  for _, list in ipairs { unreadable(run), duplicates(run) } do
    table.move(list, 1, #list, #lines + 1, lines)
  end
  if #lines > 0 then return html.list(lines) end
  return html.paragraph "No image twice in different splits, none unreadable, no class much smaller."
end

local function how(run, s)
  local machine = core.machine()
  local command = ("masktune run --data %s --net %s --size %d --epochs %d --batch %d --lr %.17g --seed %d"):format(
    s.data, s.net, s.size, s.epochs, s.batch, s.lr, s.seed)
  return "<pre>" .. html.escape(command) .. "</pre>"
    .. html.paragraph(("%s; instruction set %s, %d threads, %d cores. The same seed, instruction set and number of "
      .. "threads give the same bits."):format(require("masktune")._VERSION, core.isa(), core.get_num_threads(),
      machine.cores))
    .. "<details><summary>all settings (run.json)</summary><pre>" .. html.escape(json.encode(run.settings, 2))
    .. "</pre></details>"
end

--- How many images the page shows at most.
page.option = {
  name = "pictures", value = "N", kind = cli.kinds.integer(1, 100000), default = 200, default_text = "200",
  help = "how many validation images report.html shows at most, drawn at random",
}

--- The page of a run: HTML.
local function page_of(run, text, found, o)
  local s, models, seen, heats = run.settings, models_of(run), {}, {}
  local set, positions = drawn(run, o.pictures)
  local some = data.subset(set, positions)
  for _, which in ipairs(models) do
    seen[which] = look(run, which, some)
    heats[which] = seen[which].heat
  end
  return html.page {
    title = "MaskTune: " .. (s.data:match "([^/]+)/*$" or s.data),
    summary = ("%d training, %d validation and %d test images of %d classes; %s at %dx%d pixels."):format(
      s.train_images, s.val_images, s.test_images, s.classes, s.net, s.size, s.size),
    sections = {
      { id = "outcome", title = "What came of it", body = outcome(found) .. accuracies(found) },
      { id = "diagnosis", title = "Diagnosis",
        body = diagnosis_section(run, found, heats, some.labels:totable(), models) },
      { id = "looks", title = "Where the nets look", body = gallery(run, set, positions, seen, models) },
      { id = "training", title = "Training", body = chart.history((run:read "training.json" or {}).history or {}) },
      { id = "classes", title = "Answers by class", body = per_class(found) },
      { id = "abstaining", title = "Abstaining", body = risk_coverage(run, models) },
      { id = "data", title = "The data", body = warnings(run) },
      { id = "again", title = "How to do it again", body = how(run, s) .. "<pre>" .. html.escape(text) .. "</pre>" },
    },
  }
end

--- Writes report.txt and report.html.
-- @tparam Project run
-- @tparam table o `pictures`: how many images the gallery of report.html shows
-- @treturn table the report as data
-- @treturn string as text
function page.write(run, o)
  local text, found = story.report(run)
  core.write_file(run:path "report.txt", text .. "\n")
  core.write_file(run:path "report.html", page_of(run, text, found, o))
  return found, ("%s\n\nThe same with pictures: %s"):format(text, run:path "report.html")
end

return page
