--- An ONNX graph under construction: nodes, constants, and the names of values. Field numbers are those of onnx.proto
-- (github.com/onnx/onnx, IR version 7).
-- @module masktune.onnx.graph
local core = require "masktune.core"
local pb = require "masktune.onnx.protobuf"
local sorted_names = require("masktune.names").sorted

local Graph = {}
Graph.__index = Graph

local FLOAT, INT64 = 1, 7 -- TensorProto.DataType
local ATTRIBUTE = { FLOAT = 1, INT = 2, STRING = 3, INTS = 7 } -- AttributeProto.AttributeType

--- A new, empty graph.
-- @treturn Graph
local function new() return setmetatable({ nodes = {}, constants = {}, known = {}, count = 0 }, Graph) end

local function attribute(name, value)
  local text = pb.bytes(1, name)
  if type(value) == "string" then return text .. pb.bytes(4, value) .. pb.integer(20, ATTRIBUTE.STRING) end
  if math.type(value) == "integer" then return text .. pb.integer(3, value) .. pb.integer(20, ATTRIBUTE.INT) end
  if type(value) == "number" then return text .. pb.float(2, value) .. pb.integer(20, ATTRIBUTE.FLOAT) end
  return text .. pb.integers(8, value) .. pb.integer(20, ATTRIBUTE.INTS)
end

--- Adds a node of one output.
-- @string operator "Conv", ...
-- @tparam {string,...} inputs names of values
-- @tparam[opt] table attributes name -> integer, number, string or list of integers
-- @string[opt] output its name
-- @treturn string the output's name
function Graph:node(operator, inputs, attributes, output)
  self.count = self.count + 1
  output = output or ("v%d"):format(self.count)
  local parts = {}
  for i, input in ipairs(inputs) do
    parts[i] = pb.bytes(1, input)
  end
  parts[#parts + 1] = pb.bytes(2, output) .. pb.bytes(3, ("%s_%d"):format(operator, self.count))
    .. pb.bytes(4, operator)
  for _, name in ipairs(sorted_names(attributes or {})) do
    parts[#parts + 1] = pb.bytes(5, attribute(name, attributes[name]))
  end
  self.nodes[#self.nodes + 1] = pb.bytes(1, table.concat(parts))
  return output
end

local function add_constant(self, name, shape, kind, raw)
  if not self.known[name] then
    self.known[name] = true
    self.constants[#self.constants + 1] = pb.bytes(5, pb.integers(1, shape) .. pb.integer(2, kind) .. pb.bytes(8, name)
      .. pb.bytes(9, raw))
  end
  return name
end

--- Adds a float32 tensor under a name; a second one of the same name is the first.
-- @treturn string name
function Graph:tensor(name, tensor) return add_constant(self, name, tensor:shape(), FLOAT, tensor:bytes()) end

--- Adds one number, or a list of integers.
-- @treturn string its name
function Graph:constant(value)
  if type(value) == "number" then
    return add_constant(self, ("c_%g"):format(value), {}, FLOAT, string.pack("<f", value))
  end
  local raw = {}
  for i, number in ipairs(value) do
    raw[i] = string.pack("<i8", number)
  end
  return add_constant(self, "i_" .. table.concat(value, "_"), { #value }, INT64, table.concat(raw))
end

local function value_info(name, dims)
  local shape = {}
  for i, size in ipairs(dims) do
    shape[i] = pb.bytes(1, type(size) == "string" and pb.bytes(2, size) or pb.integer(1, size))
  end
  local type_text = pb.bytes(1, pb.integer(1, FLOAT) .. pb.bytes(2, table.concat(shape)))
  return pb.bytes(1, name) .. pb.bytes(2, type_text)
end

--- The whole file.
-- @tparam table o `input`, `output`: names; `input_shape`, `output_shape`: sizes, or names of free ones; `opset`;
-- `metadata`: name -> text
-- @treturn string
function Graph:file(o)
  local graph = table.concat(self.nodes) .. pb.bytes(2, "masktune") .. table.concat(self.constants)
    .. pb.bytes(11, value_info(o.input, o.input_shape)) .. pb.bytes(12, value_info(o.output, o.output_shape))
  local metadata = {}
  for i, name in ipairs(sorted_names(o.metadata)) do
    metadata[i] = pb.bytes(14, pb.bytes(1, name) .. pb.bytes(2, o.metadata[name]))
  end
  return pb.integer(1, 7) .. pb.bytes(2, "masktune") .. pb.bytes(7, graph)
    .. pb.bytes(8, pb.bytes(1, "") .. pb.integer(2, o.opset)) .. table.concat(metadata)
end

assert(core.tensor { 1 }:bytes() == string.pack("<f", 1), "ONNX files hold little-endian numbers, as this machine does")

return { new = new }
