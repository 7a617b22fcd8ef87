--- Cross-entropy (paper, equation 1), with PyTorch's options and values.
local core = require "masktune.core"

--- What mt.cross_entropy is given beyond logits and labels; nil where nothing is asked for.
local function options_of(o)
  local options = {}
  if o.class_weights ~= nil then
    options.weight = type(o.class_weights) == "table" and core.tensor(o.class_weights) or o.class_weights
  end
  if o.label_smoothing > 0 then options.label_smoothing = o.label_smoothing end
  options.ignore_index = o.ignore_index
  return next(options) and options or nil
end

return {
  summary = "cross-entropy; class_weights, label_smoothing, ignore_index",
  schema = {
    class_weights = { type = "any", optional = true },
    label_smoothing = { type = "number", min = 0, max = 1, default = 0 },
    ignore_index = { type = "integer", optional = true },
  },
  new = function(o)
    local options = options_of(o)
    return function(model, batch)
      local logits = model(batch[batch.input])
      return core.cross_entropy(logits, batch.labels, options), logits
    end
  end,
}
