--- Several processes, on one machine or many, as one run: `mpirun -n 8 lua5.4 script.lua`.
--
-- Each process is a rank, from 0 on. Where `require "masktune"` finds that an MPI launcher has started it as one of
-- several, it loads masktune/mpi.so and joins the others; without a launcher the world is 1 and MPI is not loaded.
-- mt.train, mt.evaluate, mt.masktune and the rest then share their work, and all ranks end with the same result.
--
-- All ranks run the same script and must call the same functions in the same order: a rank that leaves one out lets the
-- others wait (for `set_timeout` seconds; then they say for whom, and the run ends). An error on one rank inside
-- masktune ends the run on all, with the rank and the reason. Sums are taken in the order of the ranks: the same number
-- of ranks gives the same bits, on all of them.
-- @usage if mt.dist.rank() == 0 then print(result.accuracy) end
-- @module masktune.dist
local check = require "masktune.check"
local core = require "masktune.core"
local json = require "masktune.json"
local sorted_names = require("masktune.names").sorted

local dist = {}

local rank, world, host, library = core.dist.world()
local is_alone = false

-- ---- the world ----

--- Loads MPI and joins the others. `require "masktune"` does so where a launcher has started several processes.
-- The threads of a rank are then the cores that the launcher has bound it to, or its part of those of the machine,
-- unless MASKTUNE_NUM_THREADS or OMP_NUM_THREADS says otherwise.
-- @treturn integer how many ranks there are
-- @raise where masktune/mpi.so is missing (it is built where `mpicc` is found), or belongs to another MPI
function dist.start()
  if library then return world end
  local found, transport = pcall(require, "masktune.mpi")
  if not found then
    check.fail("mt.dist.start: masktune.mpi cannot be loaded, which the build makes where mpicc is found (packages "
      .. "libopenmpi-dev or libmpich-dev); MASKTUNE_DIST=off runs without: %s", transport)
  end
  core.dist.start(transport)
  rank, world, host, library = core.dist.world()
  local cores = core.dist.cores()
  if not (os.getenv("MASKTUNE_NUM_THREADS") or os.getenv("OMP_NUM_THREADS")) then core.set_num_threads(cores) end
  return world
end

--- Which of the ranks this is.
-- @treturn integer 0 to world() - 1
function dist.rank() return is_alone and 0 or rank end

--- How many ranks there are.
-- @treturn integer
function dist.world() return is_alone and 1 or world end

--- What carries the messages.
-- @treturn ?string "Open MPI v4.1.4"; nil without MPI
function dist.library() return library end

--- Calls f(...) as if this rank were alone: inside, nothing is shared with the others, and they need not do the same.
-- @tparam function f
-- @param ...
-- @return what f returns
function dist.alone(f, ...)
  check.argument("mt.dist.alone", "f", f, { type = "function" })
  local before = is_alone
  is_alone = true
  local results = table.pack(pcall(f, ...))
  is_alone = before
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

--- The longest that a rank waits while nothing arrives; then the run ends, saying for whom it waited.
-- @number seconds at first 600; long enough for what one rank does while others wait
function dist.set_timeout(seconds) core.dist.set_timeout(seconds) end

-- ---- tensors ----

local function check_tensor(name, tensor)
  if not check.is_tensor(tensor) then
    check.fail("mt.dist.%s: argument 'tensor': tensor expected, got %s", name, check.describe(tensor))
  end
end

--- Waits until all ranks are here.
-- @string[opt] what for the message of a wait that failed
function dist.barrier(what)
  if dist.world() > 1 then core.dist.barrier(what) end
end

--- Gives all ranks the values that one has.
-- @tparam Tensor tensor of the same type and shape everywhere; written in place
-- @tparam[opt=0] integer root the rank that has them
-- @treturn Tensor itself
function dist.broadcast(tensor, root)
  check_tensor("broadcast", tensor)
  root = check.argument("mt.dist.broadcast", "root", root,
    { type = "integer", min = 0, max = dist.world() - 1, default = 0 })
  if dist.world() > 1 then core.dist.broadcast(tensor, root) end
  return tensor
end

--- Sums a tensor over the ranks, value by value, in the order of the ranks.
-- @tparam Tensor tensor float32 or int32, of the same shape everywhere; written in place
-- @string[opt="sum"] op "sum", "mean" (float32 only), "max" or "min"
-- @treturn Tensor itself
function dist.all_reduce(tensor, op)
  check_tensor("all_reduce", tensor)
  op = check.argument("mt.dist.all_reduce", "op", op, { choices = { "sum", "mean", "max", "min" }, default = "sum" })
  if op == "mean" and tensor:dtype() ~= "float32" then
    check.fail("mt.dist.all_reduce: argument 'op': the mean of %s is not of that type; sum, max or min expected",
      tensor:dtype())
  end
  if dist.world() == 1 then return tensor end
  core.dist.reduce(tensor, op == "mean" and "sum" or op)
  return op == "mean" and tensor:copy(tensor / dist.world()) or tensor
end

