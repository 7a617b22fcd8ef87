--- The cases of the oracle specs on our side: from PyTorch's inputs to our results, and how far they are apart.
-- spec/golden/reference.py is the other side; it gives each case's tensors by the names used here.
local mt = require "masktune"
local dkjson = require "dkjson"

local cases = {}

--- The cases in a JSON file.
function cases.read(path) return assert(dkjson.decode(mt.read_file(path))) end

--- Relative error (norm of the difference by PyTorch's norm) allowed for a result, by the name's beginning.
local FORWARD, GRADIENT = 1e-5, 1e-4
local tolerances = { { "^grad", GRADIENT }, { "^sgd", GRADIENT }, { "^adam", GRADIENT }, { "", FORWARD } }

local function leaf(t)
  return t and t:requires_grad(true)
end

--- y, and the gradients of sum(r * y) with respect to the named leaves.
local function with_gradients(y, r, leaves)
  y:backward(r)
  local results = { y = y }
  for name, tensor in pairs(leaves) do
    results["grad_" .. name] = tensor:grad()
  end
  return results
end

local operations = {}

function operations.conv2d(case, t)
  local x, w, b = leaf(t.x), leaf(t.w), leaf(t.b)
  local y = mt.conv2d(x, w, b, { stride = case.stride, padding = case.padding })
  return with_gradients(y, t.r, { x = x, w = w, b = b })
end

function operations.pool2d(case, t)
  local x = leaf(t.x)
  local pool = case.kind == "max" and mt.max_pool2d or mt.avg_pool2d
  local y = pool(x, { kernel = case.kernel, stride = case.stride, padding = case.padding })
  return with_gradients(y, t.r, { x = x })
end

function operations.global_avg_pool(_, t)
  local x = leaf(t.x)
  return with_gradients(mt.global_avg_pool(x), t.r, { x = x })
end

function operations.batch_norm(case, t)
  local x, weight, bias = leaf(t.x), leaf(t.weight), leaf(t.bias)
  local mean, var = t.running_mean:clone(), t.running_var:clone()
  local y = mt.batch_norm(x, weight, bias, mean, var, { training = case.train })
  local results = with_gradients(y, t.r, { x = x, weight = weight, bias = bias })
  results.mean_after, results.var_after = mean, var
  return results
end

function operations.linear(_, t)
  local x, w, b = leaf(t.x), leaf(t.w), leaf(t.b)
  return with_gradients(mt.linear(x, w, b), t.r, { x = x, w = w, b = b })
end

function operations.cross_entropy(case, t)
  local x = leaf(t.x)
  return with_gradients(mt.cross_entropy(x, t.labels, { reduction = case.reduction }), t.r, { x = x })
end

-- ---- the SmallCNN ----

--- count numbers in [0,1) that reference.py computes too (its `pattern`).
local function pattern(name, count, salt)
  local key = salt
  for i = 1, #name do
    key = (key * 31 + name:byte(i)) & 0xFFFFFFFF
  end
  local values = {}
  for i = 1, count do
    local h = ((i - 1) * 2654435761 + key) & 0xFFFFFFFF
    h = (h ~ (h >> 16)) * 2246822507 & 0xFFFFFFFF
    h = (h ~ (h >> 13)) * 3266489909 & 0xFFFFFFFF
    values[i] = ((h ~ (h >> 16)) >> 8) / 2.0 ^ 24
  end
  return values
end

local function pattern_tensor(name, shape, salt, value_of)
  local count = 1
  for _, size in ipairs(shape) do
    count = count * size
  end
  local values = pattern(name, count, salt)
  for i = 1, count do
    values[i] = value_of(values[i])
  end
  return mt.tensor(values):reshape(shape)
end

local function pattern_weights(state, salt)
  local weights = {}
  for name, tensor in pairs(state) do
    local shape = tensor:shape()
    if not name:find("num_batches_tracked", 1, true) then
      local fan_in = #shape > 1 and tensor:numel() / shape[1] or 16.0
      local scale = math.sqrt(6.0 / fan_in)
      local around_one = name:find("running_var$") or (name:find("weight$") and #shape == 1)
      weights[name] = pattern_tensor(name, shape, salt, around_one and function(u)
        return 0.5 + u
      end or function(u)
        return (2 * u - 1) * scale
      end)
    end
  end
  return weights
end

function operations.small_cnn(case, t)
  local salt = math.tointeger(t.salt:reshape(1):totable()[1])
  local model = mt.models.small_cnn{ classes = case.classes }
  local start = pattern_weights(model:state_dict(), salt)
  local images = pattern_tensor("images", { case.batch, 28, 28, 3 }, salt, function(u)
    return u
  end)
  local labels = {}
  for i = 1, case.batch do
    labels[i] = (i - 1) * 3 % case.classes + 1
  end
  labels = mt.tensor(labels):to("int32")
  local results = {}

  -- Of a large weight only some rows are compared, to keep the golden file small.
  local function keep(prefix, name, tensor)
    if tensor:numel() > 2000 then
      local rows = {}
      for row = 1, tensor:size(1), math.max(1, tensor:size(1) // case.rows) do
        rows[#rows + 1] = tensor:narrow(1, row, 1)
      end
      tensor = mt.cat(rows, 1)
    end
    results[prefix .. name] = tensor
  end

  local function step(optimiser)
    model:train()
    model:zero_grad()
    local logits = model(images)
    local loss = mt.cross_entropy(logits, labels)
    loss:backward()
    if optimiser then
      optimiser:step()
    end
    return logits, loss
  end

  local function restart()
    model:load_state_dict(start, { strict = false })
  end

  restart()
  model:eval()
  mt.no_grad(function()
    results.logits_eval = model(images)
  end)
  results.logits_train, results.loss = step()
  local gradients = model:grad_dict()
  for name, gradient in pairs(gradients) do
    keep("grad.", name, gradient)
  end
  for name, buffer in pairs(model:state_dict()) do
    if name:find("running_", 1, true) then
      keep("buffer.", name, buffer)
    end
  end
  local optimisers = {
    sgd = function(parameters)
      return mt.optim.sgd(parameters, { lr = 0.1, momentum = 0.9, weight_decay = 0.1 })
    end,
    adam = function(parameters)
      return mt.optim.adam(parameters, { lr = 0.01, eps = 0.01, weight_decay = 0.1 })
    end,
  }
  for kind, make in pairs(optimisers) do
    restart()
    local optimiser = make(model:parameters())
    for count = 1, case.steps do
      step(optimiser)
      local state = model:state_dict()
      for name in pairs(gradients) do
        keep(kind .. count .. ".", name, state[name] - start[name])
      end
    end
  end

  restart()
  model:eval()
  results.heat = mt.cam.xgradcam(model, images, { layer = model.cam_layer })
  local last = mt.full({ case.batch }, case.classes):to("int32")
  results.heat_of_last_class = mt.cam.xgradcam(model, images, { layer = model.cam_layer, target = last })
  for _, protocol in ipairs{ "paper", "reference" } do
    for _, k in ipairs{ 0, 2 } do
      local options = { protocol = protocol, k = k, size = { 28, 28 } }
      results["keep." .. protocol .. k] = mt.mask.threshold(t.heat, options)
    end
  end
  return results
end

-- ---- comparison ----

local function flat(t)
  return t:to("float32"):reshape(t:numel()):totable()
end

local function norm(values)
  local sum = 0.0
  for _, v in ipairs(values) do
    sum = sum + v * v
  end
  return math.sqrt(sum)
end

--- What a batch norm follows directly: its mean removes the bias again, so the true gradient is zero.
local without_effect = {
  ["grad.backbone.0.bias"] = "grad.backbone.0.weight",
  ["grad.backbone.3.bias"] = "grad.backbone.3.weight",
  ["grad.backbone.7.bias"] = "grad.backbone.7.weight",
  ["grad.backbone.10.bias"] = "grad.backbone.10.weight",
  ["grad.linear.0.bias"] = "grad.linear.0.weight",
}

--- Raises with every result of one case that is too far from PyTorch's. theirs: inputs and results by name.
function cases.check(case, theirs)
  local ours = operations[case.op](case, theirs)
  local complaints, compared = {}, 0
  for name, tensor in pairs(ours) do
    local expected = assert(theirs[name], name .. " is not among PyTorch's results")
    local got_shape, shape = table.concat(tensor:shape(), ","), table.concat(expected:shape(), ",")
    if got_shape ~= shape then
      error(("%s: %s has shape {%s}, PyTorch's {%s}"):format(case.name, name, got_shape, shape), 0)
    end
    local a, b = flat(tensor), flat(expected)
    local difference = {}
    for i = 1, #b do
      difference[i] = a[i] - b[i]
    end
    local scale = norm(without_effect[name] and flat(theirs[without_effect[name]]) or b)
    local tolerance
    for _, entry in ipairs(tolerances) do
      tolerance = tolerance or (name:find(entry[1]) and entry[2])
    end
    if name:find("^keep") then
      tolerance = 0
    end
    local error_norm = norm(difference)
    local close = error_norm <= tolerance * scale -- false with NaN
    if not close then
      local text = "  %s: relative error %.3g, allowed %.3g"
      complaints[#complaints + 1] = text:format(name, error_norm / scale, tolerance)
    end
    compared = compared + 1
  end
  if #complaints > 0 then
    table.sort(complaints)
    error(case.name .. " differs from PyTorch:\n" .. table.concat(complaints, "\n"), 0)
  end
  return compared
end

--- The tensors of one case out of a file's: "conv_1x1/x" -> "x".
function cases.tensors_of(case, file)
  local tensors, prefix = {}, case.name .. "/"
  for name, tensor in pairs(file) do
    if name:sub(1, #prefix) == prefix then
      tensors[name:sub(#prefix + 1)] = tensor
    end
  end
  return tensors
end

cases.pattern = pattern

return cases
