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

  it("goes back to the system on request #nosan", function() -- the sanitizers' build keeps nothing
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

  it("refuses what the machine does not have left, and goes on", function()
    local left = mt.machine().memory
    if left == math.huge then
      pending "the system does not say what is left"
      return
    end
    local rows = left // (4 << 20) * 3 // 2 -- of a million values each
    local before = mt.memory()
    assert.error_matches(function() mt.zeros(rows, 1 << 20) end, "out of memory: cannot allocate %d+%.0 MiB %(")
    assert.error_matches(function() mt.rand(1, 1 << 20):index(mt.ones(rows):to("int32")) end, "out of memory")
    assert.equal(3.0, mt.ones(3):sum():item())
    -- the peak is of the process's whole life, so what earlier specs took counts too
    assert.is_true(mt.memory().peak_resident <= math.max(before.peak_resident, before.resident + 200 * 2 ^ 20))
  end)

  it("says what the process holds", function()
    collectgarbage()
    local before = mt.memory()
    local t = mt.ones(40, 1 << 18)
    local with = mt.memory()
    assert.is_true(with.live - before.live >= 40 * 2 ^ 20 and with.live - before.live < 41 * 2 ^ 20)
    assert.is_true(with.resident >= with.live)
    assert.is_true(with.peak_resident >= with.resident)
    assert.equal(40, t:size(1))
  end)

  it("stays as it is over thousands of training steps, as the system sees it #nosan", function()
    local _, output = process.run(process.lua .. " -e " .. process.quoted [[
      local mt = require "masktune"
      local model = mt.models.small_cnn{ classes = 2, input = { 16, 16, 1 } }
      local images, labels = mt.rand(2, 16, 16, 1), mt.ones(2):to("int32")
      local optimizer = mt.optim.sgd(model:parameters(), { lr = 0.01 })
      local function train(steps)
        for _ = 1, steps do
          optimizer:zero_grad()
          local loss = mt.cross_entropy(model(images), labels)
          loss:backward()
          optimizer:step()
          assert(loss:item() == loss:item())
        end
        return mt.memory().resident
      end
      local first = train(1000)
      print(("%.4f"):format(train(6000) / first))]])
    assert.is_true((tonumber(output) or math.huge) <= 1.01, output)
  end)

  it("refuses sizes that no machine has", function()
    assert.error_matches(function() mt.zeros(1 << 40, 1 << 40) end, "has too many elements")
    assert.error_matches(function() mt.zeros(math.maxinteger) end, "has too many elements")
  end)
end)
