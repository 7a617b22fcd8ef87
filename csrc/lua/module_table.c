/* Plain tables in the fields of modules: one that holds modules or parameters becomes a container of the core, so that
 * what is in it is trained, saved and copied like everything else. Lists give the names "0", "1", ... of PyTorch's
 * ModuleList and ParameterList, names those of its ModuleDict; tables inside are taken likewise.
 *
 * A table that is empty, or holds other things, stays as it is; should modules be put into it later, it is found and
 * taken over as soon as somebody asks the net for its parameters, its parts or its mode (mtl_check_tree). */
#include <stdlib.h>
#include <string.h>

#include "lua/module.h"
#include "nn/layers.h"

/* ---- what a table holds ---- */

typedef struct {
  bool modules, tensors; /* at any depth */
  bool odd_module;       /* a module is a key, or stands below a metatable: such tables cannot be taken over */
} contents;

/* Adds the table on top of the stack, popped, to a list of those to look through, unless it is there already. For each
 * the list says too whether it has a metatable or stands in a table that has. */
static void enqueue(lua_State *L, int list, bool below_metatable) {
  const int table = lua_gettop(L);
  lua_pushvalue(L, table);
  if (lua_rawget(L, list) == LUA_TNIL) {
    const bool below = below_metatable || lua_getmetatable(L, table);
    lua_pushvalue(L, table);
    lua_pushboolean(L, below);
    lua_rawset(L, list);
    lua_pushvalue(L, table);
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
  }
  lua_settop(L, table - 1);
}

static void look_through(lua_State *L, int table, int list, bool below_metatable, contents *found) {
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    const bool is_key = mtl_test_module(L, -2) != NULL, is_module = is_key || mtl_test_module(L, -1);
    found->modules = found->modules || is_module;
    found->odd_module = found->odd_module || is_key || (is_module && below_metatable);
    found->tensors = found->tensors || mtl_test_tensor(L, -1);
    if (!lua_istable(L, -1)) continue;
    lua_pushvalue(L, -1);
    enqueue(L, list, below_metatable);
  }
}

/* Without recursion: data may be nested as deep as it likes, and in circles. */
static contents contents_of(lua_State *L, int table) {
  contents found = {false, false, false};
  table = lua_absindex(L, table);
  luaL_checkstack(L, 16, "looking through a table");
  lua_newtable(L);
  const int list = lua_gettop(L);
  lua_pushvalue(L, table);
  enqueue(L, list, false);
  for (lua_Integer i = 1; lua_rawgeti(L, list, i) == LUA_TTABLE; i++) {
    lua_pushvalue(L, -1);
    lua_rawget(L, list);
    look_through(L, list + 1, list, lua_toboolean(L, -1), &found);
    lua_settop(L, list);
  }
  lua_settop(L, list - 1);
  return found;
}

bool mtl_holds_parts(lua_State *L, int index) {
  if (!lua_istable(L, index)) return false;
  const contents found = contents_of(L, index);
  return found.modules || found.tensors;
}

/* ---- names ---- */

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void check_names(lua_State *L, int table, const char *where) {
  const lua_Integer n = (lua_Integer)lua_rawlen(L, table);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    const bool is_item = lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= n;
    if (!is_item && lua_type(L, -2) != LUA_TSTRING)
      luaL_error(L, "%s: names and items 1, 2, ... without gaps expected", where);
  }
}

/* The string keys, sorted, in a buffer left on the stack; the table keeps the strings alive. */
static const char **sorted_names(lua_State *L, int table, size_t *count) {
  *count = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) *count += lua_type(L, -2) == LUA_TSTRING;
  const char **names = lua_newuserdatauv(L, (*count + 1) * sizeof *names, 0);
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING) names[n++] = lua_tostring(L, -2);
  qsort(names, *count, sizeof *names, compare_names);
  return names;
}

/* ---- containers ---- */

static mt_container_kind kind_of(lua_State *L, int table) {
  const bool is_list = lua_rawlen(L, table) > 0;
  if (contents_of(L, table).modules) return is_list ? MT_MODULE_LIST : MT_MODULE_DICT;
  return is_list ? MT_PARAMETER_LIST : MT_PARAMETER_DICT;
}

void mtl_fill_from_table(lua_State *L, int table, int module, const char *where) {
  table = lua_absindex(L, table);
  module = lua_absindex(L, module);
  const int top = lua_gettop(L);
  check_names(L, table, where);
  for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, table); i++) {
    lua_rawgeti(L, table, i);
    if (!mtl_test_module(L, -1) && !mtl_test_tensor(L, -1) && !mtl_holds_parts(L, -1))
      luaL_error(L, "%s: item %I is %s, expected a module or a tensor", where, (LUAI_UACINT)i, luaL_typename(L, -1));
    const char *name = lua_pushfstring(L, "%I", (LUAI_UACINT)(i - 1));
    lua_insert(L, -2);
    lua_setfield(L, module, name);
    lua_settop(L, top);
  }
  size_t count;
  const char **names = sorted_names(L, table, &count);
  for (size_t i = 0; i < count; i++) { /* through __newindex, which knows all the rules */
    lua_getfield(L, table, names[i]);
    lua_setfield(L, module, names[i]);
  }
  lua_settop(L, top);
}

static void mark(lua_State *L, int state, int table, bool on_the_way) {
  lua_pushvalue(L, table);
  lua_pushboolean(L, on_the_way);
  lua_rawset(L, state);
}

