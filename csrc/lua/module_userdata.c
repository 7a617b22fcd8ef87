/* The module userdata: what stands for a module in Lua, the fields it carries, lists of named modules.
 *
 * There is at most one userdata for each mt_module, found through a table with weak values in the registry, so
 * model.backbone == model.backbone. A parent's userdata keeps its children's alive (user value CHILDREN, by name):
 * whatever Lua state hangs on a child (a forward function, cam_layer) lives as long as the tree. */
#include "lua/module.h"

static const char registry_key; /* its address */

/* ---- userdata ---- */

mt_module *mtl_check_module(lua_State *L, int arg) {
  mt_module *m = *(mt_module **)luaL_checkudata(L, arg, MTL_MODULE);
  if (!m) luaL_argerror(L, arg, "the module was already released");
  return m;
}

mt_module *mtl_test_module(lua_State *L, int arg) {
  mt_module **place = luaL_testudata(L, arg, MTL_MODULE);
  return place ? *place : NULL;
}

static void release_module(void *m) { mt_module_release(m); }

void mtl_push_module(lua_State *L, mt_module *m) {
  mtl_push_owner(L, m, release_module, MTL_MODULE, MTL_USER_VALUES);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, m);
  lua_pop(L, 1);
  mtl_pushed_memory(L);
}

void mtl_push_known_module(lua_State *L, mt_module *m) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key);
  const bool known = lua_rawgetp(L, -1, m) == LUA_TUSERDATA;
  lua_remove(L, -2);
  if (known) return;
  lua_pop(L, 1);
  mtl_push_module(L, mt_module_retain(m));
}

void mtl_anchor_child(lua_State *L, int parent, const char *name, int child) {
  parent = lua_absindex(L, parent);
  child = lua_absindex(L, child);
  if (lua_getiuservalue(L, parent, MTL_CHILDREN) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, parent, MTL_CHILDREN);
  }
  lua_pushvalue(L, child);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

void mtl_add_child(lua_State *L, int parent, const char *name, int child) {
  MTL_DO(L, mt_module_add_child(mtl_check_module(L, parent), name, mtl_check_module(L, child)));
  mtl_anchor_child(L, parent, name, child);
}

/* ---- fields ---- */

bool mtl_push_field(lua_State *L, int module, const char *name) {
  if (lua_getiuservalue(L, module, MTL_FIELDS) == LUA_TTABLE) {
    if (lua_getfield(L, -1, name) != LUA_TNIL) {
      lua_remove(L, -2);
      return true;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return false;
}

void mtl_set_field(lua_State *L, int module, const char *name) {
  module = lua_absindex(L, module);
  if (lua_getiuservalue(L, module, MTL_FIELDS) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, module, MTL_FIELDS);
  }
  lua_insert(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

/* ---- pairs ---- */

static int next_pair(lua_State *L) {
  const lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));
  lua_pushinteger(L, i + 2);
  lua_replace(L, lua_upvalueindex(2));
  lua_rawgeti(L, lua_upvalueindex(1), i + 1);
  lua_rawgeti(L, lua_upvalueindex(1), i + 2);
  return 2;
}

int mtl_return_pairs(lua_State *L) {
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_pair, 2);
  return 1;
}

void mtl_append_pair(lua_State *L, int list, const char *name) {
  list = lua_absindex(L, list);
  const lua_Integer n = (lua_Integer)lua_rawlen(L, list);
  lua_pushstring(L, name);
  lua_rawseti(L, list, n + 1);
  lua_rawseti(L, list, n + 2);
}

void mtl_open_module_registry(lua_State *L) {
  lua_newtable(L);
  lua_newtable(L);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &registry_key);
}
