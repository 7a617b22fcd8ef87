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

  -- In processes of their own: what a process held before decides when it collects.
  it("of a dropped result serves the next one where Lua's collector is generational", function()
    local _, output = process.run(process.lua .. " -e " .. process.quoted [[
      collectgarbage "generational"
      local mt = require "masktune"
      local function most_held(rounds)
        local x, highest = mt.ones(256, 256), 0
        for _ = 1, rounds do
          local y = x + 1
          highest = math.max(highest, mt.memory().live)
          assert(y:size(1) == 256)
        end
        return highest
      end
      most_held(200) -- by then the collector's mode is known
      collectgarbage()
      io.write(("%d KiB held, %s"):format(most_held(200) // 1024, collectgarbage "generational"))]])
    local held, mode = output:match "^(%d+) KiB held, (%a+)$"
    assert.equal("generational", mode, output)
    assert.is_true(tonumber(held) < 4 * 260, output) -- the operand, the result, and what is still in a register
  end)

  it("leaves Lua's collector in the mode that the script chose, at any time", function()
    local _, output = process.run(process.lua .. " -e " .. process.quoted [[
      collectgarbage "incremental"
      local mt = require "masktune"
      local x, highest = mt.ones(256, 256), 0
      for _, mode in ipairs{ "incremental", "generational", "incremental", "generational" } do
        collectgarbage(mode)
        for _ = 1, 1000 do
          local y = x * 2
          highest = math.max(highest, mt.memory().live)
          assert(y:size(1) == 256)
        end
        io.write(collectgarbage(mode), " ")
      end
      io.write(highest < 16 << 20 and "flat" or highest)]])
    assert.equal("incremental generational incremental generational flat", output)
  end)

  it("does not hide garbage below what a graph held before it let go", function()
    local _, output = process.run(process.lua .. " -e " .. process.quoted [[
      local mt = require "masktune"
      local w, with_graph, without = mt.rand(512, 512, { requires_grad = true }), 0, 0
      for _ = 1, 10 do
        local y = w
        for _ = 1, 40 do y = y:sigmoid() end -- 40 MiB that the graph holds until backward has used them
        with_graph = math.max(with_graph, mt.memory().live)
        y:sum():backward()
        w:zero_grad()
        y = nil
        for _ = 1, 100 do
          local sum = w:detach() + 1
          without = math.max(without, mt.memory().live)
          assert(sum:size(1) == 512)
        end
      end
      io.write(("%d MiB, %d MiB"):format(with_graph >> 20, without >> 20))]])
    local with_graph, without = output:match "^(%d+) MiB, (%d+) MiB$"
    assert.is_true(tonumber(with_graph) > 40 and tonumber(without) < 20, output)
  end)

  -- Two results of 16 MiB take the place of one of 32, then give it back; the system counts as faults what it clears.
  it("that is wanted again at every step is kept, however badly its parts fit #nosan", function()
    local _, output = process.run(process.lua .. " -e " .. process.quoted [[
      local mt = require "masktune"
      local function faults() -- the tenth field; the second is the program's name in parentheses
        return tonumber(io.open("/proc/self/stat"):read("a"):match("%) " .. ("%S+ "):rep(7) .. "(%d+)"))
      end
      local x, y, gradient = mt.zeros(2048, 2048), mt.zeros(2048, 2048), mt.zeros(2, 2048, 2048)
      x:requires_grad(true)
      y:requires_grad(true)
      local joined
      local function steps(n)
        local before = faults()
        for _ = 1, n do
          x:zero_grad()
          y:zero_grad()
          joined = mt.stack{ x, y }
          joined:backward(gradient)
        end
        return (faults() - before) / n
      end
      steps(40)
      io.write(("%g faults a step"):format(steps(40)))]])
    local faults = tonumber(output:match "^(%S+) faults a step$")
    assert.truthy(faults, output)
    assert.is_true(faults < 16, output)
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
