/* Modules written in Lua: mt.nn.Module{conv = ..., scale = ..., forward = function(self, x) ... end}.
 *
 * Module-valued fields become children, tensor-valued ones parameters; everything else stays in the userdata's own
 * table, which also holds the forward function, so that a cycle through its upvalues is one that Lua's collector
 * sees. The core calls forward through this class like any other. */
#include <stdlib.h>
#include <string.h>

#include "lua/module.h"

/* ---- running ---- */

/* Stack: self, input as light userdata -> output. Everything that can raise happens in here. */
static int protected_forward(lua_State *L) {
  mt_module *self = lua_touserdata(L, 1);
  mt_tensor *input = lua_touserdata(L, 2);
  mtl_push_known_module(L, self);
  if (!mtl_push_field(L, -1, "forward")) return luaL_error(L, "Module: no forward function");
  lua_insert(L, -2);
  mtl_push_tensor(L, mt_retain(input));
  lua_call(L, 2, 1);
  if (!mtl_test_tensor(L, -1))
    return luaL_error(L, "Module: forward returned %s, expected a tensor", luaL_typename(L, -1));
  return 1;
}

/* The error value waits in the registry, so that whoever raises it again raises it unchanged: every level of nesting
 * would otherwise add a position to the text, and values that are no strings would be lost. The box is made once with
 * room for both entries, because filling it happens where nothing may raise. */
static const char error_box; /* its address */
enum { ERROR_VALUE = 1, ERROR_WAITS };

static void push_error_box(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &error_box); }

void mtl_forget_script_error(lua_State *L) {
  push_error_box(L);
  lua_pushnil(L);
  lua_rawseti(L, -2, ERROR_VALUE);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, ERROR_WAITS);
  lua_pop(L, 1);
}

void mtl_raise_script_error(lua_State *L) {
  push_error_box(L);
  lua_rawgeti(L, -1, ERROR_VALUE);
  lua_rawgeti(L, -2, ERROR_WAITS);
  const bool waits = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (waits) lua_error(L);
  lua_pop(L, 2);
}

static void fail_with_error_on_top(lua_State *L, int status) {
  const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  if (message)
    mt_fail_message(status == LUA_ERRMEM ? MT_ERROR_MEMORY : MT_ERROR_ARGUMENT, message);
  else
    mt_fail(MT_ERROR_ARGUMENT, "Module: forward raised a %s", luaL_typename(L, -1));
  push_error_box(L);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, ERROR_VALUE);
  lua_pushboolean(L, 1);
  lua_rawseti(L, -2, ERROR_WAITS);
  lua_pop(L, 1);
}

void mtl_open_script_module(lua_State *L) {
  lua_createtable(L, 2, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &error_box);
  mtl_forget_script_error(L);
}

/* The state's main thread runs it, whichever coroutine called: it outlives them all. */
static mt_tensor *forward(mt_module *self, mt_tensor *input) {
  lua_State *L = *(lua_State **)self->state;
  if (!lua_checkstack(L, 8)) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: no room on the Lua stack");
  lua_pushcfunction(L, protected_forward);
  lua_pushlightuserdata(L, self);
  lua_pushlightuserdata(L, input);
  const int status = lua_pcall(L, 2, 1, 0);
  mt_tensor *output = NULL;
  if (status == LUA_OK)
    output = mt_retain(mtl_test_tensor(L, -1));
  else
    fail_with_error_on_top(L, status);
  lua_pop(L, 1);
  return output;
}

static const mt_module_class script_class = {.name = "Module", .forward = forward};

bool mtl_is_script(const mt_module *m) { return m->cls == &script_class; }

/* ---- fields ---- */

static int assign_parameter(lua_State *L, mt_module *m, const char *name) {
  mt_tensor *t = mtl_check_tensor(L, 3);
  if (t->dtype != MT_FLOAT32)
    return luaL_error(L, "Module: parameter '%s' is %s, expected float32", name, mt_dtype_name(t->dtype));
  if (t->node) return luaL_error(L, "Module: parameter '%s' is the result of an operation, expected a leaf", name);
  MTL_DO(L, mt_module_add_slot(m, name, mt_retain(t), MT_LAYOUT_SAME, false));
  return 0;
}

int mtl_assign_script(lua_State *L, mt_module *m, const char *name) {
  if (mtl_test_module(L, 3)) {
    mtl_add_child(L, 1, name, 3);
    return 0;
  }
  if (mtl_test_tensor(L, 3)) return assign_parameter(L, m, name);
  if (strcmp(name, "forward") == 0 && !lua_isfunction(L, 3))
    return luaL_error(L, "Module: forward is %s, expected a function", luaL_typename(L, 3));
  lua_pushvalue(L, 3);
  mtl_set_field(L, 1, name);
  return 0;
}

/* ---- construction ---- */

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void check_keys(lua_State *L) {
  const lua_Integer n = luaL_len(L, 1);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    const bool is_item = lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= n;
    if (!is_item && lua_type(L, -2) != LUA_TSTRING)
      luaL_argerror(L, 1, "names and items 1, 2, ... without gaps expected");
  }
}

/* The string keys of the table at 1, sorted, in a buffer left on the stack; the table keeps the strings alive. */
static const char **sorted_names(lua_State *L, size_t *count) {
  *count = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) *count += lua_type(L, -2) == LUA_TSTRING;
  const char **names = lua_newuserdatauv(L, (*count + 1) * sizeof *names, 0);
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING) names[n++] = lua_tostring(L, -2);
  qsort(names, *count, sizeof *names, compare_names);
  return names;
}

/* Items 1, 2, ... of the table at `list` become children "0", "1", ... of the module at `module`. */
static void add_list(lua_State *L, int list, int module) {
  const lua_Integer n = luaL_len(L, list);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_geti(L, list, i);
    if (!mtl_test_module(L, -1))
      luaL_error(L, "Module: item %I is %s, expected a module", (LUAI_UACINT)i, luaL_typename(L, -1));
    mtl_add_child(L, module, lua_pushfstring(L, "%I", (LUAI_UACINT)(i - 1)), -2);
    lua_settop(L, module);
  }
}

/*** A module written in Lua. Module-valued fields become children (sorted by name; items 1, 2, ... are called
"0", "1", ...), tensor-valued fields parameters; other values stay readable as fields.
@function nn.Module
@tparam table fields with `forward = function(self, input) ... return output end`
@treturn Module */
int mtl_script_module(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (lua_getfield(L, 1, "forward") != LUA_TFUNCTION)
    return luaL_error(L, "Module: forward is %s, expected a function", luaL_typename(L, -1));
  lua_settop(L, 1);
  check_keys(L);
  size_t count;
  const char **names = sorted_names(L, &count);
  mt_module *m;
  MTL_NEW(L, m, mt_module_new(&script_class, sizeof(lua_State *)));
  mtl_push_module(L, m);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  *(lua_State **)m->state = lua_tothread(L, -1);
  lua_pop(L, 1);
  add_list(L, 1, 3);
  for (size_t i = 0; i < count; i++) { /* through __newindex, which knows all the rules */
    lua_getfield(L, 1, names[i]);
    lua_setfield(L, 3, names[i]);
  }
  return 1;
}
