local cli = require("masktune").cli

local received
local program = {
  name = "demo.lua",
  about = "Does a thing.",
  main = function(values)
    received = values
    if values.count == 13 then error("it failed", 0) end
  end,
  options = {
    { name = "count", value = "N", kind = cli.kinds.integer(1, 20), default = 5, default_text = "5",
      help = "how many" },
    { name = "rate", value = "RATE", kind = cli.kinds.choice({ "auto" }, cli.kinds.positive), help = "how fast" },
    { name = "seeds", value = "LIST", kind = cli.kinds.integers(0), default = { 1 }, help = "which" },
    { name = "dry-run", help = "only look" },
    { name = "help", help = "this text" },
  },
}

local function parse(...) return cli.parse(program, { ... }) end

local function problem(...)
  local ok, message = pcall(cli.parse, program, { ... })
  assert.is_false(ok)
  return tostring(message)
end

describe("a command line", function()
  it("gives defaults for what is not said", function()
    assert.same({ count = 5, seeds = { 1 }, dry_run = false, help = false }, parse())
  end)

  it("reads values after a space and after =, and switches", function()
    local values = parse("--count", "7", "--rate=0.5", "--dry-run", "--seeds=3,0,12")
    assert.same({ count = 7, rate = 0.5, seeds = { 3, 0, 12 }, dry_run = true, help = false }, values)
    assert.equal("auto", parse("--rate", "auto").rate)
  end)

  it("refuses what it does not know", function()
    assert.equal("unknown option '--wind' (--help lists them)", problem("--wind", "3"))
    assert.equal("unknown option '--cuont'; did you mean '--count'? (--help lists them)", problem("--cuont", "3"))
    assert.equal("unknown option 'count' (--help lists them)", problem("count"))
  end)

  it("refuses wrong values, naming option, expectation and value", function()
    assert.equal("--count: integer from 1 to 20 expected, got '0'", problem("--count", "0"))
    assert.equal("--count: integer from 1 to 20 expected, got '21'", problem("--count=21"))
    assert.equal("--count: integer from 1 to 20 expected, got '2.5'", problem("--count", "2.5"))
    assert.equal("--count: integer from 1 to 20 expected, got '-3'", problem("--count", "-3"))
    assert.equal("--count: N expected, got nothing", problem("--count"))
    assert.equal("--rate: auto or number > 0 expected, got 'fast'", problem("--rate", "fast"))
    assert.equal("--rate: auto or number > 0 expected, got '0'", problem("--rate", "0"))
    assert.equal("--rate: auto or number > 0 expected, got 'nan'", problem("--rate", "nan"))
    assert.equal("--seeds: different integers >= 0 such as 1,2,3 expected, got '1,,2'", problem("--seeds", "1,,2"))
    assert.truthy(problem("--seeds", "1,1"):find("different integers", 1, true))
    assert.equal("--dry-run takes no value, got 'yes'", problem("--dry-run=yes"))
  end)

  it("shows every option, aligned, in its help", function()
    assert.equal([[
usage: demo.lua [options]
Does a thing.

  --count N     how many (default 5)
  --rate RATE   how fast
  --seeds LIST  which
  --dry-run     only look
  --help        this text
]], cli.help(program))
  end)

  it("ends with status 0, 1 where the program failed, 2 where the command line is wrong", function()
    local written, stderr = {}, io.stderr
    -- luacheck: push ignore 122 (the program's messages are caught)
    io.stderr = { write = function(_, text) written[#written + 1] = text end }
    local statuses = {
      cli.run(program, { "--count", "3" }), cli.run(program, { "--count", "13" }), cli.run(program, { "--no" }),
    }
    io.stderr = stderr
    -- luacheck: pop
    assert.same({ 0, 1, 2 }, statuses)
    assert.equal(13, received.count)
    assert.same({ "demo.lua: it failed\n", "demo.lua: unknown option '--no' (--help lists them)" }, written)
  end)
end)
