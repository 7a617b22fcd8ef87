--- Whether a launcher of MPI programs has started this process as one of several.
-- @module masktune.launched

--- What launchers tell their children: Open MPI's mpirun, those that speak PMI (MPICH's Hydra, srun), those of PMIx.
local SIZES = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE" }
local SIGNS = { "PMIX_RANK" }

--- MASKTUNE_DIST=off makes each process a world of its own, MASKTUNE_DIST=on starts MPI without a launcher as well.
-- @treturn boolean
return function()
  local wanted = os.getenv("MASKTUNE_DIST")
  if wanted == "off" or wanted == "on" then return wanted == "on" end
  for _, name in ipairs(SIZES) do
    local size = tonumber(os.getenv(name) or "")
    if size then return size > 1 end
  end
  for _, name in ipairs(SIGNS) do
    if os.getenv(name) then return true end
  end
  return false
end
