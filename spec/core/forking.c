/* fork for Lua; threads_spec.lua builds and uses it. */
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* fork(f): runs f in a child, which ends with status 0, or 1 where f raised; returns its status, or nil when it did not
 * end within 20 seconds. */
static int fork_and_wait(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  const pid_t child = fork();
  if (child < 0) return luaL_error(L, "fork failed");
  if (child == 0) {
    lua_settop(L, 1);
    _exit(lua_pcall(L, 0, 0, 0) == LUA_OK ? 0 : 1);
  }
  for (int i = 0; i < 2000; i++) {
    int status;
    if (waitpid(child, &status, WNOHANG) == child) {
      lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
      return 1;
    }
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
  }
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  return 0;
}

int luaopen_forking(lua_State *L);
int luaopen_forking(lua_State *L) {
  lua_pushcfunction(L, fork_and_wait);
  return 1;
}
