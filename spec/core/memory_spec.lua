--- Native memory: counted, bounded, given back; and no crash when it runs out.
local mt = require "masktune"
local process = require "support.process"

describe("memory", function()
  it("stays bounded in a loop that never collects", function()
    collectgarbage()
    local before = mt.memory().live
    local highest = 0
    for _ = 1, 500 do
      local t = mt.zeros(256, 1024)
      t = t + 1
      highest = math.max(highest, mt.memory().live - before)
      assert.equal(256, t:size(1))
    end
    assert.is_true(highest < 200 * 2 ^ 20)
  end)

  it("keeps large buffers of many sizes apart, and serves new ones from what was freed", function()
    local random = math.random
    math.randomseed(5)
    mt.empty_cache()
    local kept = {}
    for i = 1, 3000 do
      local slot = random(30)
      if kept[slot] then
        local lowest, highest = kept[slot].tensor:min():item(), kept[slot].tensor:max():item()
        assert.equal(kept[slot].value, lowest)
        assert.equal(kept[slot].value, highest)
      end
      kept[slot] = { value = i, tensor = mt.full({ random(2000, 200000) }, i) }
      if i % 500 == 0 then mt.empty_cache() end
    end
    local memory = mt.memory()
    assert.is_true(memory.live + memory.cached <= math.max(64 * 2 ^ 20, 1.25 * memory.peak))
  end)

  it("goes back to the system on request", function()
    mt.zeros(1024, 1024)
    collectgarbage()
    assert.is_true(mt.memory().cached > 0)
    mt.empty_cache()
    assert.equal(0, mt.memory().cached)
  end)

  it("reports an allocation that fails, and goes on", function()
    local run = "ulimit -v 4000000; " .. process.lua .. " -e "
    if not process.run(run .. process.quoted [[require "masktune"]]) then
      pending "the module does not load in so little memory"
      return
    end
    local _, output = process.run(run .. process.quoted [[
      local mt = require "masktune"
      print(pcall(mt.zeros, 1 << 20, 1 << 12))
      print(mt.ones(3):sum():item())]])
    assert.matches("out of memory: cannot allocate 16384.0 MiB", output, 1, true)
    assert.matches("\n3.0\n", output, 1, true)
  end)

  it("refuses sizes that no machine has", function()
    assert.error_matches(function() mt.zeros(1 << 40, 1 << 40) end, "has too many elements")
    assert.error_matches(function() mt.zeros(math.maxinteger) end, "has too many elements")
  end)
end)
