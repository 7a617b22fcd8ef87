local mt = require "masktune"
local process = require "support.process"
local ranks = require "dist.ranks"

--- The largest difference between two files of tensors.
local function distance(a, b)
  local first, second, worst = mt.load(a), mt.load(b), 0
  for name, tensor in pairs(first) do
    worst = math.max(worst, (tensor:to("float32") - second[name]:to("float32")):abs():max():item())
  end
  return worst
end

local function bytes(path) return (assert(io.open(path, "rb")):read("a")) end

describe("mt.dist without a launcher", function()
  it("is a world of one, in which everything runs", function()
    assert.equal(0, mt.dist.rank())
    assert.equal(1, mt.dist.world())
    assert.is_nil(mt.dist.library())
    local t = mt.ones(2, 3)
    assert.equal(t, mt.dist.broadcast(t))
    assert.equal(t, mt.dist.all_reduce(t, "mean"))
    assert.equal(t, mt.dist.gather(t))
    mt.dist.barrier()
    assert.same({ 1, 5 }, { mt.dist.part(5) })
    assert.equal(7, mt.dist.from_first(function(x) return x end, 7))
  end)

  it("leaves gradients as they are, bucket by bucket", function()
    local net = mt.nn.Sequential { mt.nn.Linear(4, 3), mt.nn.ReLU(), mt.nn.Linear(3, 2) }
    local unused, input = mt.ones(5):requires_grad(true), mt.rand(6, 4)
    net(input):sum():backward()
    local expected = {}
    for i, parameter in ipairs(net:parameters()) do
      expected[i] = parameter:grad():clone()
      parameter:zero_grad()
    end
    local parameters = net:parameters()
    parameters[#parameters + 1] = unused
    local sums = mt.dist.buckets(parameters, { mb = 40 / 2 ^ 20 })
    assert.is_true(#sums > 2)
    for _ = 1, 2 do
      net:zero_grad()
      sums:begin()
      net(input):sum():backward()
      assert.is_true(sums:finish() >= 0)
      for i, gradient in ipairs(expected) do
        assert.equal(0, (parameters[i]:grad() - gradient):abs():max():item())
      end
      assert.is_nil(unused:grad())
      assert.equal(#sums, #sums:times())
    end
  end)

  it("loads no MPI", function()
    local maps = assert(io.open("/proc/self/maps")):read("a")
    assert.is_nil(maps:find("libmpi", 1, true))
  end)

  it("names what is wrong with an argument", function()
    assert.error_matches(function() mt.dist.broadcast(3) end, "argument 'tensor': tensor expected, got 3")
    assert.error_matches(function() mt.dist.broadcast(mt.ones(1), 1) end, "root.*%[0, 0%] expected, got 1")
    assert.error_matches(function() mt.dist.all_reduce(mt.ones(1), "product") end, "op.*got 'product'")
    assert.error_matches(function() mt.dist.all_reduce(mt.ones(1):to("int32"), "mean") end, "mean of int32")
    assert.error_matches(function() mt.dist.set_timeout(0) end, "seconds in %(0, .*got 0")
  end)

  it("says so where a launcher started several processes but masktune.mpi cannot be loaded", function()
    local good, output = process.run(("OMPI_COMM_WORLD_SIZE=2 %s -e 'package.preload[\"masktune.mpi\"] = "
      .. "function() error(\"not here\") end require \"masktune\"'"):format(process.lua))
    assert.is_false(good)
    assert.matches("masktune.mpi cannot be loaded.*mpicc.*MASKTUNE_DIST=off", output)
    assert.is_true((process.run(("OMPI_COMM_WORLD_SIZE=2 MASKTUNE_DIST=off %s -e 'require \"masktune\"'"):format(
      process.lua))))
  end)
end)

describe("mt.dist over MPI", function()
  local missing = ranks.missing()
  local function with_ranks(name, f) it(name, missing and function() pending(missing) end or f) end

  with_ranks("gives 1, 2 and 4 ranks the results of one process, and the same ranks the same bits", function()
    process.with_folder(function(folder)
      for _, run in ipairs { "1", "2", "4", "4 again" } do
        local place = folder .. "/" .. run
        mt.make_directory(place)
        local good, output = ranks.run(tonumber(run:sub(1, 1)), "together.lua", place)
        assert.is_true(good, output)
      end
      local function file(run, name) return ("%s/%s/%s.safetensors"):format(folder, run, name) end
      for _, run in ipairs { "2", "4" } do
        for _, name in ipairs { "trained", "parts", "history" } do
          assert.is_true(distance(file("1", name), file(run, name)) < 1e-5, run .. " " .. name)
        end
        for _, name in ipairs { "inference", "heat", "masks" } do
          assert.equal(bytes(file("1", name)), bytes(file(run, name)))
        end
        assert.is_true(distance(file("1", "apart"), file(run, "apart")) > 1e-5) -- else the comparison sees nothing
      end
      for _, name in ipairs { "trained", "parts", "apart", "history" } do
        assert.equal(bytes(file("4", name)), bytes(file("4 again", name)))
      end
    end)
  end)

  -- What happens to rank 1 of 2 -> what is said.
  local misfortunes = {
    ["error"] = "rank 1 of 2 %([^\n]*%): [^\n]*the dog ate it",
    ["nan loss"] = "rank 1 of 2 %([^\n]*%): [^\n]*the loss is %-?nan in epoch 1, step 1",
    ["nan image"] = "rank 1 of 2 %([^\n]*%): [^\n]*image 17 holds NaN",
    ["leave"] = "rank 0 of 2 %([^\n]*%): [^\n]*rank 1 has ended while rank 0 waits for it in the sum of gradients",
    ["status"] = "rank 1 of 2 has ended with status 3",
    ["hang"] = "rank 0 of 2 %([^\n]*%): [^\n]*waited 2 seconds for rank 1 in the sum of gradients",
  }
  for what, message in pairs(misfortunes) do
    with_ranks("ends the run on all ranks, and says why: " .. what, function()
      local good, output, seconds = ranks.run(2, "misfortunes.lua", what, "1")
      assert.is_false(good)
      assert.matches(message, output)
      assert.is_true(seconds < 10, output)
    end)
  end

  with_ranks("goes on after a rank was killed, on as many ranks with the same bits", function()
    process.with_folder(function(folder)
      local path = folder .. "/run.safetensors"
      local _, undisturbed = ranks.run(2, "misfortunes.lua", "nothing", "1", folder .. "/other.safetensors")
      local good, _, seconds = ranks.run(2, "misfortunes.lua", "kill", "1", path)
      assert.is_false(good)
      assert.is_true(seconds < 10)
      assert.equal(1, mt.checkpoint.load(path).epoch)
      mt.write_file(folder .. "/copy.safetensors", bytes(path))
      local resumed, output = ranks.run(2, "misfortunes.lua", "nothing", "1", path, "resume")
      assert.is_true(resumed, output)
      assert.equal(undisturbed:match("done[^\n]*"), output:match("done[^\n]*"))
      assert.is_true((ranks.run(1, "misfortunes.lua", "nothing", "1", folder .. "/copy.safetensors", "resume")))
    end)
  end)
end)

describe("mt.dist over two network namespaces", function()
  local missing = ranks.missing()
  local namespaces = "spec/dist/namespaces.sh"
  if not missing and not process.run(namespaces .. " --check") then
    missing = "no network namespaces here (they need root and iproute2)"
  end

  it("gives the results of one process", missing and function() pending(missing) end or function()
    process.with_folder(function(folder)
      for _, place in ipairs { "one", "two" } do
        mt.make_directory(folder .. "/" .. place)
      end
      local good, output = process.run(("%s spec/dist/together.lua %s/one"):format(process.lua, folder))
      assert.is_true(good, output)
      good, output = ranks.run_over(namespaces, 2, "together.lua", folder .. "/two")
      assert.is_true(good, output)
      for _, name in ipairs { "trained", "parts", "inference", "history" } do
        local file = folder .. "/%s/" .. name .. ".safetensors"
        assert.is_true(distance(file:format("one"), file:format("two")) < 1e-5, name)
      end
    end)
  end)
end)
