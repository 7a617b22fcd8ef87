/* Whose fault an error is, in words that a user wrote.
 *
 * lauxlib takes a function's name from the instruction that called it, which is "?" through pcall, a coroutine, a tail
 * call or a computed field, and the line to blame from whoever called, which is one of masktune's own files where its
 * Lua part calls the core. Here the name is the one a function was registered by, and the line that of the first
 * caller outside of masktune's own files. binding.h puts these functions in place of lauxlib's. */
#include <string.h>

#include <lualib.h>

#define MTL_OWN_ERRORS /* below, luaL_setfuncs is lauxlib's */
#include "lua/binding.h"

static const char names_key; /* of the registry: function -> name */
static const char home_key;  /* of the registry: how the sources of masktune's own Lua files begin; false: unknown */

/* ---- names ---- */

static void push_names(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &names_key);
}

void mtl_name_function(lua_State *L, const char *name) {
  push_names(L);
  lua_pushvalue(L, -2);
  lua_pushstring(L, name + strspn(name, "_"));
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

void mtl_set_functions(lua_State *L, const luaL_Reg *functions, int upvalues) {
  for (const luaL_Reg *f = functions; f->name && upvalues == 0; f++) {
    lua_pushcfunction(L, f->func);
    mtl_name_function(L, f->name);
    lua_pop(L, 1);
  }
  luaL_setfuncs(L, functions, upvalues);
}

/* Replaces the function on top of the stack by its name, NULL for one that is not ours. */
static const char *name_of(lua_State *L) {
  push_names(L);
  lua_insert(L, -2);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  return lua_tostring(L, -1);
}

/* The name of the running function, or NULL; its description stays in `ar`. */
static const char *own_name(lua_State *L, lua_Debug *ar) {
  if (!lua_getstack(L, 0, ar)) return NULL;
  lua_getinfo(L, "nf", ar);
  const char *name = name_of(L);
  return name ? name : ar->name && strcmp(ar->name, "?") != 0 ? ar->name : NULL;
}

/* ---- places ---- */

/* "@/usr/share/lua/5.4/masktune/", from where `require "masktune"` finds its init.lua. */
static const char *push_home(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &home_key) != LUA_TNIL) return lua_tostring(L, -1);
  lua_pop(L, 1);
  lua_getglobal(L, LUA_LOADLIBNAME);
  const char *path = NULL;
  if (lua_istable(L, -1) && lua_getfield(L, -1, "searchpath") == LUA_TFUNCTION) {
    lua_pushliteral(L, "masktune");
    lua_getfield(L, -3, "path");
    if (lua_pcall(L, 2, 1, 0) == LUA_OK) path = lua_tostring(L, -1);
  }
  const char *end = path ? strrchr(path, '/') : NULL;
  if (end) {
    lua_pushliteral(L, "@");
    lua_pushlstring(L, path, (size_t)(end - path) + 1);
    lua_concat(L, 2);
  } else {
    lua_pushboolean(L, 0);
  }
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &home_key);
  return lua_tostring(L, -1);
}

/* Where a C function such as pcall is what called, there is no line, as in Lua's own messages. */
void mtl_push_place(lua_State *L) {
  lua_Debug ar;
  const int top = lua_gettop(L);
  const char *home = push_home(L), *place = "";
  bool from_c = false, found = false;
  for (int level = 1; !found && lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Slf", &ar);
    const bool is_c = *ar.what == 'C';
    const bool is_ours = is_c ? name_of(L) != NULL : home && strncmp(ar.source, home, strlen(home)) == 0;
    lua_settop(L, top + 1);
    found = !is_c && !is_ours;
    if (found && !from_c && ar.currentline > 0) place = lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
    from_c = is_c && !is_ours;
  }
  lua_pushstring(L, place);
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
}

/* ---- errors ---- */

int mtl_error(lua_State *L, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  mtl_push_place(L);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  lua_concat(L, 2);
  return lua_error(L);
}

int mtl_argument_error(lua_State *L, int arg, const char *message) {
  lua_Debug ar;
  const char *name = own_name(L, &ar);
  if (!name) return mtl_error(L, "bad argument #%d (%s)", arg, message);
  if (strcmp(ar.namewhat, "method") == 0 && --arg == 0)
    return mtl_error(L, "calling '%s' on bad self (%s)", name, message);
  return mtl_error(L, "bad argument #%d to '%s' (%s)", arg, name, message);
}

int mtl_type_error(lua_State *L, int arg, const char *expected) {
  const char *got = luaL_getmetafield(L, arg, "__name") == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, arg);
  return mtl_argument_error(L, arg, lua_pushfstring(L, "%s expected, got %s", expected, got));
}

/* ---- checks ---- */

void mtl_check_type(lua_State *L, int arg, int type) {
  if (lua_type(L, arg) != type) mtl_type_error(L, arg, lua_typename(L, type));
}

void mtl_check_any(lua_State *L, int arg) {
  if (lua_isnone(L, arg)) mtl_argument_error(L, arg, "value expected");
}

void *mtl_check_userdata(lua_State *L, int arg, const char *class_name) {
  void *p = luaL_testudata(L, arg, class_name);
  if (!p) mtl_type_error(L, arg, class_name);
  return p;
}

const char *mtl_check_lstring(lua_State *L, int arg, size_t *length) {
  if (!lua_isstring(L, arg)) mtl_type_error(L, arg, lua_typename(L, LUA_TSTRING));
  return lua_tolstring(L, arg, length);
}

const char *mtl_opt_lstring(lua_State *L, int arg, const char *fallback, size_t *length) {
  if (!lua_isnoneornil(L, arg)) return mtl_check_lstring(L, arg, length);
  if (length) *length = fallback ? strlen(fallback) : 0;
  return fallback;
}
