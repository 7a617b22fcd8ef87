--- Nets as ONNX files, for ONNX Runtime, OpenVINO, a phone or a browser. Opset 13; without any library of ONNX's own.
-- @module masktune.onnx
local check = require "masktune.check"
local core = require "masktune.core"
local graphs = require "masktune.onnx.graph"
local layers = require "masktune.onnx.layers"

local onnx = {
  --- The version of the operators that are written.
  opset = 13,
}

local schema = {
  size = { type = "list", of = { type = "integer", min = 1 }, min_length = 3 },
  class_names = { type = "list", of = { type = "string" }, default = {} },
}

--- The net's preprocessing as nodes: its normalisation. Sizes are the caller's business.
local function normalise(graph, value, preprocess, channels)
  if not preprocess then return value end
  for _, step in ipairs(type(preprocess) == "table" and preprocess.steps or { { "a function" } }) do
    if step[1] ~= "normalize" then
      check.fail("mt.onnx.export: the model's preprocessing has the step '%s': only 'normalize' is written", step[1])
    end
    for _, part in ipairs { { "Sub", "mean" }, { "Div", "std" } } do
      local numbers = core.tensor(step[part[2]]):reshape(1, channels, 1, 1)
      value = graph:node(part[1], { value, graph:tensor("preprocess." .. part[2], numbers) })
    end
  end
  return value
end

--- Writes a net of the core's modules (those of mt.models are) as an ONNX file. Its input `images` is float32 {N,C,H,W}
-- with values in [0,1] (the model's normalisation is in the file), its output `logits` {N,k}; N is free. It computes
-- what the model computes in eval mode.
-- @string path
-- @tparam Module model
-- @tparam table options `size`: {height, width, channels} of the images; `class_names`, which go into the file's
-- metadata as `class_names`, one a line
-- @raise naming the layer that cannot be written
function onnx.export(path, model, options)
  local o = check.options("mt.onnx.export", options, schema)
  check.argument("mt.onnx.export", "path", path, { type = "string" })
  if not core.is_module(model) then
    check.fail("mt.onnx.export: argument 'model': module expected, got %s", check.describe(model))
  end
  local height, width, channels = table.unpack(o.size)
  local graph = graphs.new()
  local value = normalise(graph, "images", model.preprocess, channels)
  value = layers.write(graph, value, model, "", model:state_dict())
  graph:node("Identity", { value }, nil, "logits")
  core.write_file(path, graph:file {
    input = "images", output = "logits", opset = onnx.opset,
    input_shape = { "N", channels, height, width }, output_shape = { "N", "k" },
    metadata = { class_names = table.concat(o.class_names, "\n") },
  })
end

return onnx
