--- Diagnosis before treatment: does a net lean on one cue that MaskTune could mask? Without group labels.
--
-- A shortcut in the sense of MaskTune is a thing that (1) decides by itself: shown in images of other classes it turns
-- their answers into its own, as a random piece of the same images does not; and that (2) is always the same: it lies
-- at the same place, or looks the same. An object's parts decide too, but a small piece of one, in an image of
-- something else, rarely does, and looks different in every image. So for each class the hottest window (a square of a
-- quarter of the image's side) of each of its images is looked at: where it lies, what it shows, what the net loses
-- when it is hidden, and what it answers when the window is pasted into images of other classes. A cue that is spread
-- over the image (a tint, the colour of a background) no window holds and no mask hides: what of its knowledge the net
-- keeps when the pixels are shuffled, which leaves nothing but colours, tells that kind. What this cannot see: a
-- texture spread over the image; and whether a cue is wrong: that a bird is known by its head is for the user to judge,
-- who is shown what was found.
-- @module masktune.diagnose
local check = require "masktune.check"
local content = require "masktune.diagnose.content"
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local inference = require "masktune.inference"
local masks = require "masktune.recipe.masks"
local metrics = require "masktune.metrics"
local place = require "masktune.diagnose.place"
local tables = require "masktune.tables"
local trials = require "masktune.diagnose.trials"
local verdict = require "masktune.diagnose.verdict"
local windows = require "masktune.windows"

local FEWEST = 5 -- images of a class that a verdict needs

local schema = tables.merged(masks.cam_schema, {
  images = { type = "integer", min = 2, default = 400 },
  window = { type = "number", above = 0, max = 0.9, default = 0.25 },
  pairs = { type = "integer", min = 1, default = 200 },
  batch = { type = "integer", min = 1, default = 128 },
  seed = { type = "integer", default = 1 },
  progress = { type = "boolean", default = true },
})

--- At most `count` images, drawn at random but kept in their order, in memory; and their positions in the set.
local function sample(set, count, generator)
  local size, positions = dataset.count(set), {}
  for i, position in ipairs(generator:permutation(size):totable()) do
    if i > count then break end
    positions[i] = position
  end
  table.sort(positions)
  local some = dataset.subset(set, positions)
  return tables.merged(some, { images = some.images:narrow(1, 1, #positions) }), positions
end

--- For each class the positions of the images that were answered so and are of it, with heat that has an order; and of
-- those answered otherwise.
local function members_of(found, classes)
  local flat = found.heat:max({ 2, 3 }):eq(found.heat:min { 2, 3 }):totable()
  local members, others = {}, {}
  for class = 1, classes do
    members[class], others[class] = {}, {}
  end
  for i, answer in ipairs(found.answers) do
    if answer == found.labels[i] and flat[i] == 0 then table.insert(members[answer], i) end
    for class = 1, classes do
      if class ~= answer then table.insert(others[class], i) end
    end
  end
  return members, others
end

--- Each image's probability of its answer, in another table of probabilities.
local function confidence(probabilities, answers)
  local list = {}
  for i, row in ipairs(probabilities:totable()) do
    list[i] = row[answers[i]]
  end
  return list
end

--- What hiding does to each image: the drop of the probability of its answer, for each kind of window.
local function look_hidden(model, set, found, o)
  found.confidence, found.drop, found.accuracy = confidence(found.probabilities, found.answers), {}, {}
  local function accuracy(probabilities)
    return probabilities:argmax(2):eq(set.labels):to("float32"):mean():item()
  end
  found.accuracy.whole = accuracy(found.probabilities)
  for kind, list in pairs(found.windows) do
    local after = trials.hidden(model, set, list, o.batch)
    found.accuracy[kind], found.drop[kind] = accuracy(after), {}
    for i, value in ipairs(confidence(after, found.answers)) do
      found.drop[kind][i] = found.confidence[i] - value
    end
  end
end

--- The balanced accuracy beyond chance; nil where the images are of one class only.
local function knowledge(answers, labels)
  local per_class = metrics.group_accuracy(answers, labels, labels)
  local count = 0
  for _ in pairs(per_class) do
    count = count + 1
  end
  return count > 1 and (metrics.balanced(per_class) - 1 / count) / (1 - 1 / count) or nil
end

local PIECES = 8 -- along an image's shorter side: larger pieces show shapes, single pixels may be too unlike an image

--- The share of the net's knowledge that colours alone carry, in [0,1]: what is left when pixels are shuffled, or small
-- pieces, of these the more.
local function color_share(model, set, found, o)
  local whole = knowledge(found.answers, found.labels)
  if not whole or whole <= 0 then return 0 end
  local most, side = 0, math.min(set.images:size(2), set.images:size(3))
  for _, size in ipairs { 1, math.max(1, side // PIECES) } do
    local shuffled = trials.shuffled(model, set, o.batch, core.generator(o.seed), size):argmax(2):totable()
    most = math.max(most, knowledge(shuffled, found.labels) / whole)
  end
  return math.min(1, most)
end

local function mean_of(values, positions)
  local sum = 0
  for _, position in ipairs(positions) do
    sum = sum + values[position]
  end
  return sum / #positions
end

--- `count` entries of a list, all of them in turn.
local function cycled(list, count)
  local result = {}
  for i = 1, count do
    result[i] = list[(i - 1) % #list + 1]
  end
  return result
end

--- Share of the hosts that are taken for `class` when they show windows of its images.
local function carried(model, set, class, hosts, donors, list, o)
  local right = 0
  for _, answer in ipairs(trials.pasted(model, set, hosts, donors, windows.index(list, donors), o.batch)) do
    if answer == class then right = right + 1 end
  end
  return right / #hosts
end

local function drawn(list, count, generator)
  local result = {}
  for i = 1, count do
    result[i] = list[generator:integer(1, #list)]
  end
  return result
end

--- The images of a class in the order of how much the cue carries them, the most first.
local function ranking(found, members)
  local scores, order = {}, {}
  for i, position in ipairs(members) do
    scores[position], order[i] = found.drop.most[position] - found.drop.random[position], position
  end
  table.sort(order, function(a, b)
    if scores[a] ~= scores[b] then return scores[a] > scores[b] end
    return a < b
  end)
  local rows = {}
  for i, position in ipairs(order) do
    rows[i] = { image = found.positions[position], spuriosity = scores[position] }
  end
  return rows
end

--- Everything about one class; nil where too few of its images are answered rightly, or no image otherwise.
local function look_at_class(model, set, found, class, members, others, o)
  if #members < FEWEST or #others < FEWEST then return nil end
  local generator = core.generator(o.seed + class)
  local donors, hosts = cycled(members, o.pairs), drawn(others, o.pairs, generator)
  local height, width = set.images:size(2), set.images:size(3)
  local own = windows.index(found.windows.most, members)
  local heat, entropy, outer = place.average(found.heat:index(members))
  local function cut(positions, list)
    return windows.cut(set.images:index(positions), windows.index(list, positions))
  end
  local row = {
    class = class, name = set.class_names and set.class_names[class] or tostring(class), images = #members,
    carried = carried(model, set, class, hosts, donors, found.windows.most, o),
    carried_random = carried(model, set, class, hosts, donors, found.windows.random, o),
    drop = {}, heat = heat, entropy = entropy, outer = outer,
    place = place.densest(own, height, width),
    content = content.commonest(cut(members, found.windows.most), cut(others, found.windows.random)),
    ranking = ranking(found, members),
  }
  for kind, drops in pairs(found.drop) do
    row.drop[kind] = mean_of(drops, members)
  end
  row.content.image = found.positions[members[row.content.typical]]
  return verdict.of_class(row)
end

local Diagnosis = { __name = "masktune.Diagnosis" }

function Diagnosis:__tostring() return verdict.text(self) end

--- Says whether a net leans on one cue.
-- @function masktune.diagnose
-- @tparam Module model images {N,H,W,C} float32 -> logits {N,k}
-- @tparam table set data set of images: validation data, not those the net was trained on
-- @tparam[opt] table options `images` (400: how many are looked at, drawn with `seed`), `window` (0.25: its side, as a
-- share of the image's shorter one), `pairs` (200 pastings a class), `cam` ("xgradcam"), `layer` (model.cam_layer),
-- `layers`, `batch` (128), `seed` (1), `progress` (true)
-- @treturn table that prints as a report: `verdict` ("leans on: ..." or "no sign of one cue"), `leans` (whether any
-- class does, or colour alone decides), `score` (the highest of its classes' scores and of colour's, in [0,1]);
-- `accuracy` of the `whole` images and with a window hidden, the `most` relevant, at `random`, the `least` relevant;
-- `color_share`: what of the accuracy beyond chance is left when the pixels are shuffled; `side` of the window in
-- pixels, `count` of images; `classes`: a row for each class that could be judged: `class`, `name`, `images`;
-- `carried`: share of other images that the window turns into this class, `carried_random`: that a random window does;
-- `drop` of confidence when a window is hidden (`most`, `random`, `least`); `place`: `name`, `share` of its windows
-- that lie there, `row`, `column`; `content`: `share` of them that show the same, `elsewhere` (share of random windows
-- of other images that do), `color`, `image` (the most typical one's); `heat` (average, sum 1), `entropy` of it in
-- [0,1], `outer` (heat at the border over its share of cells); `leans`, `score`, `text`; `ranking`: its images as
-- `image` (position in the set) and `spuriosity` (drop of confidence when the hottest rather than a random window is
-- hidden), the most spurious first
-- @usage print(mt.diagnose(model, val))
local function diagnose(_, model, set, options)
  local o
  o, set = inference.arguments("mt.diagnose", model, set, options, schema)
  if dataset.input(set) ~= "images" then
    check.fail("mt.diagnose: argument 'dataset': data set of images expected, its inputs are '%s'", dataset.input(set))
  end
  local found, generator = {}, core.generator(o.seed)
  set, found.positions = sample(set, o.images, generator)
  local height, width = set.images:size(2), set.images:size(3)
  local side = windows.side(o.window, height, width)
  found.heat = masks.explain(model, set, {
    cam = o.cam, layer = o.layer, layers = o.layers, progress = o.progress, label = "diagnose",
  })
  found.probabilities = trials.probabilities(model, set, o.batch)
  found.answers, found.labels = found.probabilities:argmax(2):totable(), set.labels:totable()
  local most, least = windows.extremes(found.heat, height, width, side)
  found.windows = { most = most, least = least, random = windows.random(#most.rows, height, width, side, generator) }
  look_hidden(model, set, found, o)
  local classes = found.probabilities:size(2)
  local members, others = members_of(found, classes)
  local rows = {}
  for class = 1, classes do
    rows[#rows + 1] = look_at_class(model, set, found, class, members[class], others[class], o)
  end
  return setmetatable(verdict.of_all(rows, {
    accuracy = found.accuracy, color_share = color_share(model, set, found, o), side = side, count = #found.answers,
    name = set.name,
  }), Diagnosis)
end

return setmetatable({}, { __call = diagnose })
