--- Runs a heatmap method over images, a part at a time: capture, backward pass, rule, and what several layers give
-- together.
-- @module masktune.explain.engine
local Context = require "masktune.explain.context"
local check = require "masktune.check"
local core = require "masktune.core"

local engine = {}

engine.input_schema = {
  target = { type = "any", optional = true },
  batch = { type = "integer", min = 1, optional = true },
}
engine.layer_schema = {
  layer = { type = "string", optional = true },
  layers = { type = "list", of = { type = "string" }, min_length = 1, optional = true },
  target = engine.input_schema.target,
  batch = engine.input_schema.batch,
}

local BATCH_BYTES, MIN_BATCH, MAX_BATCH = 1536 << 10, 4, 64 -- of images; a net's activations are some 100 times larger
local FORWARD_BATCH = 32 -- images that run forward at once
local GENERATOR_SEED = 1

-- ---- arguments ----

local function shape_text(tensor) return "{" .. table.concat(tensor:shape(), ",") .. "}" end

local function check_images(where, images)
  check.argument(where, "images", images, { type = "tensor" })
  if images:dtype() == "int32" then
    check.fail("%s: images is int32, expected float32 or uint8", where)
  elseif images:dim() ~= 4 or images:numel() == 0 then
    check.fail("%s: images has shape %s, expected {N,H,W,C} with at least one image", where, shape_text(images))
  end
end

local function check_target(where, target, count)
  if check.is_tensor(target) then
    if target:dtype() ~= "int32" then check.fail("%s: target is %s, expected int32", where, target:dtype()) end
    if target:dim() ~= 1 or #target ~= count then
      check.fail("%s: target has shape %s, expected {%d}", where, shape_text(target), count)
    end
  elseif target ~= nil and not (math.type(target) == "integer" and target >= 1) then
    check.fail("%s: option 'target': integer >= 1 or int32 tensor {N} expected, got %s", where, check.describe(target))
  end
end

--- The names of the layers to look at, and whether they are the option `layers`.
local function layers_of(method, where, model, o)
  if method.input then return {} end
  if o.layer and o.layers then check.fail("%s: options 'layer' and 'layers': one of them expected", where) end
  if o.layers then return o.layers, true end
  local layer = o.layer or model.cam_layer
  if type(layer) ~= "string" then
    check.fail("%s: option 'layer': name of a layer expected, got %s", where, check.describe(layer))
  end
  return { layer }
end

-- ---- one part of the images ----

