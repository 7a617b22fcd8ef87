--- How good heatmaps are: what a net loses when the pixels they point at are hidden.
--
-- All functions take `images` {N,H,W,C} (float32 or uint8, divided by 255), `labels` (int32 {N}, 1..k: the classes
-- whose scores are watched) and `heat` (float32 {N,h,w}, as mt.cam gives; resized bilinearly to the image). Pixels are
-- hidden in the order of the heat, the most or the least relevant first; of equal ones the first in row order. An image
-- whose heatmap is the same everywhere has no order: `flat` counts them.
-- @module masktune.cam_quality
local Context = require "masktune.explain.context"
local check = require "masktune.check"
local core = require "masktune.core"
local explain = require "masktune.explain"
local report = require "masktune.report"
local tables = require "masktune.tables"

local cam_quality = {}

local DEFAULT_BATCH = 64
local ORDERS = { "most", "least" }

-- ---- arguments ----

local hiding_schema = {
  batch = { type = "integer", min = 1, default = DEFAULT_BATCH },
  noise = { type = "number", min = 0, default = 0.01 },
  generator = { type = "any", optional = true },
}

local share = { type = "number", min = 0, max = 1 }
local shares = {}
for i = 0, 10 do
  shares[i + 1] = i / 10
end

local curves_schema = tables.merged(hiding_schema, {
  shares = { type = "list", of = share, min_length = 2, default = shares },
  fill = { choices = { "mean", "impute" }, type = "number", default = 0 },
})

local percentiles = {}
for i = 1, 9 do
  percentiles[i] = 10 * i
end

local road_schema = tables.merged(hiding_schema, {
  percentiles = { type = "list", of = { type = "number", min = 0, max = 100 }, min_length = 1, default = percentiles },
  score = { choices = { "probability", "logit" }, default = "probability" },
})

local function shape_text(tensor) return tensor:dtype() .. " {" .. table.concat(tensor:shape(), ",") .. "}" end

