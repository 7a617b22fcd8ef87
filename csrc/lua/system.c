/* What a script asks of the process: threads, memory, instruction set, time, the terminal. */
#include <time.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "lua/binding.h"

/*** Sets the number of threads used by every operation.
@function set_num_threads
@tparam integer n 1 to 1024 */
static int set_num_threads(lua_State *L) {
  MTL_DO(L, mt_set_num_threads((int)mtl_check_integer(L, 1, 1, 1024)));
  return 0;
}

/*** The number of threads in use.
@function get_num_threads
@treturn integer */
static int get_num_threads(lua_State *L) {
  lua_pushinteger(L, mt_num_threads());
  return 1;
}

/*** Native memory, in bytes: `live` (in use by tensors), `cached` (kept for reuse), `peak` (highest live).
@function memory
@treturn table */
static int memory(lua_State *L) {
  const mt_memory_stats stats = mt_memory_usage();
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, (lua_Integer)stats.live);
  lua_setfield(L, -2, "live");
  lua_pushinteger(L, (lua_Integer)stats.cached);
  lua_setfield(L, -2, "cached");
  lua_pushinteger(L, (lua_Integer)stats.peak);
  lua_setfield(L, -2, "peak");
  return 1;
}

/*** Gives cached native buffers back to the system.
@function empty_cache */
static int empty_cache(lua_State *L) {
  (void)L;
  mt_memory_trim();
  return 0;
}

/*** The instruction set in use, or a new choice ("avx512", "avx2", "plain").
@function isa
@tparam[opt] string name
@treturn string */
static int isa(lua_State *L) {
  if (!lua_isnoneornil(L, 1)) MTL_DO(L, mt_select_isa(luaL_checkstring(L, 1)));
  lua_pushstring(L, mt_kernels->isa);
  return 1;
}

/*** Seconds on a clock that never goes back.
@function clock
@treturn number */
static int monotonic_clock(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec * 1e-9);
  return 1;
}

/*** Whether standard error is a terminal (progress bars are drawn there).
@function is_terminal
@treturn boolean */
static int is_terminal(lua_State *L) {
  lua_pushboolean(L, isatty(STDERR_FILENO));
  return 1;
}

static const luaL_Reg functions[] = {
    {"set_num_threads", set_num_threads},
    {"get_num_threads", get_num_threads},
    {"memory", memory},
    {"empty_cache", empty_cache},
    {"isa", isa},
    {"clock", monotonic_clock},
    {"is_terminal", is_terminal},
    {NULL, NULL},
};

void mtl_open_system(lua_State *L) { luaL_setfuncs(L, functions, 0); }
