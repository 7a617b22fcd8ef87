/* What a script asks of the process: threads, memory, instruction set, time, the terminal. */
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "core/machine.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "lua/binding.h"

/*** Sets the number of threads used by every operation: in how many parts work is cut, and so the results' last bits.
No more run than there are cores. At first it is what MASKTUNE_NUM_THREADS or OMP_NUM_THREADS says, else the cores.
@function set_num_threads
@tparam integer n 1 to 1024 */
static int set_num_threads(lua_State *L) {
  MTL_DO(L, mt_set_num_threads((int)mtl_check_integer(L, 1, 1, 1024)));
  return 0;
}

/*** The number of threads that work is cut for.
@function get_num_threads
@treturn integer */
static int get_num_threads(lua_State *L) {
  lua_pushinteger(L, mt_num_threads());
  return 1;
}

static void set_bytes(lua_State *L, const char *name, double bytes) {
  if (bytes < 0x1p62)
    lua_pushinteger(L, (lua_Integer)bytes);
  else
    lua_pushnumber(L, bytes);
  lua_setfield(L, -2, name);
}

/*** Memory, in bytes. Native: `live` (in use by tensors), `cached` (kept for reuse), `peak` (highest live). Of the
whole process, as the system counts it: `resident` and `peak_resident`.
@function memory
@treturn table */
static int memory(lua_State *L) {
  const mt_memory_stats stats = mt_memory_usage();
  lua_createtable(L, 0, 5);
  set_bytes(L, "live", (double)stats.live);
  set_bytes(L, "cached", (double)stats.cached);
  set_bytes(L, "peak", (double)stats.peak);
  const double resident = mt_machine_resident(), peak = mt_machine_peak_resident();
  set_bytes(L, "resident", resident);
  set_bytes(L, "peak_resident", peak > resident ? peak : resident); /* the system counts the two apart */
  return 1;
}

/*** What this process may use of the machine, where affinity, control groups and other processes leave it less than
there is: `cores`; `memory`, the bytes that it could still get; `cache`, those of the last cache before memory (0 where
the system does not say).
@function machine
@tparam[opt=""] string root folder below which the system's /proc and /sys are found (for tests)
@treturn table */
static int machine(lua_State *L) {
  const char *root = luaL_optstring(L, 1, "");
  lua_createtable(L, 0, 3);
  set_bytes(L, "cores", mt_machine_cores_under(root));
  set_bytes(L, "memory", mt_machine_memory_under(root));
  set_bytes(L, "cache", (double)(*root ? mt_machine_cache_under(root) : mt_machine_cache()));
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
  const char *name = luaL_optstring(L, 1, NULL), *fault = name ? mt_select_isa(name) : NULL;
  if (fault) luaL_error(L, "isa: instruction set '%s' %s", name, fault);
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

/*** How wide the terminal is that standard error goes to, now: it may change.
@function terminal_width
@treturn ?integer columns; nil where it is no terminal, or none that says */
static int terminal_width(lua_State *L) {
  struct winsize size;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 0;
  lua_pushinteger(L, size.ws_col);
  return 1;
}

static const luaL_Reg functions[] = {
    {"set_num_threads", set_num_threads},
    {"get_num_threads", get_num_threads},
    {"memory", memory},
    {"machine", machine},
    {"empty_cache", empty_cache},
    {"isa", isa},
    {"clock", monotonic_clock},
    {"is_terminal", is_terminal},
    {"terminal_width", terminal_width},
    {NULL, NULL},
};

void mtl_open_system(lua_State *L) { luaL_setfuncs(L, functions, 0); }