--- f(...), whose errors name the user's line where they would name the one in this file that called it.
local function relayed(f, ...)
  local results = table.pack(pcall(f, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local message = results[2]
  local rest = type(message) == "string" and message:match("^[^\n]-masktune/explain/engine%.lua:%d+: (.*)$")
  if rest then check.fail("%s", rest) end
  error(message, 0)
end

local function check_logits(where, logits, count)
  if logits:dtype() == "float32" and logits:dim() == 2 and #logits == count and logits:size(2) > 0 then return end
  check.fail("%s: the model gives %s of shape %s, expected float32 logits {%d,k}", where, logits:dtype(),
    shape_text(logits), count)
end

--- The target classes of images first .. first + n - 1.
local function targets_of(where, target, first, logits, predicted)
  local n, classes = #logits, logits:size(2)
  if target == nil then return predicted end
  local chosen = check.is_tensor(target) and target:narrow(1, first, n) or core.full({ n }, target, "int32")
  for i, class in ipairs(chosen:totable()) do
    if class < 1 or class > classes then
      check.fail("%s: target of image %d is %d, expected 1 to %d", where, first + i - 1, class, classes)
    end
  end
  return chosen
end

--- Checks what a layer gave (or the images), and takes it out of the graph.
local function settle(where, tap, count, gradient)
  local value, what = tap.value, tap.module and ("layer '%s'"):format(tap.name) or "the images"
  if not value then check.fail("%s: %s does not run in the model's forward pass", where, what) end
  if value:dim() ~= 4 or #value ~= count then
    check.fail("%s: %s gives shape %s, expected {%d,h,w,C}", where, what, shape_text(value), count)
  end
  if gradient then
    tap.gradient = value:grad()
    if not tap.gradient then check.fail("%s: the model's logits do not depend on %s", where, what) end
  end
  tap.value = value:detach()
end

--- Layers that a method found by itself may be idle: they keep no gradient then.
local function settle_found(taps)
  for _, tap in ipairs(taps) do
    if tap.value then tap.value, tap.gradient = tap.value:detach(), tap.value:grad() end
  end
end

--- The heatmap {n,h,w} that a rule gives for a tap.
local function heat_of(method, where, tap, context)
  local map = core.no_grad(method.rule, tap, context)
  local n, channels = #tap.value, tap.value:size(4)
  local is_tensor = check.is_tensor(map) and map:dtype() == "float32"
  if is_tensor and map:dim() == 2 and #map == n and map:size(2) == channels then
    map = tap.value:reshape(n, -1, channels):matmul(map:detach():reshape(n, channels, 1))
      :reshape(n, tap.value:size(2), tap.value:size(3))
  end
  if not is_tensor or map:dim() ~= 3 or #map ~= n then
    local got = is_tensor and shape_text(map) or check.is_tensor(map) and map:dtype() or check.describe(map)
    check.fail("%s: the rule gives %s, expected a float32 map {%d,h,w} or channel weights {%d,%d}", where, got, n, n,
      channels)
  end
  return map:detach():relu()
end

--- Each heatmap scaled to [0,1].
-- @tparam Tensor heat {n,h,w}
-- @treturn Tensor {n,h,w}
function engine.scaled(heat)
  local shifted = heat - heat:min({ 2, 3 }, { keepdim = true })
  return shifted / (shifted:max({ 2, 3 }, { keepdim = true }) + 1e-7)
end

--- Heatmaps of several layers, scaled and enlarged, averaged.
local function averaged(heats, images)
  local size, sum = { images:size(2), images:size(3) }, nil
  for _, heat in ipairs(heats) do
    local enlarged = core.image.resize(engine.scaled(heat), { size = size, planes = true })
    sum = sum and sum + enlarged or enlarged
  end
  return sum / #heats
end

--- The taps of one part of the images with their gradients, and the context.
local function captured(run, images, first)
  local method, where = run.method, run.where
  local logits, taps = relayed(core.capture, run.model, images,
    { layers = run.layers, input = method.input, gradients = method.gradient })
  check_logits(where, logits, #images)
  local predicted = logits:detach():argmax(2)
  local context = setmetatable({
    model = run.model, images = taps.input:detach(), logits = logits:detach(), predicted = predicted,
    target = targets_of(where, run.options.target, first, logits, predicted), options = run.options, taps = taps,
    score = method.score, batch = run.options.batch or FORWARD_BATCH,
  }, Context)
  if method.gradient and logits:requires_grad() then logits:backward(context:score_gradient(context.logits)) end
  return taps, context
end

--- Heatmaps and predictions of one part of the images.
local function explain_part(run, images, first)
  local method, where, count = run.method, run.where, #images
  local taps, context = captured(run, images, first)
  if method.input then
    local input = { name = "images", value = taps.input }
    settle_found(taps)
    settle(where, input, count, method.gradient)
    return heat_of(method, where, input, context), context.predicted
  end
  local heats = {}
  for i, tap in ipairs(taps) do
    settle(where, tap, count, method.gradient)
    heats[i] = heat_of(method, where, tap, context)
  end
  return run.several and averaged(heats, images) or heats[1], context.predicted
end

-- ---- all images ----

local function default_batch(images)
  local fitting = BATCH_BYTES // (images:numel() // #images * 4)
  return math.max(MIN_BATCH, math.min(MAX_BATCH, fitting))
end

local function run_parts(run, images)
  local heats, predictions, count = {}, {}, #images
  local batch = run.options.batch or default_batch(images)
  for first = 1, count, batch do
    local part = images:narrow(1, first, math.min(batch, count - first + 1))
    heats[#heats + 1], predictions[#predictions + 1] = explain_part(run, part, first)
  end
  return core.cat(heats, 1), core.cat(predictions, 1)
end

--- Heatmaps of images by a method.
-- @tparam table method as masktune.explain.method makes it
-- @string where the public function
-- @param model
-- @param images
-- @tparam ?table options as masktune.cam describes them
-- @treturn Tensor heat, float32 {N,h,w} or {N,H,W}
-- @treturn Tensor predicted, int32 {N}
function engine.run(method, where, model, images, options)
  if not core.is_module(model) then
    check.fail("%s: argument 'model': module expected, got %s", where, check.describe(model))
  end
  check_images(where, images)
  local o = check.options(where, options, method.schema)
  local layers, several = layers_of(method, where, model, o)
  check_target(where, o.target, #images)
  -- Not the default generator: equal calls give equal heat, whatever was drawn before.
  if method.options.generator and not o.generator then o.generator = core.generator(GENERATOR_SEED) end
  if method.native and not several then
    return relayed(method.native, model, images, { layer = layers[1], target = o.target, batch = o.batch })
  end
  if method.layers then layers = method.layers(model) end
  return run_parts({ method = method, where = where, model = model, options = o, layers = layers, several = several },
    images)
end

return engine
