/* What programs need: signals that end them, locks against a second process, names that were perhaps meant. */
#include <limits.h>
#include <signal.h>

#include "core/signals.h"
#include "core/words.h"
#include "io/lock.h"
#include "lua/binding.h"

#define LOCK "masktune.Lock"

/*** From now on Ctrl-C (SIGINT) and SIGTERM only set a flag, which `caught_signal` reads and training, evaluation and
explanation look at between two batches. A second one ends the process at once.
@function catch_signals */
static int catch_signals(lua_State *L) {
  MTL_DO(L, mt_catch_signals());
  return 0;
}

/*** The signal that came since catch_signals was called.
@function caught_signal
@treturn ?string "SIGINT" or "SIGTERM"; nil where none came
@treturn ?integer its number */
static int caught_signal(lua_State *L) {
  const int number = mt_caught_signal();
  if (!number) return 0;
  lua_pushstring(L, number == SIGINT ? "SIGINT" : "SIGTERM");
  lua_pushinteger(L, number);
  return 2;
}

/*** Locks a file against other processes that ask for the same lock; the file is made where it is missing.
@function lock_file
@tparam string path
@treturn ?Lock held until `lock:release()`, its collection or the end of the process; nil where another holds it */
static int lock_file(lua_State *L) {
  const char *path = mtl_check_path(L, 1);
  mt_lock *lock = lua_newuserdatauv(L, sizeof *lock, 0);
  lock->descriptor = -1;
  luaL_setmetatable(L, LOCK);
  int held;
  MTL_DO(L, held = mt_lock_take(lock, path));
  if (!held) lua_pushnil(L);
  return 1;
}

/*** Gives the lock back; a second call does nothing.
@function Lock:release */
static int release(lua_State *L) {
  mt_lock_release(luaL_checkudata(L, 1, LOCK));
  return 0;
}

/*** The nearest of some names to one that is none of them.
@function nearest_name
@tparam string name
@tparam {string,...} names others than strings are passed over
@treturn ?string the first of equals; nil where none is near (more than a third of the letters would change) */
static int nearest_name(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  int lowest = INT_MAX;
  lua_settop(L, 2);
  lua_pushnil(L); /* the best so far, at 3 */
  for (lua_Integer i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
    const char *other = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    const int distance = other ? mt_word_distance(name, other) : INT_MAX;
    if (distance < lowest && mt_word_is_near(name, other, distance)) {
      lowest = distance;
      lua_replace(L, 3);
    } else {
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
  return 1;
}

static const luaL_Reg functions[] = {
    {"catch_signals", catch_signals},
    {"caught_signal", caught_signal},
    {"lock_file", lock_file},
    {"nearest_name", nearest_name},
    {NULL, NULL},
};

static const luaL_Reg methods[] = {{"release", release}, {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__gc", release}, {"__close", release}, {NULL, NULL}};

void mtl_open_process(lua_State *L) {
  mtl_new_class(L, LOCK, methods, metamethods);
  luaL_setfuncs(L, functions, 0);
}
