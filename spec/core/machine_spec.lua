--- What is left of the machine, read from files such as Linux has, below a folder of the spec's own.
local mt = require "masktune"
local process = require "support.process"

local MiB = 1 << 20

--- Writes files (path -> contents) below a fresh folder and gives what mt.machine finds there.
local function machine_of(files)
  return process.with_folder(function(folder)
    for path, contents in pairs(files) do
      assert(process.run("mkdir -p " .. process.quoted(folder .. "/" .. path:match("^(.*)/"))))
      local file = assert(io.open(folder .. "/" .. path, "w"))
      file:write(contents)
      file:close()
    end
    return mt.machine(folder)
  end)
end

local function with(files, more)
  local all = {}
  for path, contents in pairs(files) do all[path] = contents end
  for path, contents in pairs(more) do all[path] = contents end
  return all
end

local meminfo = [[
MemTotal:        8000000 kB
MemFree:          100000 kB
MemAvailable:    4096000 kB
SwapTotal:             0 kB
SwapFree:              0 kB
]]

local v2 = {
  ["proc/meminfo"] = meminfo,
  ["proc/self/cgroup"] = "0::/user.slice/job\n",
  ["proc/self/mountinfo"] = "22 1 0:1 / /proc rw - proc proc rw\n"
    .. "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
}

local v1 = {
  ["proc/meminfo"] = meminfo,
  ["proc/self/cgroup"] = "7:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
  -- A container: the mounts show the group's part of the hierarchy only.
  ["proc/self/mountinfo"] = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    .. "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    .. "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
}

describe("the machine", function()
  local all = machine_of{}.cores

  it("has cores, and memory", function()
    local machine = mt.machine()
    assert.is_true(machine.cores >= 1 and machine.cores <= all)
    assert.is_true(machine.memory > MiB)
  end)

  it("has the last cache before memory, or what MASKTUNE_CACHE says", function()
    local caches = "sys/devices/system/cpu/cpu0/cache/"
    assert.equal(MiB, machine_of{ [caches .. "index2/size"] = "1024K\n" }.cache)
    assert.equal(32 * MiB, machine_of{
      [caches .. "index2/size"] = "1024K\n",
      [caches .. "index3/size"] = "32768K\n",
    }.cache)
    local _, output = process.run(("MASKTUNE_CACHE=12345 %s -e %s"):format(
      process.lua,
      process.quoted [[io.write(require("masktune").machine().cache)]]
    ))
    assert.equal("12345", output)
  end)

  it("without files to read has the cores of the affinity mask, and memory without a limit", function()
    assert.same({ cores = all, memory = math.huge, cache = 0 }, machine_of{})
    if process.has("taskset") then
      local _, output = process.run(("taskset -c 0 %s -e %s"):format(
        process.lua,
        process.quoted [[io.write(require("masktune").machine().cores)]]
      ))
      assert.equal("1", output)
    end
  end)

  it("gives what is available, and free swap", function()
    assert.equal(4000 * MiB, machine_of{ ["proc/meminfo"] = meminfo }.memory)
    local swap = meminfo:gsub("SwapFree: +0", "SwapFree: 1024000")
    assert.equal(5000 * MiB, machine_of{ ["proc/meminfo"] = swap }.memory)
  end)

  it("is limited by cgroups of version 2, this one and those above", function()
    local leaf, above = "sys/fs/cgroup/user.slice/job/", "sys/fs/cgroup/user.slice/"
    assert.equal(all, machine_of(with(v2, { [leaf .. "cpu.max"] = "max 100000\n" })).cores)
    assert.equal(1, machine_of(with(v2, { [leaf .. "cpu.max"] = "40000 100000\n" })).cores)
    assert.equal(1, machine_of(with(v2, { [above .. "cpu.max"] = "100000 100000\n" })).cores)
    assert.equal(math.min(all, 2), machine_of(with(v2, { [leaf .. "cpu.max"] = "150000 100000\n" })).cores)
    local limited = with(v2, {
      [leaf .. "memory.max"] = 1000 * MiB .. "\n", [leaf .. "memory.current"] = 700 * MiB .. "\n",
      [leaf .. "memory.stat"] = ("anon 5\nactive_file %d\ninactive_file %d\n"):format(20 * MiB, 100 * MiB),
      [above .. "memory.max"] = "max\n", [above .. "memory.current"] = 3000 * MiB .. "\n",
    })
    assert.equal(420 * MiB, machine_of(limited).memory)
    limited[above .. "memory.max"] = 3100 * MiB .. "\n"
    assert.equal(100 * MiB, machine_of(limited).memory)
    limited[above .. "memory.max"] = 2000 * MiB .. "\n"
    assert.equal(0, machine_of(limited).memory)
  end)

  it("is limited by cgroups of version 1, in a container too", function()
    local cpu, memory = "sys/fs/cgroup/cpu,cpuacct/", "sys/fs/cgroup/memory/"
    local free = { [cpu .. "cpu.cfs_quota_us"] = "-1\n", [cpu .. "cpu.cfs_period_us"] = "100000\n" }
    assert.equal(all, machine_of(with(v1, free)).cores)
    free[cpu .. "cpu.cfs_quota_us"] = "90000\n"
    assert.equal(1, machine_of(with(v1, free)).cores)
    assert.equal(1000 * MiB, machine_of(with(v1, {
      [memory .. "memory.limit_in_bytes"] = 1500 * MiB .. "\n",
      [memory .. "memory.usage_in_bytes"] = 900 * MiB .. "\n",
      [memory .. "memory.stat"] = ("inactive_file 1\ntotal_inactive_file %d\ntotal_active_file %d\n"):format(
        100 * MiB,
        300 * MiB
      ),
    })).memory)
    assert.equal(4000 * MiB, machine_of(with(v1, {
      [memory .. "memory.limit_in_bytes"] = "9223372036854771712\n", [memory .. "memory.usage_in_bytes"] = "5\n",
    })).memory)
  end)

  it("is not upset by files that make no sense", function()
    for _, nonsense in ipairs{ "", "\n", ":", "0::", "junk", ("x"):rep(9000), "a b c d e f - \n", " - cgroup2 \n" } do
      assert.same({ cores = all, memory = math.huge, cache = 0 }, machine_of{
        ["proc/self/cgroup"] = nonsense, ["proc/self/mountinfo"] = nonsense, ["proc/meminfo"] = nonsense,
      })
      assert.same({ cores = all, memory = 4000 * MiB, cache = 0 }, machine_of(with(v2, {
        ["sys/fs/cgroup/user.slice/job/cpu.max"] = nonsense, ["sys/fs/cgroup/user.slice/job/memory.max"] = nonsense,
      })))
    end
  end)
end)
