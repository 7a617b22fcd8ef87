--- Programs under mpirun, as a spec sees them.
local process = require "support.process"

local ranks = {}

--- Why there can be none here; nil where there can.
function ranks.missing()
  if not process.has("mpirun") then return "mpirun is not installed (packages openmpi-bin, libopenmpi-dev)" end
  if not package.searchpath("masktune.mpi", package.cpath) then
    return "masktune/mpi.so was not built (no mpicc when make ran)"
  end
end

-- As root and with more ranks than cores Open MPI wants to be told that it is meant.
local ENVIRONMENT = "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 "
  .. "PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe MASKTUNE_DIST= "

local MOST_SECONDS = 60 -- of a program that should long have ended

--- Runs `lua script arguments` on so many ranks, with a launcher that takes their number as RANKS.
-- @treturn boolean whether all ended well
-- @treturn string what they printed
-- @treturn number seconds
function ranks.run_over(launcher, count, script, ...)
  local words = { "spec/dist/" .. script, ... }
  for i, word in ipairs(words) do
    words[i] = process.quoted(word)
  end
  local started = require("masktune").clock()
  local good, output = process.run(("%s RANKS=%d timeout %d %s %s %s"):format(ENVIRONMENT, count,
    MOST_SECONDS, launcher, process.lua, table.concat(words, " ")))
  return good, output, require("masktune").clock() - started
end

--- The same with mpirun.
function ranks.run(count, script, ...) return ranks.run_over("mpirun -n " .. count, count, script, ...) end

return ranks