--- Checks the tensors that every function has.
local function check_tensors(where, model, images, labels)
  if not core.is_module(model) then
    check.fail("%s: argument 'model': module expected, got %s", where, check.describe(model))
  end
  check.argument(where, "images", images, { type = "tensor" })
  check.argument(where, "labels", labels, { type = "tensor" })
  if images:dtype() == "int32" or images:dim() ~= 4 or images:numel() == 0 then
    check.fail("%s: argument 'images': float32 or uint8 {N,H,W,C} expected, got %s", where, shape_text(images))
  end
  if labels:dtype() ~= "int32" or labels:dim() ~= 1 or #labels ~= #images then
    check.fail("%s: argument 'labels': int32 {%d} expected, got %s", where, #images, shape_text(labels))
  end
end

local function check_heat(where, images, heat)
  check.argument(where, "heat", heat, { type = "tensor" })
  if heat:dtype() ~= "float32" or heat:dim() ~= 3 or #heat ~= #images then
    check.fail("%s: argument 'heat': float32 {%d,h,w} expected, got %s", where, #images, shape_text(heat))
  end
end

-- ---- hiding ----

--- Where the pixels of each image stand in the order: int32 {n,H,W}, 1 is hidden first.
local function ranks_of(heat, order, height, width)
  local ranks = core.mask.rank(core.image.resize(heat, { size = { height, width }, planes = true }))
  return order == "most" and ranks or height * width + 1 - ranks
end

--- How many of the pixels ROAD hides at a percentile: those not below it, as numpy.percentile counts.
local function hidden_at(percentile, pixels) return pixels - math.ceil((pixels - 1) * percentile / 100) end

--- Images {n,H,W,C} with the pixels hidden where keep {n,H,W} is 0.
local function hidden(images, keep, fill, o)
  local gone = (1 - keep:to("float32")):unsqueeze(4)
  if fill == "impute" then
    local noise = core.randn(images:shape(), { generator = o.generator }) * o.noise
    return core.mask.impute(images, keep) + noise * gone
  end
  local value = fill == "mean" and images:mean({ 2, 3 }, { keepdim = true }) or fill
  return core.mask.apply(images, keep) + gone * value
end

--- The labels' scores and whether they are the answers, both float32 {n}.
local function judged(where, model, images, labels, first, score)
  local logits = core.capture(model, images, { gradients = false })
  if logits:dtype() ~= "float32" or logits:dim() ~= 2 or #logits ~= #labels then
    check.fail("%s: the model gives %s, expected float32 logits {%d,k}", where, shape_text(logits), #labels)
  end
  for i, label in ipairs(labels:totable()) do
    if label < 1 or label > logits:size(2) then
      check.fail("%s: label of image %d is %d, expected 1 to %d", where, first + i - 1, label, logits:size(2))
    end
  end
  local scores = score == "logit" and logits or logits:softmax(2)
  local chosen = (scores * Context.one_hot(labels, logits:size(2))):sum(2)
  return chosen, logits:argmax(2):eq(labels):to("float32")
end

--- Calls visit(images, labels, heat, first) for one part of the images after the other; images are float32.
local function each_part(images, labels, heat, batch, visit)
  for first = 1, #images, batch do
    local count = math.min(batch, #images - first + 1)
    local part = images:narrow(1, first, count)
    if part:dtype() == "uint8" then part = part:to("float32") / 255 end
    visit(part, labels:narrow(1, first, count), heat:narrow(1, first, count), first)
  end
end

--- How many heatmaps are the same everywhere.
local function count_flat(heat)
  return heat:max({ 2, 3 }):eq(heat:min { 2, 3 }):to("float32"):sum():item() // 1
end

-- ---- deletion and insertion ----

--- The area under a curve by trapezoids, over the width of its shares: the curve's mean.
local function area(at, values)
  local sum = 0
  for i = 2, #at do
    sum = sum + (at[i] - at[i - 1]) * (values[i] + values[i - 1]) / 2
  end
  return sum / (at[#at] - at[1])
end

local function check_shares(where, list)
  for i = 2, #list do
    if list[i] <= list[i - 1] then
      check.fail("%s: option 'shares': increasing numbers expected, got %g after %g", where, list[i], list[i - 1])
    end
  end
end

--- Accuracy and confidence while more and more pixels are hidden.
-- `most` hides the most relevant first (deletion: a good heatmap's curve falls fast), `least` the least relevant first
-- (read from its end, insertion: a good one's stays up). Petsiuk, Das and Saenko 2018, "RISE", section 4.
-- @tparam Module model gives logits {N,k}
-- @tparam Tensor images
-- @tparam Tensor labels
-- @tparam Tensor heat
-- @tparam[opt] table options `shares` of the pixels hidden, increasing (0, 0.1, ... 1); `fill`: what takes their
-- places, a number (0), "mean" (the image's mean colour) or "impute" (mt.mask.impute with normal `noise`, 0.01);
-- `batch` (64); `generator` of the noise
-- @treturn table `shares`; `most` and `least`, each with `accuracy` and `confidence` (the labels' mean probability) at
-- each share and the areas under them, `accuracy_area` and `confidence_area`, in [0,1]; `flat`
function cam_quality.curves(model, images, labels, heat, options)
  local where = "mt.cam_quality.curves"
  check_tensors(where, model, images, labels)
  check_heat(where, images, heat)
  local o = check.options(where, options, curves_schema)
  check_shares(where, o.shares)
  local result = { shares = o.shares, flat = count_flat(heat) }
  for _, order in ipairs(ORDERS) do
    local confidence, accuracy = {}, {}
    for i = 1, #o.shares do
      confidence[i], accuracy[i] = 0, 0
    end
    each_part(images, labels, heat, o.batch, function(part, part_labels, part_heat, first)
      local height, width = part:size(2), part:size(3)
      local ranks = ranks_of(part_heat, order, height, width)
      for i, at in ipairs(o.shares) do
        local keep = ranks:gt(math.floor(at * height * width + 0.5))
        local scores, right = judged(where, model, hidden(part, keep, o.fill, o), part_labels, first)
        confidence[i] = confidence[i] + scores:sum():item() / #images
        accuracy[i] = accuracy[i] + right:sum():item() / #images
      end
    end)
    result[order] = { confidence = confidence, accuracy = accuracy, confidence_area = area(o.shares, confidence),
      accuracy_area = area(o.shares, accuracy) }
  end
  return result
end

-- ---- ROAD ----

--- ROAD: how the labels' scores change when pixels are hidden so that nothing shows where: imputed from their
-- neighbours, with a little noise. Rong, Leemann, Borisov, Kasneci and Kasneci 2022, "A Consistent and Efficient
-- Evaluation Strategy for Attribution Methods"; percentiles, weights and the combination as the Python package grad-cam
-- has them. At percentile p the (100 - p) % most (or least) relevant pixels are hidden.
-- @tparam Module model gives logits {N,k}
-- @tparam Tensor images
-- @tparam Tensor labels
-- @tparam Tensor heat
-- @tparam[opt] table options `percentiles` (10, 20, ... 90); `score` ("probability"; "logit"); `noise` (0.01: its
-- standard deviation), `generator`; `batch` (64)
-- @treturn table `most` and `least`, float32 {N,P}: scores after hiding minus before; `combined`, float32 {N}: (mean of
-- least - mean of most) / 2, higher is better; `score`, its mean; `flat`
function cam_quality.road(model, images, labels, heat, options)
  local where = "mt.cam_quality.road"
  check_tensors(where, model, images, labels)
  check_heat(where, images, heat)
  local o = check.options(where, options, road_schema)
  local changes = { most = {}, least = {} }
  each_part(images, labels, heat, o.batch, function(part, part_labels, part_heat, first)
    local height, width = part:size(2), part:size(3)
    local before = judged(where, model, part, part_labels, first, o.score)
    for _, order in ipairs(ORDERS) do
      local ranks, columns = ranks_of(part_heat, order, height, width), {}
      for i, percentile in ipairs(o.percentiles) do
        local keep = ranks:gt(hidden_at(percentile, height * width))
        columns[i] = judged(where, model, hidden(part, keep, "impute", o), part_labels, first, o.score) - before
      end
      table.insert(changes[order], core.stack(columns, 2))
    end
  end)
  local result = { most = core.cat(changes.most, 1), least = core.cat(changes.least, 1), flat = count_flat(heat) }
  result.combined = (result.least:mean(2) - result.most:mean(2)) / 2
  result.score = result.combined:mean():item()
  return result
end

-- ---- methods side by side ----

local compare_schema = {
  cams = { type = "list", of = { type = "any" }, min_length = 1,
    default = { "xgradcam", "gradcam", "hirescam", "layercam", "eigencam" } },
  layer = { type = "string", optional = true },
  percentiles = road_schema.percentiles,
  shares = curves_schema.shares,
  fill = curves_schema.fill,
  seed = { type = "integer", default = 1 },
  batch = hiding_schema.batch,
}

local Comparison = {}

function Comparison.__tostring(self)
  local rows = {}
  for i, row in ipairs(self) do
    local margin = row.name == "random" and "" or ("%+.4f +- %.4f"):format(row.difference, row.standard_error)
    rows[i] = { row.name, ("%.4f"):format(row.road), margin, ("%.3f"):format(row.deletion),
      ("%.3f"):format(row.insertion), tostring(row.flat) }
  end
  return report.table({ "method", "ROAD", "beyond random", "deletion", "insertion", "flat" }, rows)
end

--- The mean of the differences of two tensors {N}, and its standard error (0 for one image).
local function paired(a, b)
  local differences = a - b
  local deviation = #differences > 1 and differences:std():item() or 0
  return differences:mean():item(), deviation / math.sqrt(#differences)
end

local function quality_of(name, cam, model, images, labels, o)
  local generator = core.generator(o.seed)
  local options = { cam = cam, target = labels, batch = o.batch }
  if not explain.method(cam, "mt.cam_quality.compare").input then options.layer = o.layer end
  if cam == "random" then options.generator = generator end
  local heat = explain(model, images, options)
  local road = cam_quality.road(model, images, labels, heat,
    { percentiles = o.percentiles, batch = o.batch, generator = core.generator(o.seed) })
  local curves = cam_quality.curves(model, images, labels, heat,
    { shares = o.shares, fill = o.fill, batch = o.batch, generator = core.generator(o.seed) })
  return { name = name, road = road.score, combined = road.combined, flat = road.flat,
    deletion = curves.most.confidence_area, insertion = curves.least.confidence_area }
end

--- Heatmap methods side by side, and against random channel weights: a method that does not beat `random` says nothing
-- about the net (after Adebayo et al. 2018, "Sanity Checks for Saliency Maps").
-- @tparam Module model gives logits {N,k}
-- @tparam Tensor images
-- @tparam Tensor labels also the methods' targets
-- @tparam[opt] table options `cams` (list of names of mt.cam and of rules; "random" is always there), `layer`
-- (model.cam_layer), `percentiles` as of road, `shares` and `fill` as of curves, `batch` (64), `seed` (1) of the noise
-- and of random weights
-- @treturn table list of rows, the highest ROAD first, that prints as a table. A row: `name`; `road` (its score) and
-- `combined`; `deletion` (area under the confidence as the most relevant pixels go: lower is better), `insertion` (as
-- the least relevant go: higher is better); `difference` of its ROAD to random's, image by image, with
-- `standard_error`; `beats_random` (the difference is more than two standard errors above 0); `flat`
-- @usage print(mt.cam_quality.compare(model, images, labels, {cams = {"xgradcam", "layercam"}}))
function cam_quality.compare(model, images, labels, options)
  local where = "mt.cam_quality.compare"
  check_tensors(where, model, images, labels)
  local o = check.options(where, options, compare_schema)
  local cams = { "random" }
  for _, cam in ipairs(o.cams) do
    explain.method(cam, where)
    if cam ~= "random" then cams[#cams + 1] = cam end
  end
  local rows, random = {}, nil
  for i, cam in ipairs(cams) do
    local name = type(cam) == "string" and cam or type(cam) == "table" and cam.name or "rule " .. i - 1
    local row = quality_of(name, cam, model, images, labels, o)
    random = random or row
    row.difference, row.standard_error = paired(row.combined, random.combined)
    row.beats_random = row.difference > 2 * row.standard_error
    rows[i] = row
  end
  table.sort(rows, function(a, b)
    if a.road ~= b.road then return a.road > b.road end
    return a.name < b.name
  end)
  return setmetatable(rows, Comparison)
end

return cam_quality
