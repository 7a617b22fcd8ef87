local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

--- Writes Lua files into a folder that package.path leads to while f runs.
local function with_files(files, f)
  process.with_folder(function(folder)
    local path = package.path
    for name, text in pairs(files) do
      mt.make_directory(folder .. "/" .. name:match("^(.*)/"))
      mt.write_file(folder .. "/" .. name, text)
    end
    package.path = folder .. "/?.lua;" .. path
    local ok, problem = pcall(f)
    package.path = path
    assert(ok, problem)
  end)
end

local function options(more)
  return mt.tables.merged({
    train = tiny.data(48, 1), val = tiny.data(24, 2), epochs = 2, batch = 8, lr = 0.05, seed = 3, progress = false,
  }, more)
end

local function weights(model) return tiny.bytes(model:state_dict()) end

describe("a part that is one new file", function()
  it("is a method: listed, run by name, with its own options", function()
    with_files({ ["masktune/methods/hidden_half.lua"] = [[
      local masking = require "masktune.recipe.masking"
      return {
        title = "Half", summary = "hides the left half", labels = "class", cost = "1 epoch",
        schema = { share = { type = "number", min = 0, max = 1, default = 0.5 } },
        run = function(model, o, context)
          local mt = require "masktune"
          local first = context.erm()
          local result = context.result(first, "last")
          local keep = mt.ones({ #o.train.images, 16, 16 }, "uint8")
          keep:fill(0)
          local columns = math.floor(16 * o.share)
          local right = mt.ones({ #o.train.images, 16, 16 - columns }, "uint8")
          keep = mt.cat({ mt.zeros({ #o.train.images, 16, columns }, "uint8"), right }, 3)
          local masked = mt.tables.merged(o.train, { images = mt.mask.apply(o.train.images, keep) })
          result.tuned = mt.masktune.finetune(model, masked, {
            lr = first.lr, start = first.last, batch = o.batch, progress = false,
          })
          return result
        end,
      }]] }, function()
      assert.truthy(tostring(mt.methods):find("hidden_half +hides the left half %[labels: class; cost: 1 epoch%]"))
      local model = tiny.model(1)
      local result = mt.masktune(model, options { method = "hidden_half", share = 0.25 })
      assert.equal(model, result.final)
      assert.equal(2, #result.history)
      assert.not_equal(weights(result.initial), weights(result.final))
      assert.is_number(result.tuned.history[1].train_loss)
      assert.error_matches(function() mt.methods.hidden_half(model, options { share = 2 }) end,
        "mt.methods.hidden_half: option 'share': number in %[0, 1%] expected, got 2")
    end)
  end)

  it("is a loss, a data set or a net, and a whole recipe runs with them", function()
    with_files({
      ["masktune/losses/squared.lua"] = [[
        return {
          summary = "squared error of the probabilities",
          schema = { scale = { type = "number", default = 1 } },
          new = function(o)
            return function(model, batch)
              local mt = require "masktune"
              local logits = model(batch.images)
              local p = logits:softmax(2)
              local one = batch.labels:reshape(-1, 1):eq(mt.arange(1, 3, "int32"):reshape(1, 2)):to("float32")
              return ((p - one) ^ 2):mean() * o.scale, logits
            end
          end,
        }]],
      ["masktune/data/sets/bars.lua"] = [[
        return function(options)
          local set = require("support.tiny").data(options.count, options.seed)
          set.name = "bars"
          return set
        end]],
      ["masktune/models/tiny_net.lua"] = [[
        return { entries = { tiny_net = function() return require("support.tiny").model(1) end }, summary = "a net" }]],
    }, function()
      assert.truthy(tostring(mt.losses):find("squared +squared error of the probabilities"))
      assert.truthy(tostring(mt.data.sets):find("bars"))
      assert.truthy(tostring(mt.models):find("tiny_net +a net"))
      local model = mt.models.tiny_net()
      local set = mt.data.bars { count = 48, seed = 1 }
      local result = mt.masktune(model, options { train = set, objective = mt.losses.squared { scale = 2 } })
      assert.equal(1, result.finetune.iterations)
      assert.is_true(result.history[2].train_loss < result.history[1].train_loss)
    end)
  end)

  it("is named where it is no such part", function()
    with_files({ ["masktune/methods/no_method.lua"] = "return { summary = 'x' }" }, function()
      assert.error_matches(function() return mt.methods.no_method end, "masktune.methods.no_method: option 'run'")
    end)
    with_files({ ["masktune/losses/no_loss.lua"] = "return 3" }, function()
      assert.error_matches(function() return mt.losses.no_loss end, "masktune.losses.no_loss: loss expected")
    end)
  end)

  it("is also what a session assigns", function()
    mt.methods.nothing = {
      title = "Nothing", summary = "does nothing", run = function() return { nothing = true } end,
    }
    assert.is_true(mt.masktune(tiny.model(1), options { method = "nothing" }).nothing)
    mt.methods.nothing = nil
    assert.is_nil(mt.methods.nothing)
  end)
end)

describe("the method 'continue'", function()
  it("is one more plain epoch at the last rate, with the momentum", function()
    local model = tiny.model(1)
    local result = mt.masktune(model, options { method = "continue" })
    local net = tiny.model(1)
    local first = mt.masktune.erm(net, options())
    mt.masktune.finetune(net, tiny.data(48, 1), {
      lr = first.lr, start = first.last, batch = 8, seed = 3 + 7919, progress = false,
    })
    assert.equal(weights(net), weights(model))
    assert.equal(0, result.masks[1].fraction)
    assert.is_nil(result.masks[1].keep)
    assert.error_matches(function() mt.masktune(model, options { method = "continue", k = 2 }) end,
      "unknown option 'k'")
  end)
end)

describe("choosing among candidates", function()
  --- With a rate above 1 the net learns to answer class 1 to everything.
  local function objective(model, batch, run)
    local logits = model(batch.images)
    local labels = run.lr > 1 and mt.ones({ #batch.labels }, "int32") or batch.labels
    return mt.cross_entropy(logits, labels) * (run.lr > 1 and 0.3 / run.lr or 1), logits
  end

  local function run(more)
    local erm = mt.masktune.erm(tiny.model(1), options { epochs = 8 })
    return mt.masktune(tiny.model(1), options(mt.tables.merged({
      initial = erm, k = 1, objective = objective, weight_decay = 0, carry_momentum = false,
    }, more)))
  end

  it("never takes a net that has collapsed on unmasked images", function()
    local search = require "masktune.recipe.search"
    local start = { accuracy = 0.94, majority = 0.5 }
    local function problem(accuracy, predictions)
      return search.problem({ accuracy = accuracy, predictions = predictions }, start)
    end
    assert.truthy(problem(0.5, { 2, 2, 2, 2 }):find("answers class 2 to every unmasked validation image", 1, true))
    assert.truthy(problem(0.7, { 1, 1, 2, 1 }):find("right on 70.0 %% of the unmasked", 1, false))
    assert.is_nil(problem(0.73, { 1, 1, 2, 2 }))
    assert.is_nil(search.problem({ accuracy = 1, predictions = { 1, 1 } }, { accuracy = 1, majority = 1 }))
  end)

  it("refuses, with the reasons, where none is sound", function()
    local ok, message = pcall(run, { finetune_lr = "auto", auto = { factors = { 3e4, 6e4 } } })
    assert.is_false(ok)
    assert.truthy(message:find("no candidate is sound:\n  rate ", 1, true), message)
    assert.truthy(message:find("k 1: answers class %d to every unmasked") or message:find("is right on"), message)
  end)

  it("passes an unsound one over for a sound one, and says so of the only one", function()
    local result = run { finetune_lr = "auto", auto = { factors = { 1, 3e4 } } }
    local tried = result.finetune.candidates
    assert.is_nil(tried[1].problem)
    assert.is_string(tried[2].problem)
    assert.is_true(tried[1].unmasked_accuracy > 0.75)
    assert.equal(tried[1].lr, result.finetune.lr)
    local lines = {}
    local before = mt.notice.to(function(line) lines[#lines + 1] = line end)
    run { finetune_lr = 500 }
    mt.notice.to(before)
    assert.truthy(table.concat(lines, "\n"):find("fine-tuned at rate 500, the net", 1, true), table.concat(lines, "\n"))
  end)
end)

describe("masks that hide nothing", function()
  --- Heat of 8x8 cells for two images: in a single spot, and spread out.
  local function heat()
    local spot, spread = {}, {}
    for i = 1, 64 do
      spot[i], spread[i] = i == 10 and 1 or 0, i == 10 and 9 or i % 3
    end
    return mt.tensor({ spot, spread }):reshape(2, 8, 8)
  end
  local lines, before
  before_each(function()
    lines = {}
    before = mt.notice.to(function(line) lines[#lines + 1] = line end)
  end)
  after_each(function() mt.notice.to(before) end)

  local function masks(more)
    local o = mt.tables.merged({ heat = heat(), protocol = "reference" }, more)
    return select(2, mt.masktune.mask_dataset(tiny.model(1), tiny.data(2, 1), o))
  end

  it("are counted and said, and can follow the paper's rule", function()
    local plain = masks {}
    assert.equal(1, plain.empty)
    assert.equal(1, plain.keep[1]:min():item())
    assert.truthy(lines[1]:find("1 of 2 images of tiny have nothing masked", 1, true), lines[1])
    local mended = masks { empty = "paper" }
    assert.equal(0, mended.empty)
    assert.truthy(lines[2]:find("1 of 2 images of tiny are masked by the paper's rule", 1, true), lines[2])
    local paper = masks { protocol = "paper" }
    assert.equal(0, paper.empty)
    assert.equal(paper.keep[1]:bytes(), mended.keep[1]:bytes())
    assert.equal(plain.keep[2]:bytes(), mended.keep[2]:bytes())
    assert.equal(2, #lines)
  end)

  it("and coarse heatmaps are said", function()
    mt.manual_seed(1)
    local nn = mt.nn
    local model = nn.Sequential { nn.Conv2d(3, 4, 3), nn.MaxPool2d(7), nn.Flatten(), nn.Linear(16, 2) }
    mt.masktune.explain(model, tiny.data(4, 1), { layer = "1", progress = false })
    assert.truthy(lines[1]:find("layer '1' gives heatmaps of only 2x2 cells for images of 16x16", 1, true), lines[1])
  end)
end)

describe("mt.masktune.explain", function()
  it("names the image whose heat is not finite", function()
    local model = tiny.model(1)
    local state = model:state_dict()
    state["linear.weight"] = state["linear.weight"] * 3e38
    state["features.0.weight"] = state["features.0.weight"] * 3e38
    model:load_state_dict(state)
    assert.error_matches(function() mt.masktune.explain(model, tiny.data(4, 1), { progress = false }) end,
      "the heat of image 1 is not finite")
  end)
end)
