local process = require "support.process"

-- Under the sanitizers freed memory is kept aside, and their shadow needs terabytes of addresses.
describe("memory #nosan", function()
  it("stays flat over 10,000 training steps of a script that never collects garbage", function()
    local ok, output = process.run(process.lua .. " spec/train/memory_steps.lua")
    assert.is_true(ok, output)
    local start, middle, final = output:match("^(%d+)\n(%d+)\n(%d+)\n$")
    assert.truthy(start, output)
    assert.is_true(final - start <= 512, ("resident kB after 1,000, 5,000 and 10,000 steps: " .. output))
    assert.is_true(final - middle <= 512, ("resident kB after 1,000, 5,000 and 10,000 steps: " .. output))
  end)

  -- 200 MB of address space; whatever the script does must end as a Lua error.
  local function limited(script)
    return process.run(
      ("ulimit -v 204800; OMP_NUM_THREADS=1 timeout 60 %s -e %s"):format(process.lua, process.quoted(script))
    )
  end

  it("that runs out for one big tensor is an error with its size, and the script goes on", function()
    local ok, output = limited[[
      local mt = require "masktune"
      local done, message = pcall(mt.zeros, 10000, 10000)
      assert(not done)
      print(message)
      print("after", mt.ones(1000):sum():item())
    ]]
    assert.is_true(ok, output)
    assert.truthy(output:find("400000000", 1, true) or output:find("memory", 1, true), output)
    assert.truthy(output:find("after%s+1000"), output)
  end)

  it("that fills up step by step is an error, and freeing what was kept lets the script go on", function()
    local ok, output = limited[[
      local mt = require "masktune"
      local kept = {}
      local done, message = pcall(function()
        while true do kept[#kept + 1] = mt.ones(1000, 1000) end
      end)
      assert(not done and #kept > 5, #kept)
      print(message)
      kept = nil
      print("after", mt.ones(1000, 1000):sum():item())
    ]]
    assert.is_true(ok, output)
    assert.truthy(output:find("memory", 1, true), output)
    assert.truthy(output:find("after%s+1000000"), output)
  end)

  it("that is too small for a training step is an error, never a crash", function()
    local ok, output = limited[[
      local mt = require "masktune"
      mt.set_num_threads(1)
      local model = mt.models.small_cnn{ classes = 2 }
      local optimiser = mt.optim.sgd(model:parameters(), { lr = 0.01 })
      local done, message = pcall(function()
        local images, labels = mt.rand(2048, 28, 28, 3), mt.ones(2048):to("int32")
        mt.cross_entropy(model(images), labels):backward()
        optimiser:step()
      end)
      assert(not done)
      print(message)
      local images, labels = mt.rand(8, 28, 28, 3), mt.ones(8):to("int32")
      optimiser:zero_grad()
      mt.cross_entropy(model(images), labels):backward()
      optimiser:step()
      print("after", mt.cross_entropy(model(images), labels):item() < 100)
    ]]
    assert.is_true(ok, output)
    assert.truthy(output:find("memory", 1, true), output)
    assert.truthy(output:find("after%s+true"), output)
  end)
end)
