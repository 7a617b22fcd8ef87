--- The nets of runs: built anew, with published weights, or with those that a run has saved.
-- @module masktune.command.parts.nets
local core = require "masktune.core"
local json = require "masktune.json"
local models = require "masktune.models"
local notice = require "masktune.notice"
local preprocess = require "masktune.data.preprocess"

local nets = {}

--- Images at least as large are photos, for which a net with published weights is the default.
local PHOTO = 65

nets.default = { photo = "efficientnet_lite0", scratch = "resnet18", small = "small_cnn" }

--- Nets that come with published weights.
local PUBLISHED = { efficientnet_lite0 = true, mobilenet_v2 = true, resnet18 = true, resnet34 = true, resnet50 = true,
  resnet101 = true }
--- Nets whose parameters depend on the images' size.
local SIZED = { small_cnn = true, vgg16_bn = true }

local function build(name, o, pretrained)
  local options = { classes = o.classes }
  if SIZED[name] then options.input = { o.size, o.size, 3 } end
  if pretrained then options.pretrained = pretrained end
  return models[name](options)
end

local function first_line(problem) return (tostring(problem):gsub("^.-:%d+: ", "")) end

--- The net that a run begins with. Photos get one with published weights; where these cannot be had, that is said, with
-- what to do about it, and a net is trained from nothing.
-- @tparam table o `net` (nil: what suits the size), `pretrained` (nil: where there are weights; "yes", "no", or a
-- file), `size`, `classes`, `seed`
-- @treturn Module
-- @treturn string its name
-- @treturn boolean whether its weights are published ones
function nets.first(o)
  core.manual_seed(o.seed)
  local photo = o.size >= PHOTO
  local name = o.net or photo and nets.default.photo or nets.default.small
  local wanted = o.pretrained or photo and PUBLISHED[name] and "maybe" or "no"
  if wanted == "no" then return build(name, o), name, false end
  local file = (wanted == "yes" or wanted == "maybe") and true or wanted
  local built, model = pcall(build, name, o, file)
  if built then return model, name, true end
  if wanted ~= "maybe" then error("--pretrained: " .. first_line(model), 0) end
  local instead = o.net or nets.default.scratch
  notice.say("no published weights: %s. Until then %s is trained from nothing, which takes far more images and time "
    .. "than most folders of photos have", first_line(model), instead)
  return build(instead, o), instead, false
end

--- A net's preprocessing as JSON can hold it: a list of steps, each with its `step` (its name) and options; nil where
-- there is none.
function nets.preprocess_settings(model)
  if not model.preprocess then return nil end
  local list = json.array()
  for i, step in ipairs(model.preprocess.steps) do
    list[i] = { step = step[1], mean = step.mean, std = step.std }
  end
  return list
end

local function preprocess_of(list)
  local steps = {}
  for i, row in ipairs(list) do
    steps[i] = { row.step, mean = row.mean, std = row.std }
  end
  return preprocess(steps)
end

--- The net of a run with weights it saved.
-- @tparam table settings of the run
-- @tparam table state
function nets.saved(settings, state)
  local model = build(settings.net, settings)
  model:load_state_dict(state)
  if settings.preprocess then model.preprocess = preprocess_of(settings.preprocess) end
  if settings.layer then model.cam_layer = settings.layer end
  return model
end

return nets
