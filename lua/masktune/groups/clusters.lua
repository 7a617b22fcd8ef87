--- Clusters of each class's embeddings, or of its heatmaps (the idea of ExMap, Chakraborty et al. 2024; GEORGE, Sohoni
-- et al. 2020, clusters embeddings). Heatmaps are divided by their sums, so that they say where and not how much.
local core = require "masktune.core"
local embeddings = require "masktune.embeddings"
local kmeans = require "masktune.kmeans"
local masks = require "masktune.recipe.masks"
local tables = require "masktune.tables"

--- Rows to cluster: {N,D}.
local rows_of = {
  embeddings = function(model, set, o) return embeddings(model, set, { head = o.head }).features end,
  heatmaps = function(model, set, o)
    local heat = masks.explain(model, set, tables.merged(tables.picked(o, masks.cam_schema), {
      layer = o.layer or not o.layers and model.cam_layer or nil, progress = false,
    }))
    local rows = heat:to("float32"):reshape(#heat, -1)
    return rows / rows:sum(2):reshape(-1, 1):clamp(1e-12, math.huge)
  end,
}

--- The positions of each class's images.
local function by_class(labels)
  local positions = {}
  for i, label in ipairs(labels) do
    positions[label] = positions[label] or {}
    table.insert(positions[label], i)
  end
  return positions
end

return {
  summary = "clusters of each class's embeddings or heatmaps",
  paper = "Sohoni et al. 2020; Chakraborty et al. 2024",
  schema = tables.merged(masks.cam_schema, {
    of = { choices = { "embeddings", "heatmaps" }, default = "embeddings" },
    clusters = { type = "integer", min = 2, default = 2 },
    head = { type = "string", optional = true },
    seed = { type = "integer", default = 1 },
  }),
  run = function(model, set, o)
    local rows, parts = rows_of[o.of](model, set, o), {}
    for _, positions in pairs(by_class(set.labels:totable())) do
      local found = kmeans(rows:index(core.tensor(positions, { dtype = "int32" })), o.clusters, o.seed)
      for i, position in ipairs(positions) do
        parts[position] = found[i]
      end
    end
    return parts
  end,
}
