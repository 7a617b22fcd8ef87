--- Heatmaps and ROAD against what the Python package grad-cam gives: spec/golden/cams.py is the other side.
local mt = require "masktune"
local nets = require "oracle.nets"

local cams = {}

local TOLERANCE = 1e-4

--- PyTorch's name -> the name and the options that give the same here.
local same = {
  ["gradcam.last"] = { "gradcam", last = true },
  ["scorecam.last"] = { "scorecam", last = true },
  ["gradcam.several"] = { "gradcam", several = true },
  ["layercam.several"] = { "layercam", several = true },
  smoothgrad = { "smoothgrad", options = { noise = 0, samples = 1 } },
}
for _, name in ipairs { "xgradcam", "gradcam", "gradcam++", "hirescam", "elementwise", "layercam", "scorecam",
  "ablationcam", "fem", "finercam", "fullgrad", "input_x_gradient" } do
  same[name] = { name }
end

local function build(case)
  if case.net ~= "small_cnn" then return nets.build(case) end
  return mt.models.small_cnn { classes = case.classes, input = { case.size[1], case.size[2], 3 } }
end

--- The list of what differs too much.
local Complaints = {}
Complaints.__index = Complaints

function Complaints:compare(name, ours, theirs)
  local shapes = { table.concat(ours:shape(), ","), table.concat(theirs:shape(), ",") }
  assert(shapes[1] == shapes[2], ("%s has shape {%s}, PyTorch's {%s}"):format(name, shapes[1], shapes[2]))
  local relative = nets.norm(ours - theirs) / nets.norm(theirs)
  self.compared = self.compared + 1
  local close = relative <= TOLERANCE -- false with NaN
  if not close then
    self[#self + 1] = ("  %s: relative error %.3g, allowed %.3g"):format(name, relative, TOLERANCE)
  end
end

--- A principal component's sign is free: each image's map or its negative.
local function with_our_sign(ours, theirs)
  local maps = {}
  for i = 1, #ours do
    local plus, minus = theirs[i]:relu(), (-theirs[i]):relu()
    maps[i] = nets.norm(ours[i] - plus) <= nets.norm(ours[i] - minus) and plus or minus
  end
  return mt.stack(maps, 1)
end

--- What the package makes of several layers' mean: scaled once more.
local function rescaled(heat)
  local low = heat:min({ 2, 3 }, { keepdim = true })
  return (heat - low) / ((heat - low):max({ 2, 3 }, { keepdim = true }) + 1e-7)
end

local function check_method(complaints, case, model, images, name, theirs)
  local method, options = same[name][1], same[name].options or {}
  local input = mt.cam[method].input
  options = { target = same[name].last and case.classes or nil, noise = options.noise, samples = options.samples }
  if same[name].several then
    options.layers = case.layers
  elseif not input then
    options.layer = case.layers[1]
  end
  local heat = mt.cam[method](model, images, options)
  complaints:compare(name, same[name].several and rescaled(heat) or heat, theirs[name]:relu())
end

local function check_road(complaints, case, model, images, theirs, base)
  local heat = nets.formula(base, "heat", { case.batch, case.size[1], case.size[2] })
  local labels = theirs.predicted
  for _, score in ipairs { "logit", "probability" } do
    local found = mt.cam_quality.road(model, images, labels, heat,
      { percentiles = case.percentiles, score = score, noise = 0, batch = 1 })
    for _, order in ipairs { "most", "least" } do
      local name = "road." .. score .. "." .. order
      complaints:compare(name, found[order], theirs[name]:transpose())
    end
  end
  local pixels = case.size[1] * case.size[2]
  local kept = math.ceil((pixels - 1) * case.percentiles[1] / 100)
  complaints:compare("road.filled", mt.mask.impute(images, mt.mask.rank(heat):gt(pixels - kept)), theirs["road.filled"])
end

--- Raises with everything that is too far from PyTorch's; returns how much was compared. state: the weights; nil: the
-- formula's.
function cams.check(case, theirs, state)
  local base = nets.base_bytes(theirs.salt[1]:item())
  local model = build(case)
  local report = model:load_state_dict(state or nets.weights_for(model, base), { strict = state ~= nil })
  assert(#report.unexpected == 0 and #report.mismatched == 0, "the weights do not fit")
  local images = nets.formula(base, "images", { case.batch, case.size[1], case.size[2], 3 })
  local complaints = setmetatable({ compared = 0 }, Complaints)
  local _, predicted = mt.cam.gradcam(model, images, { layer = case.layers[1] })
  assert(predicted:bytes() == theirs.predicted:bytes(), "other predictions")
  for name in pairs(same) do
    check_method(complaints, case, model, images, name, theirs)
  end
  for _, name in ipairs { "eigencam", "eigengradcam" } do
    local heat = mt.cam[name](model, images, { layer = case.layers[1] })
    complaints:compare(name, heat, with_our_sign(heat, theirs[name]))
  end
  complaints:compare("integrated_gradients", mt.cam.integrated_gradients(model, images, { steps = case.steps }),
    theirs.integrated_gradients:relu())
  if case.percentiles then check_road(complaints, case, model, images, theirs, base) end
  if #complaints > 0 then
    table.sort(complaints)
    error(case.name .. " differs from PyTorch:\n" .. table.concat(complaints, "\n"), 0)
  end
  return complaints.compared
end

return cams
