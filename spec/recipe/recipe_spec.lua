local mt = require "masktune"
local judges = require "masktune.recipe.judges"
local search = require "masktune.recipe.search"
local tiny = require "support.tiny"

local train_set, val_set = tiny.data(48, 1), tiny.data(24, 2)

local function options(more)
  local o = {
    train = train_set, val = val_set, epochs = 2, batch = 8, lr = 0.05, seed = 3, progress = false,
  }
  for name, value in pairs(more or {}) do
    o[name] = value
  end
  return o
end

local function weights(model) return tiny.bytes(model:state_dict()) end

--- One ERM that the specs below share.
local erm
local function shared_erm()
  erm = erm or mt.masktune.erm(tiny.model(1), options())
  return erm
end

local function recipe(more)
  more.initial = more.initial or shared_erm()
  local model = tiny.model(1)
  return mt.masktune(model, options(more)), model
end

describe("mt.masktune.erm", function()
  it("trains with SGD, and halves the rate after each quarter of the epochs", function()
    local model = tiny.model(1)
    local result = mt.masktune.erm(model, options { epochs = 4 })
    local expected = tiny.model(1)
    local schedule = mt.schedule.multi_step { lr = 0.05, milestones = { 1, 2, 3 }, factor = 0.5 }
    mt.train(expected, {
      train = train_set, val = val_set, epochs = 4, batch = 8, seed = 3, progress = false, schedule = schedule,
      optimizer = mt.optim.sgd(expected:parameters(), { lr = 0.05, momentum = 0.9, weight_decay = 1e-4 }),
    })
    assert.equal(weights(expected), weights(model))
    assert.equal(0.05 / 8, result.lr)
    assert.equal(4, #result.history)
  end)

  it("takes Adam, an optimiser of one's own, and any schedule", function()
    local adam, own = tiny.model(1), tiny.model(1)
    local schedule = { lr = function(_, epoch) return 0.01 / epoch end }
    local result = mt.masktune.erm(adam, options { optimizer = "adam", weight_decay = 0, schedule = schedule })
    mt.masktune.erm(own, options {
      optimizer = function(parameters, lr) return mt.optim.adam(parameters, { lr = lr }) end, schedule = schedule,
    })
    assert.equal(weights(own), weights(adam))
    assert.equal(0.005, result.lr)
  end)
end)

describe("mt.masktune", function()
  it("does what its steps do one by one: masks from the best weights, fine-tuning from the last", function()
    local model = tiny.model(1)
    local result = mt.masktune(model, options { epochs = 3 })

    local net = tiny.model(1)
    local first = mt.masktune.erm(net, options { epochs = 3 })
    net:load_state_dict(first.best.model)
    local masked, info = mt.masktune.mask_dataset(net, train_set, { progress = false })
    local tuned = mt.masktune.finetune(net, masked, {
      lr = first.lr, start = first.last, batch = 8, seed = 3 + 7919, progress = false,
    })
    assert.equal(weights(net), weights(model))
    assert.equal(model, result.final)
    assert.equal(tiny.bytes(first.last.model), weights(result.initial))
    assert.equal(tiny.bytes(first.best.model), weights(result.best))
    assert.equal(first.best.epoch, result.best_epoch)
    assert.equal(info.keep:bytes(), result.masks[1].keep:bytes())
    assert.equal(info.fraction, result.masks[1].fraction)
    assert.equal(tuned.history[1].train_loss, result.finetune.candidates[1].train_loss)
    assert.equal(first.lr, result.finetune.lr)
    assert.equal(1, result.finetune.iterations)
  end)

  it("gives the same bits for the same seed, and others for another", function()
    local a, b, c = tiny.model(1), tiny.model(1), tiny.model(1)
    mt.masktune(a, options())
    mt.rand(17)
    mt.masktune(b, options())
    mt.masktune(c, options { seed = 4 })
    assert.equal(weights(a), weights(b))
    assert.not_equal(weights(a), weights(c))
  end)

  it("stops after ERM with method 'erm'", function()
    local result, model = recipe { method = "erm" }
    assert.equal(tiny.bytes(shared_erm().last.model), weights(model))
    assert.equal(weights(model), weights(result.initial))
    assert.is_nil(result.finetune)
    assert.is_nil(result.seconds.finetune)
  end)

  it("takes over an ERM that was run already", function()
    local whole = tiny.model(1)
    mt.masktune(whole, options())
    local result, model = recipe {}
    assert.equal(weights(whole), weights(model))
    assert.equal(2, #result.history)
  end)

  it("takes over weights alone, without momentum", function()
    local start = shared_erm().last.model
    local _, model = recipe { initial = start, mask_from = "last" }
    local _, expected = recipe { mask_from = "last", carry_momentum = false }
    assert.equal(weights(expected), weights(model))
    assert.not_equal(weights(select(2, recipe { mask_from = "last" })), weights(model))
  end)

  it("runs every method, protocol, rule and choice of checkpoint, each with its own result", function()
    local seen = {}
    for _, case in ipairs {
      { name = "plain", options = {} },
      { name = "reference", options = { protocol = "reference" } },
      { name = "k = 1", options = { k = 1 } },
      { name = "topk", options = { rule = "topk", top = 9 } },
      { name = "global mean", options = { rule = "global_mean" } },
      { name = "soft", options = { rule = "soft" } },
      { name = "random squares", options = { method = "randmask" } },
      { name = "random areas", options = { method = "randmask", random = "area", k = 1 } },
      { name = "no momentum", options = { carry_momentum = false } },
      { name = "a number", options = { finetune_lr = 0.003 } },
      { name = "another layer", options = { layer = "features.3" } },
      { name = "two iterations", options = { iterations = 2, k = 1 } },
      { name = "two, accumulating", options = { iterations = 2, accumulate = true, k = 1 } },
      { name = "three", options = { iterations = 3, k = 1 } },
      { name = "random, two", options = { method = "randmask", iterations = 2 } },
    } do
      local result, model = recipe(case.options)
      local bytes = weights(model)
      assert.is_nil(seen[bytes], ("%s is the same as %s"):format(case.name, seen[bytes]))
      seen[bytes] = case.name
      assert.equal(case.options.iterations or 1, #result.masks)
      assert.equal(case.options.iterations or 1, result.finetune.iterations)
      for _, row in ipairs(result.finetune.candidates) do
        assert.is_true(row.val_accuracy >= 0 and row.val_accuracy <= 1 and row.train_loss > 0)
      end
      assert.is_true(result.masks[1].fraction > 0 and result.masks[1].fraction < 1, case.name)
    end
  end)

  it("starts masks and fine-tuning from the checkpoints it is told to", function()
    local model = tiny.model(2)
    local first = mt.masktune.erm(model, options { epochs = 4, lr = 0.2 })
    first.best.model, first.best.optimizer = tiny.model(7):state_dict(), nil -- far from the last, to tell them apart
    local function masks_of(more)
      more.initial = first
      return recipe(more).masks[1].keep:bytes()
    end
    local function heat_masks(state)
      local net = tiny.model(1)
      net:load_state_dict(state)
      return select(2, mt.masktune.mask_dataset(net, train_set, { progress = false })).keep:bytes()
    end
    assert.equal(heat_masks(first.best.model), masks_of {})
    assert.equal(heat_masks(first.last.model), masks_of { mask_from = "last" })
    assert.equal(tiny.bytes(first.best.model), weights(recipe({ initial = first, finetune_from = "best" }).initial))
  end)

  it("masks the masked images again when it accumulates, the original ones when it does not", function()
    local once = recipe { k = 1 }
    local function masks_by_it(images)
      local heat = mt.cam.xgradcam(once.final, images, { layer = "features.2" })
      return mt.mask.threshold(heat, { protocol = "paper", k = 1, size = { 16, 16 } }):bytes()
    end
    local masked = mt.mask.apply(train_set.images, once.masks[1].keep)
    local accumulated = recipe { iterations = 2, accumulate = true, k = 1 }
    local original = recipe { iterations = 2, accumulate = false, k = 1 }
    assert.equal(masks_by_it(masked), accumulated.masks[2].keep:bytes())
    assert.equal(masks_by_it(train_set.images), original.masks[2].keep:bytes())
  end)

  it("works without a validation set where nothing is to be chosen", function()
    local model = tiny.model(1)
    local o = options()
    o.val = nil
    local result = mt.masktune(model, o)
    assert.is_nil(result.finetune.candidates[1].val_accuracy)
    assert.equal(2, result.best_epoch)
  end)

  it("adds up the seconds of the stages", function()
    local seconds = recipe({}).seconds
    assert.is_true(seconds.erm > 0 and seconds.mask > 0 and seconds.finetune > 0)
  end)

  it("refuses options that are unknown, wrong, or do not go together", function()
    local function message(more)
      local ok, text = pcall(recipe, more)
      assert.is_false(ok)
      return text
    end
    assert.truthy(message({ epoch = 3 }):find("mt.masktune: unknown option 'epoch'", 1, true))
    assert.truthy(message({ protocol = "other" }):find("option 'protocol': 'reference' or 'paper' expected", 1, true))
    assert.truthy(message({ iterations = 4 }):find("option 'iterations': integer in [1, 3] expected, got 4", 1, true))
    assert.truthy(message({ finetune_lr = "fast" }):find("option 'finetune_lr'", 1, true))
    assert.truthy(message({ finetune_lr = -1 }):find("option 'finetune_lr'", 1, true))
    assert.truthy(message({ rule = "topk" }):find("option 'top': required with rule 'topk'", 1, true))
    assert.truthy(message({ top = 3 }):find("option 'top'", 1, true))
    assert.truthy(message({ auto = { rates = { 1 } } }):find("option 'auto': unknown option 'rates'", 1, true))
    assert.truthy(message({ method = "randmask", auto = { k = { 1, 2 } } }):find("option 'auto.k'", 1, true))
    assert.truthy(message({ layer = "nowhere" }):find("nowhere", 1, true))
    local o = options { finetune_lr = "auto", initial = shared_erm() }
    o.val = nil
    assert.error_matches(function() mt.masktune(tiny.model(1), o) end, "option 'val': data set expected")
    assert.error_matches(function() mt.masktune({}, options()) end, "argument 'model'")
  end)
end)

describe("the schedule of the fine-tuning epoch", function()
  --- The rates of an epoch's steps, as the optimiser got them.
  local function rates_of(more)
    local rates = {}
    local function optimizer(parameters, lr)
      local inner = mt.optim.sgd(parameters, { lr = lr, momentum = 0.9 })
      return setmetatable({
        step = function()
          rates[#rates + 1] = inner:lr()
          inner:step()
        end,
      }, { __index = function(_, name) return function(_, ...) return inner[name](inner, ...) end end })
    end
    recipe(mt.tables.merged(more, { optimizer = optimizer, initial = shared_erm().best.model }))
    return rates
  end

  it("is constant as in the paper, or half a cosine from the rate to zero, step by step", function()
    for _, rate in ipairs(rates_of { finetune_lr = 0.25 }) do
      assert.equal(0.25, rate)
    end
    local rates = rates_of { finetune_lr = 0.25, finetune_schedule = "cosine" }
    assert.is_true(#rates > 3)
    for i, rate in ipairs(rates) do
      assert.near(0.125 * (1 + math.cos(math.pi * (i - 1) / #rates)), rate, 1e-12)
    end
  end)
end)

describe("finetune_lr = 'auto'", function()
  for schedule, factors in pairs { constant = { 1, 2, 4, 8 }, cosine = { 1, 4, 16, 32 } } do
    it(("tries multiples of the last rate and keeps the one with the best score (%s)"):format(schedule), function()
      local asked = schedule == "constant" and schedule or nil
      local result, model = recipe { finetune_lr = "auto", finetune_schedule = asked }
      local last, best = shared_erm().lr, nil
      assert.equal(4, #result.finetune.candidates)
      for i, row in ipairs(result.finetune.candidates) do
        assert.equal(last * factors[i], row.lr)
        assert.equal(row.judged[1], row.score)
        if not row.problem and (not best or row.score > best.score) then best = row end
      end
      assert.equal(best.lr, result.finetune.lr)
      assert.same({ finetune_lr = best.lr, finetune_schedule = schedule }, result.finetune.options)
      local _, direct = recipe(result.finetune.options)
      assert.equal(weights(direct), weights(model))
    end)
  end

  it("measures on the validation images masked by the same model with the same rule", function()
    local result, model = recipe { finetune_lr = "auto", auto = { factors = { 3 } }, protocol = "paper", k = 1 }
    local net = tiny.model(1)
    net:load_state_dict(shared_erm().best.model)
    local masked = mt.masktune.mask_dataset(net, val_set, { protocol = "paper", k = 1, progress = false })
    assert.equal(mt.evaluate(model, masked).accuracy, result.finetune.candidates[1].val_accuracy)
    assert.equal(mt.evaluate(model, masked).loss, result.finetune.candidates[1].val_loss)
  end)

  it("chooses k as well, with a judge for every k", function()
    local result, model = recipe { finetune_lr = "auto", auto = { factors = { 1, 4 }, k = { 1, 2, 3 } } }
    assert.equal(6, #result.finetune.candidates)
    local net = tiny.model(1)
    net:load_state_dict(shared_erm().best.model)
    local chosen
    for _, row in ipairs(result.finetune.candidates) do
      if row.lr == result.finetune.lr and row.k == result.finetune.k then chosen = row end
    end
    local jury = {}
    for i, k in ipairs { 1, 2, 3 } do
      local _, masks = mt.masktune.mask_dataset(net, val_set, { k = k, progress = false })
      jury[i] = judges.new(net, val_set, masks.keep, 3 + 7919)
    end
    assert.same(judges.measure(model, jury).judged, chosen.judged)
    local _, direct = recipe(mt.tables.merged(result.finetune.options, { k = result.finetune.k }))
    assert.equal(weights(direct), weights(model))
  end)

  it("chooses the number of iterations as well", function()
    local result, model = recipe { finetune_lr = "auto", k = 1, auto = { factors = { 1, 8 }, iterations = { 1, 2 } } }
    assert.equal(4, #result.finetune.candidates)
    local rows = {}
    for i = 1, 2 do
      local judged = result.masks[i].judged
      rows[i] = { judged = judged, score = mt.metrics.mean(judged) }
    end
    assert.equal(search.winner(rows), result.finetune.iterations)
    local _, direct = recipe {
      finetune_lr = "auto", k = 1, auto = { factors = { 1, 8 } }, iterations = result.finetune.iterations,
    }
    assert.equal(weights(direct), weights(model))
  end)

  it("is there for random masks, too", function()
    local result = recipe { method = "randmask", finetune_lr = "auto", auto = { factors = { 1, 2 } } }
    assert.equal(2, #result.finetune.candidates)
  end)
end)

describe("the winner among candidates", function()
  local function winner(...)
    local rows = {}
    for i, judged in ipairs { ... } do
      rows[i] = { judged = judged, score = mt.metrics.mean(judged) }
    end
    return search.winner(rows)
  end

  it("has the best accuracy where one judge ranks them, the first of equals", function()
    assert.equal(2, winner({ 0.5 }, { 0.7 }, { 0.6 }))
    assert.equal(2, winner({ 0.5 }, { 0.7 }, { 0.7 }))
  end)

  it("has the best mean rank where several do, however far apart one judge finds them", function()
    assert.equal(2, winner({ 0.99, 0.60, 0.60 }, { 0.50, 0.62, 0.62 }, { 0.51, 0.61, 0.61 }))
  end)

  it("has the best mean accuracy among equal ranks", function()
    assert.equal(2, winner({ 0.8, 0.5 }, { 0.7, 0.9 }))
  end)

  it("needs no judge where it is alone", function()
    assert.equal(1, search.winner { { judged = {} } })
  end)
end)
