local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

local function data(count, seed)
  local set = tiny.data(count, seed)
  set.attribute = set.biased:to("int32") + 1
  set.group = (set.labels - 1) * 2 + set.attribute
  return set
end

local function options(more)
  return mt.tables.merged({
    train = data(48, 1), val = data(24, 2), epochs = 2, batch = 8, lr = 0.05, seed = 3, progress = false,
  }, more)
end

local function weights(model) return tiny.bytes(model:state_dict()) end

describe("mt.methods", function()
  it("prints what each needs, does and costs", function()
    local text = tostring(mt.methods)
    assert.truthy(text:find("groupdro +minimises the loss of the group that fares worst %[labels: class; group in "
      .. "training; stages: training; cost: the epochs; Sagawa et al. 2020%]"))
    for _, method in pairs(mt.methods) do
      assert.is_true(method.labels ~= "" and method.stages ~= "" and method.cost ~= "", method.name)
    end
  end)

  it("say which field with groups is missing, and what its values are", function()
    local set = tiny.data(48, 1)
    for _, name in ipairs { "groupdro", "reweight", "resample", "irm", "coral", "mmd", "crt" } do
      assert.error_matches(function() mt.methods[name](tiny.model(1), options { train = set }) end,
        "mt.methods." .. name .. ": the training set has no per%-image field 'group'", nil, name)
    end
    assert.error_matches(function() mt.methods.lisa(tiny.model(1), options { attribute = "place" }) end, "'place'")
    set.group = set.labels - 1
    assert.error_matches(function() mt.methods.groupdro(tiny.model(1), options { train = set }) end,
      "image 2 is of group 0, expected 1 to")
    set.group = mt.zeros(48)
    assert.error_matches(function() mt.methods.groupdro(tiny.model(1), options { train = set }) end,
      "integers {N} expected, got float32 {48}")
    for _, name in ipairs { "dfr", "ssa" } do
      local o = options {}
      o.val = nil
      assert.error_matches(function() mt.methods[name](tiny.model(1), o) end, "option 'val': data set with groups")
    end
  end)

  it("refuse an objective or a sampler beside their own", function()
    local function refused(name, more, text)
      assert.error_matches(function() mt.methods[name](tiny.model(1), options(more)) end, text)
    end
    refused("cvar", { objective = "focal" }, "mt.methods.cvar: option 'objective': the method has its own")
    refused("resample", { sampler = mt.data.samplers.shuffled() }, "option 'sampler': the method has its own")
    refused("groupdro", { sampler = mt.data.samplers.shuffled() }, "option 'sampler'")
    refused("groupdro", { class_weights = { 1, 2 } }, "only with the objective 'cross_entropy'")
  end)

  it("take a found column of groups: JTT's errors, EIIL's environments, clusters", function()
    local model = tiny.model(1)
    local net = tiny.model(1)
    mt.masktune.erm(net, options { epochs = 1 })
    for name, more in pairs {
      errors = {}, eiil = { steps = 20 }, clusters = { clusters = 3 },
      xrm = { epochs = 1, batch = 8, progress = false },
    } do
      local found = mt.groups[name](net, data(48, 1), more)
      local low, high = found.group:min():item(), found.group:max():item()
      assert.is_true(low >= 1 and high <= 6, name)
      assert.equal(48, #found.part)
      mt.methods.groupdro(model, options { train = found, epochs = 1 })
    end
    local found = mt.groups.clusters(net, data(48, 1), { of = "heatmaps", layer = "features.2" })
    assert.same({ 1, 4 }, { found.group:min():item(), found.group:max():item() })
    assert.truthy(tostring(mt.groups):find("eiil +two environments .+ %[Creager et al. 2021%]"))
    assert.error_matches(function() mt.groups.eiil(net, data(4, 1), { steps = 0 }) end,
      "mt.groups.eiil: option 'steps'")
  end)

  it("end with the best epoch's weights where they are told to", function()
    local model = tiny.model(1)
    local result = mt.methods.cvar(model, options { epochs = 4, weights = "best", select = "loss", lr = 0.3 })
    assert.equal(weights(result.best), weights(model))
  end)
end)

describe("a method that samples", function()
  --- How often each group is shown in an epoch.
  local function shown(name, more)
    local counts = {}
    mt.methods[name](tiny.model(1), options(mt.tables.merged({
      train = data(400, 1), epochs = 1, batch = 40,
      after_step = function(_, batch)
        for _, group in ipairs(batch.group:totable()) do
          counts[group] = (counts[group] or 0) + 1
        end
      end,
    }, more)))
    return counts
  end

  it("shows all groups alike, or in between", function()
    -- there are 100 plain and 100 biased images of class 1, and 200 plain ones of class 2: three groups
    for _, name in ipairs { "resample", "groupdro", "lisa" } do
      for _, count in pairs(shown(name)) do
        assert.near(400 / 3, count, 35)
      end
    end
    local halfway = shown("resample", { power = 0.5 })
    assert.near(400 * 2 ^ 0.5 / (2 + 2 ^ 0.5), halfway[3], 35)
    assert.same({ 100, 100, 200 }, shown("groupdro", { balanced = false }))
    assert.near(200, shown("resample", { by = "class" })[3], 35)
  end)
end)

describe("masktune.mixing", function()
  local mixing = require "masktune.mixing"

  it("draws shares from Beta(alpha, alpha)", function()
    mt.manual_seed(7)
    for _, alpha in ipairs { 0.2, 1, 2 } do
      local sum, squares, count = 0, 0, 4000
      for _ = 1, count do
        local share = mixing.beta(alpha)
        assert.is_true(share >= 0 and share <= 1)
        sum, squares = sum + share, squares + share * share
      end
      local mean = sum / count
      assert.near(0.5, mean, 0.025)
      assert.near(1 / (4 * (2 * alpha + 1)), squares / count - mean * mean, 0.01)
    end
  end)

  it("draws integers, chances and orders", function()
    local seen, heads = {}, 0
    for _ = 1, 2000 do
      local i = mixing.integer(3)
      seen[i] = (seen[i] or 0) + 1
      heads = heads + (mixing.chance(0.3) and 1 or 0)
    end
    assert.near(600, heads, 80)
    for i = 1, 3 do
      assert.near(2000 / 3, seen[i], 100)
    end
    local order = mixing.order(5):totable()
    table.sort(order)
    assert.same({ 1, 2, 3, 4, 5 }, order)
  end)
end)

describe("mt.methods.jtt", function()
  it("shows what the first training got wrong as often as it is told", function()
    local first, shown = tiny.model(1), {}
    mt.masktune.erm(first, options { epochs = 1, lr = 0.001 })
    local wrong = {}
    for i, part in ipairs(mt.groups.errors(first, data(48, 1)).part:totable()) do
      wrong[i] = part == 2
    end
    local errors = 0
    local result = mt.methods.jtt(tiny.model(1), options {
      first_epochs = 1, epochs = 1, upweight = 5, lr = 0.001,
      after_step = function(_, batch, run)
        if run.epoch > 1 then return end
        for _, i in ipairs(batch.indices:totable()) do
          shown[i] = (shown[i] or 0) + 1
        end
      end,
    })
    for i = 1, 48 do
      errors = errors + (wrong[i] and 1 or 0)
      assert.equal(1 + (wrong[i] and 5 or 1), shown[i]) -- once in the first training
    end
    assert.is_true(errors > 0 and errors < 48)
    assert.equal(errors, result.errors)
  end)
end)

describe("mt.groups.clusters", function()
  it("finds clouds that lie apart, in each class", function()
    local generator = mt.generator(5)
    local rows, labels, cloud = {}, {}, {}
    for i = 1, 60 do
      labels[i], cloud[i] = i % 2 + 1, generator:integer(1, 2)
      rows[i] = { 10 * cloud[i] + generator:normal(), -10 * cloud[i] + generator:normal(), generator:normal() }
    end
    local set = {
      images = mt.tensor(rows):reshape(60, 1, 1, 3), labels = mt.tensor(labels, "int32"), classes = 2,
      preprocess = false,
    }
    local nn = mt.nn
    local model = nn.Sequential { nn.Flatten(), nn.Linear(3, 2) } -- embeddings are the pixels
    local parts = mt.groups.clusters(model, set).part:totable()
    for class = 1, 2 do
      local seen = {}
      for i = 1, 60 do
        if labels[i] == class then
          seen[cloud[i]] = seen[cloud[i]] or parts[i]
          assert.equal(seen[cloud[i]], parts[i])
        end
      end
      assert.not_equal(seen[1], seen[2])
    end
  end)
end)

describe("mt.embeddings", function()
  it("are what the last linear layer is given", function()
    local model, set = tiny.model(1), data(20, 1)
    local seen = mt.embeddings(model, set, { batch = 7 })
    model:eval()
    local logits = mt.no_grad(model, mt.image.batch(set.images, mt.arange(1, 21, "int32")))
    local head = model:get("linear")
    assert.is_true((mt.no_grad(head, seen.features) - logits):abs():max():item() < 1e-5)
    assert.equal("features", seen.input)
    assert.equal(set.group, seen.group)
    assert.is_nil(seen.images)
    local whole, part = mt.evaluate(model, set), mt.evaluate(head, seen)
    assert.equal(whole.accuracy, part.accuracy)
    assert.near(whole.loss, part.loss, 1e-5)
  end)

  it("are read from their file where they are those of the same weights and images, else refused", function()
    process.with_folder(function(folder)
      local model, set, path = tiny.model(1), data(20, 1), folder .. "/e.safetensors"
      local seen = mt.embeddings(model, set, { path = path })
      local again = mt.embeddings(model, set, { path = path })
      assert.equal(seen.features:bytes(), again.features:bytes())
      assert.same({ 20, 196 }, mt.load(path).features:shape())
      assert.error_matches(function() mt.embeddings(tiny.model(2), set, { path = path }) end, "weights is")
      assert.error_matches(function() mt.embeddings(model, data(20, 2), { path = path }) end, "images is")
    end)
  end)

  it("may stay in their file: the same values, for training and evaluation too", function()
    process.with_folder(function(folder)
      local model, set, path = tiny.model(1), data(20, 1), folder .. "/e.safetensors"
      local whole = mt.embeddings(model, set)
      local stays = mt.embeddings(model, set, { path = path, stream = true, batch = 7 })
      assert.same({ 20, 196 }, stays.features:shape())
      assert.equal("float32", stays.features:dtype())
      assert.is_true((whole.features - stays.features:narrow(1, 1, 20)):abs():max():item() < 1e-5)
      assert.equal(stays.features:narrow(1, 3, 1):bytes(), stays.features[3]:bytes())
      local picked = mt.data.subset(stays, { 9, 2, 3, 4 })
      assert.equal(mt.load(path).features:index({ 3, 9, 4 }):bytes(),
        picked.features:batch(mt.tensor({ 3, 1, 4 }, "int32")):bytes())
      local function trained(embedded)
        mt.manual_seed(4)
        local head = mt.nn.Linear(196, 2)
        mt.train(head, { train = embedded, val = embedded, epochs = 2, batch = 8, progress = false })
        return weights(head)
      end
      local read = mt.embeddings(model, set, { path = path })
      assert.equal(trained(read), trained(stays))
      assert.error_matches(function() return stays.features[21] end, "position 21, expected 1 to 20")
      mt.write_file(path, mt.read_file(path):sub(1, -5))
      assert.error_matches(function() return stays.features:narrow(1, 18, 3) end, "no longer holds row 20 of 'feat")
      assert.equal(196, #stays.features[1])
      mt.remove_file(path)
      assert.error_matches(function() return stays.features[1] end, "can no longer be read: .*e.safetensors")
      assert.error_matches(function() mt.embeddings(model, set, { stream = true }) end, "option 'path'")
    end)
  end)

  it("name a net without a head, and one that goes on after it", function()
    local nn = mt.nn
    local set = data(4, 1)
    assert.error_matches(function() mt.embeddings(nn.Sequential { nn.Flatten() }, set) end, "the net has no Linear")
    local behind = nn.Module {
      head = nn.Linear(768, 2),
      forward = function(self, x) return mt.cat({ self.head(mt.flatten(x)), mt.flatten(x) }, 2) end,
    }
    assert.error_matches(function() mt.embeddings(behind, set) end, "goes on after its Linear 'head'")
    assert.error_matches(function() mt.embeddings(tiny.model(1), set, { head = "x" }) end, "no Linear called 'x'")
    assert.error_matches(function() mt.embeddings({ forward = function() end }, set) end, "got table")
  end)
end)

describe("a method of the last layer", function()
  it("changes the last layer and nothing else", function()
    for name, more in pairs { crt = {}, dfr = { c = { 1 }, heads = 1 }, masked_head = { k = 1 } } do
      local erm = mt.masktune.erm(tiny.model(1), options {})
      local model = tiny.model(1)
      mt.methods[name](model, options(mt.tables.merged({ initial = erm }, more)))
      for part, tensor in pairs(model:state_dict()) do
        local same = tensor:bytes() == erm.last.model[part]:bytes()
        assert.equal(part:find("^linear") == nil, same, name .. " " .. part)
      end
    end
  end)

  it("keeps embeddings of images that are masked in another way beside each other", function()
    process.with_folder(function(folder)
      local function head(k, checkpoint)
        local model = tiny.model(1)
        mt.methods.masked_head(model, options { k = k, checkpoint = checkpoint, resume = checkpoint ~= nil })
        return weights(model)
      end
      local one, two = head(1, folder), head(2, folder)
      assert.not_equal(one, two)
      assert.equal(head(1), one)
      assert.equal(head(2), two)
      assert.equal(head(1, folder), one)
    end)
  end)

  it("finds the weights of another CRT by weights, and DFR by steps", function()
    local sampled, weighted = tiny.model(1), tiny.model(1)
    mt.methods.crt(sampled, options {})
    mt.methods.crt(weighted, options { balance = "weights" })
    assert.not_equal(weights(sampled), weights(weighted))
    local result = mt.methods.dfr(tiny.model(1), options { solver = "sgd" })
    assert.is_true(mt.evaluate(result.final, data(24, 2)).accuracy > 0.9)
  end)
end)
