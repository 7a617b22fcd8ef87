local check = require "masktune.check"
local mt = require "masktune"

local schema = {
  epochs = { type = "integer", min = 1, default = 100 },
  lr = { type = "number", above = 0, choices = { "last", "auto" }, default = "auto" },
  protocol = { choices = { "paper", "reference" }, default = "paper" },
  seeds = { type = "list", of = { type = "integer", min = 0 }, min_length = 1, default = { 1 } },
  verbose = { type = "boolean", default = true },
  ratio = { type = "number", min = 0, max = 1, optional = true },
  log = { type = "function", optional = true },
}

local function train(options)
  local checked = check.options("mt.train", options, schema)
  return checked
end

describe("check.options", function()
  it("fills in defaults and leaves optional ones out", function()
    assert.same({ epochs = 100, lr = "auto", protocol = "paper", seeds = { 1 }, verbose = true }, train())
  end)

  it("keeps what was given, false included, and makes whole floats integers", function()
    local o = train { epochs = 3.0, verbose = false, lr = 0.5, ratio = 0 }
    assert.equal("3", tostring(o.epochs))
    assert.is_false(o.verbose)
    assert.equal(0.5, o.lr)
    assert.equal(0, o.ratio)
  end)

  it("does not touch the caller's tables", function()
    local given = { seeds = { 4, 5 } }
    train(given).seeds[1] = 9
    assert.same({ seeds = { 4, 5 } }, given)
  end)

  local refused = {
    { { epochs = "x" }, "mt.train: option 'epochs': integer >= 1 expected, got 'x'" },
    { { epochs = 0 }, "mt.train: option 'epochs': integer >= 1 expected, got 0" },
    { { epochs = 1.5 }, "mt.train: option 'epochs': integer >= 1 expected, got 1.5" },
    { { epochs = "3" }, "mt.train: option 'epochs': integer >= 1 expected, got '3'" },
    { { lr = 0 }, "mt.train: option 'lr': 'last' or 'auto' or number > 0 expected, got 0" },
    { { lr = "best" }, "mt.train: option 'lr': 'last' or 'auto' or number > 0 expected, got 'best'" },
    { { protocol = 1 }, "mt.train: option 'protocol': 'paper' or 'reference' expected, got 1" },
    { { seeds = {} }, "mt.train: option 'seeds': list of 1 or more, each integer >= 0 expected, got table" },
    { { seeds = { 1, "a" } }, "mt.train: option 'seeds': list of 1 or more, each integer >= 0 expected, got table" },
    { { verbose = 1 }, "mt.train: option 'verbose': boolean expected, got 1" },
    { { ratio = 1.01 }, "mt.train: option 'ratio': number in [0, 1] expected, got 1.01" },
    { { ratio = 0 / 0 }, "mt.train: option 'ratio': number in [0, 1] expected, got " },
    { { log = 1 }, "mt.train: option 'log': function expected, got 1" },
    { { epoch = 1 },
      "mt.train: unknown option 'epoch', expected one of: epochs, log, lr, protocol, ratio, seeds, verbose" },
    { { 5 }, "mt.train: unknown option 1, expected one of: " },
    { "fast", "mt.train: table of options expected, got 'fast'" },
  }
  for _, case in ipairs(refused) do
    it("says: " .. case[2], function()
      local ok, message = pcall(function() return { train(case[1]) } end)
      assert.is_false(ok)
      assert.truthy(message:find(case[2], 1, true), message)
    end)
  end

  it("blames the line that called the public function", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local _, message = pcall(function() return { mt.train(mt.nn.ReLU(), { epochs = 0 }) } end)
    assert.truthy(message:find("check_spec.lua:" .. line .. ": mt.train", 1, true), message)
  end)

  it("never blames a line of masktune's own, whatever calls the function", function()
    local set = { images = mt.zeros(2, 4, 4, 3), labels = mt.tensor({ 1, 2 }, { dtype = "int32" }) }
    local loader = mt.data.loader { dataset = set }
    for _, call in ipairs {
      function() return loader:epoch("x") end,
      function() return mt.data.augment { { "affine" } }(set.images, {}, "x") end,
      function() return mt.masktune(mt.nn.ReLU(), { train = 3 }) end,
      function() return mt.masktune(mt.nn.ReLU(), { method = "none" }) end,
      function() return mt.methods.erm(mt.nn.ReLU(), { epochs = 0 }) end,
      function() return mt.losses.focal { gamma = "x" } end,
      function() return mt.data.samplers.weighted {} end,
      coroutine.wrap(function() return mt.metrics.accuracy(1, 2) end),
    } do
      local _, message = pcall(call)
      assert.falsy(message:find("masktune/[%w_/]+%.lua:"), message)
    end
    local _, message = pcall(mt.evaluate, 3)
    assert.truthy(message:find("check_spec.lua:", 1, true), message)
  end)

  it("asks for options that have no default", function()
    local function f(options) return { check.options("mt.f", options, { data = { type = "table" } }) } end
    assert.error_matches(function() f {} end, "mt.f: option 'data': table expected, got nil")
  end)
end)

describe("check.argument", function()
  it("names the argument and shortens long strings", function()
    local function f(x) return { check.argument("mt.f", "n", x, { type = "integer", max = 4 }) } end
    assert.same({ 4 }, f(4))
    assert.error_matches(function() f(5) end, "mt.f: argument 'n': integer <= 4 expected, got 5")
    assert.error_matches(function() f(("x"):rep(1000)) end, "got a string of 1000 bytes")
  end)
end)

describe("check.is_module", function()
  it("takes tables with a forward", function()
    assert.is_true(check.is_module { forward = function() end })
    assert.is_false(check.is_module {})
    assert.is_false(check.is_module(io.stdout))
  end)
end)
