/* luaopen_masktune_mpi: `require "masktune.mpi"` starts MPI and gives the transport that core.dist.start takes. A
 * module of its own, so that nothing else of masktune links MPI. */
#include <lua.h>
#include <lauxlib.h>

#include "mpi/transport.h"

__attribute__((visibility("default"))) int luaopen_masktune_mpi(lua_State *L);

int luaopen_masktune_mpi(lua_State *L) {
  char problem[MT_MPI_PROBLEM];
  luaL_checkversion(L);
  const mt_transport **held = lua_newuserdatauv(L, sizeof *held, 0);
  *held = mt_mpi_start(problem);
  if (!*held) return luaL_error(L, "masktune.mpi: %s", problem);
  if (luaL_newmetatable(L, MT_TRANSPORT_CLASS)) {
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_setmetatable(L, -2);
  return 1;
}