--- The rows of all ranks, one rank's after the other's, on all ranks.
-- @tparam Tensor tensor {n,...}; n may differ between the ranks
-- @treturn Tensor {sum of n,...}
function dist.gather(tensor)
  check_tensor("gather", tensor)
  if dist.world() == 1 then return tensor end
  return core.dist.gather(tensor)
end

--- The rows of all the tensors of all ranks, one after the other.
-- @tparam {Tensor,...} parts may be empty
-- @string dtype theirs
-- @treturn Tensor
function dist.gather_all(parts, dtype)
  return dist.gather(#parts > 0 and core.cat(parts, 1) or core.zeros({ 0, 1 }, dtype))
end

--- Sums numbers over the ranks, in double precision.
-- @number ...
-- @return the sums
function dist.sums(...)
  if dist.world() == 1 then return ... end
  return core.dist.sums(...)
end

local MIB = 2 ^ 20

--- Sums gradients over the ranks while backward still runs, for training loops of one's own (mt.train does so itself).
-- The parameters, last first, are cut into buckets; one is on its way as soon as all its gradients are complete. The
-- loss is to be weighted with this rank's share of the batch, so that the sums are the batch's gradients.
-- @usage local sums = mt.dist.buckets(model:parameters())
-- sums:begin(); (loss * share):backward(); sums:finish(); optimizer:step()
-- @tparam {Tensor,...} parameters in the same order on all ranks
-- @tparam[opt] table options `mb` (4): the size of a bucket, MiB
-- @treturn table with `begin` and `finish` (which returns the seconds that it waited, and gives a parameter that has a
-- gradient on any rank one on all), and `times`: of the last step's buckets their `bytes`, and when they were `begun`
-- and `arrived`, in seconds from the call of `finish`; `#` is their number
function dist.buckets(parameters, options)
  local o = check.options("mt.dist.buckets", options, { mb = { type = "number", above = 0, default = 4 } })
  return core.dist.buckets(parameters, o.mb * MIB)
end

-- ---- values of any kind ----

local function share_text(text) return core.dist.broadcast_string(text or "", 0) end

--- What the other ranks have to know of rank 0's tensors before these come.
local function described(tensors)
  local list = json.array()
  for i, name in ipairs(sorted_names(tensors)) do
    list[i] = { name = name, dtype = tensors[name]:dtype(), shape = json.array(tensors[name]:shape()) }
  end
  return list
end

--- What a function gives on rank 0, on all ranks; the others do not call it.
-- @tparam function f gives nil, or a table of tables whose leaves are tensors, numbers, strings and booleans
-- @param ... its arguments
-- @return what it gave
function dist.from_first(f, ...)
  if dist.world() == 1 then return f(...) end
  local checkpoint = require "masktune.checkpoint" -- which needs data sets, which need this module
  local plain, tensors = "", {}
  if rank == 0 then
    local value = f(...)
    if value ~= nil then plain, tensors = checkpoint.pack({ value = value }) end
  end
  plain = share_text(plain)
  if plain == "" then return nil end
  for _, row in ipairs(json.decode(share_text(json.encode(described(tensors))))) do
    local tensor = tensors[row.name] or core.zeros(row.shape, row.dtype)
    core.dist.broadcast(tensor, 0)
    tensors[row.name] = tensor
  end
  return checkpoint.unpack(plain, tensors).value
end

--- Calls f(...) on rank 0 only.
-- @tparam function f
-- @param ...
function dist.on_first(f, ...)
  if dist.rank() == 0 then f(...) end
end

-- ---- dealing ----

--- This rank's part of `count` things in a row: the parts of ranks 0, 1, ... follow each other.
-- @tparam integer count
-- @treturn integer the first
-- @treturn integer the last; before the first where there is none
function dist.part(count)
  local mine, all = dist.rank(), dist.world()
  return count * mine // all + 1, count * (mine + 1) // all
end

-- ---- the end ----

--- Ends the run on all ranks, with a message that names this one.
-- @string message
function dist.fail(message)
  core.dist.abort(("masktune: rank %d of %d (%s): %s"):format(rank, world, host, message))
end

--- Calls f(...). An error in it ends the run where there are others, who would wait for this rank.
-- @return what f returns
function dist.guarded(f, ...)
  if dist.world() == 1 then return f(...) end
  local results = table.pack(pcall(f, ...))
  if not results[1] then dist.fail(tostring(results[2])) end
  return table.unpack(results, 2, results.n)
end

--- Functions of the core that write files.
local writers = { "save", "write_file", "make_directory", "remove_file" }
local image_writers = { "write_png", "write_jpeg", "save_grid" }

local function nothing() end

--- From now on this rank prints and writes nothing, unless it is rank 0: `print`, notices, and masktune's functions
-- that write files do nothing. Programs run by mt.cli begin with it: all ranks have the same results, and one writes
-- them.
function dist.mute()
  if dist.rank() == 0 then return end
  local public = package.loaded.masktune or {}
  for _, name in ipairs(writers) do
    core[name] = nothing
    public[name] = nothing
  end
  for _, name in ipairs(image_writers) do
    core.image[name] = nothing
  end
  print = nothing -- luacheck: ignore
  io.stdout:setvbuf("full")
  require("masktune.notice").to(nothing)
end

return dist
