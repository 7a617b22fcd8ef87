local process = require "support.process"

local example = ("%s examples/proposition2.lua"):format(process.quoted(process.lua))

describe("examples/proposition2.lua", function()
  it("shows that the proposition holds", function()
    local ok, output = process.run(example .. " --samples 12 --features 30 --problems 3")
    assert.is_true(ok, output)
    assert.truthy(output:find("the proposition holds in 3 of 3 problems", 1, true), output)
    assert.truthy(output:find("\n3 .* 0 of 1000\n"), output)
  end)

  it("refuses problems that are not over-parameterised", function()
    local ok, output = process.run(example .. " --samples 12 --features 13")
    assert.is_false(ok)
    assert.truthy(output:find("--features is 13, expected more than --samples + 1 = 13", 1, true), output)
  end)
end)