/* Raises where the tables below the one on top of the stack stand inside themselves or nest deeper than modules may.
 * state: table -> true on the way down, false when done. */
static void check_nesting(lua_State *L, int state, int depth, const char *where) {
  const int table = lua_gettop(L);
  luaL_checkstack(L, 16, "tables of modules");
  lua_pushvalue(L, table);
  const bool met = lua_rawget(L, state) != LUA_TNIL, on_the_way = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (on_the_way || depth > MT_MODULE_HEIGHT)
    luaL_error(L, "%s: tables are nested more than %d deep; does one stand inside itself?", where, MT_MODULE_HEIGHT);
  if (met) return;
  mark(L, state, table, true);
  for (lua_pushnil(L); lua_next(L, table); lua_settop(L, table + 1))
    if (mtl_holds_parts(L, -1)) check_nesting(L, state, depth + 1, where);
  mark(L, state, table, false);
}

void mtl_push_container(lua_State *L, int table, const char *name) {
  table = lua_absindex(L, table);
  luaL_checkstack(L, 16, "tables of modules");
  const char *where = lua_pushfstring(L, "Module: field '%s'", name);
  const int top = lua_gettop(L);
  if (contents_of(L, table).odd_module || lua_getmetatable(L, table))
    luaL_error(L,
               "%s holds modules or tensors in a table with a metatable, or modules as keys; expected plain lists and "
               "tables of them",
               where);
  lua_newtable(L);
  lua_pushvalue(L, table);
  check_nesting(L, top + 1, 1, where);
  lua_settop(L, top);
  mt_module *m;
  MTL_NEW(L, m, mt_container_new(kind_of(L, table)));
  mtl_push_module(L, m);
  mtl_fill_from_table(L, table, lua_gettop(L), where);
  lua_replace(L, top);
}

/* ---- tables that got their modules later ---- */

/* Pushes the name of a field that holds a table with modules in it; false, and nothing, where there is none. */
static bool find_late_field(lua_State *L, int module) {
  if (lua_getiuservalue(L, module, MTL_FIELDS) == LUA_TTABLE) {
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      if (!lua_istable(L, -1) || !contents_of(L, -1).modules) continue;
      lua_pop(L, 1);
      lua_replace(L, -2);
      return true;
    }
  }
  lua_pop(L, 1);
  return false;
}

static int adopt_in(mt_module *m, const char *path, void *context) {
  lua_State *L = context;
  (void)path;
  if (!mtl_takes_fields(m)) return 0;
  const int top = lua_gettop(L);
  luaL_checkstack(L, 8, "looking through a module's fields");
  mtl_push_known_module(L, m);
  while (find_late_field(L, top + 1)) {
    const char *name = lua_tostring(L, -1);
    mtl_push_field(L, top + 1, name);
    lua_setfield(L, top + 1, name); /* assigned again, now that it holds modules */
    lua_settop(L, top + 1);
  }
  lua_settop(L, top);
  return 0;
}

mt_module *mtl_check_tree(lua_State *L, int arg) {
  mt_module *m = mtl_check_module(L, arg);
  MTL_DO(L, mt_module_walk(m, adopt_in, L));
  return m;
}

/* ---- constructors ---- */

static int container(lua_State *L, mt_container_kind kind, const char *name) {
  mt_module *m;
  if (lua_isnone(L, 1)) lua_newtable(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  const contents found = contents_of(L, 1);
  const bool parameters = kind == MT_PARAMETER_LIST || kind == MT_PARAMETER_DICT;
  if (found.odd_module || (parameters ? found.modules : found.tensors))
    luaL_argerror(L, 1, parameters ? "plain table of tensors expected" : "plain table of modules expected");
  if (lua_rawlen(L, 1) > 0 && (kind == MT_MODULE_DICT || kind == MT_PARAMETER_DICT))
    luaL_argerror(L, 1, "table with names expected, got a list");
  MTL_NEW(L, m, mt_container_new(kind));
  mtl_push_module(L, m);
  mtl_fill_from_table(L, 1, 2, name);
  return 1;
}

/*** A list of modules, called "0", "1", ...; `list[i]` is the i-th, and one more is appended by assigning it to
`list[#list + 1]`. Plain lists of modules in the fields of a Module become such lists by themselves.
@function nn.ModuleList
@tparam[opt] table modules
@treturn Module */
static int module_list(lua_State *L) { return container(L, MT_MODULE_LIST, "ModuleList"); }

/*** Modules by name; so do plain tables of them.
@function nn.ModuleDict
@tparam[opt] table modules
@treturn Module */
static int module_dict(lua_State *L) { return container(L, MT_MODULE_DICT, "ModuleDict"); }

/*** A list of parameters, called "0", "1", ...; plain lists of tensors in the fields of a Module become such lists.
@function nn.ParameterList
@tparam[opt] table tensors float32
@treturn Module */
static int parameter_list(lua_State *L) { return container(L, MT_PARAMETER_LIST, "ParameterList"); }

/*** Parameters by name.
@function nn.ParameterDict
@tparam[opt] table tensors float32
@treturn Module */
static int parameter_dict(lua_State *L) { return container(L, MT_PARAMETER_DICT, "ParameterDict"); }

const luaL_Reg mtl_module_containers[] = {
    {"ModuleList", module_list},
    {"ModuleDict", module_dict},
    {"ParameterList", parameter_list},
    {"ParameterDict", parameter_dict},
    {NULL, NULL},
};
