/* Deep copies of trees. What is shared inside the original (a module at two places, a tensor in two slots) is shared
 * inside the copy as well: `memo` maps what was copied already, by its address. */
#include "lua/module.h"

/* ---- tied tensors ---- */

/* Slot i of the copy takes the tensor that already stands for the original's, or becomes it. */
static void tie_slots(lua_State *L, const mt_module *original, mt_module *copy, int memo) {
  for (int i = 0; i < copy->n_slots; i++) {
    mt_tensor **tensor = &copy->slots[i].tensor;
    if (lua_rawgetp(L, memo, original->slots[i].tensor) == LUA_TNIL) {
      lua_pushlightuserdata(L, *tensor);
      lua_rawsetp(L, memo, original->slots[i].tensor);
    } else {
      mt_tensor *shared = mt_retain(lua_touserdata(L, -1));
      mt_release(*tensor);
      *tensor = shared;
    }
    lua_pop(L, 1);
  }
}

/* ---- fields ---- */

/* The table itself is new, so that assignments to the copy's fields leave the original's alone; values are shared. */
static void copy_fields(lua_State *L, int original, int copy) {
  if (lua_getiuservalue(L, original, MTL_FIELDS) == LUA_TTABLE) {
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, -3);) {
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, -4);
    }
    lua_setiuservalue(L, copy, MTL_FIELDS);
  }
  lua_pop(L, 1);
}

/* ---- the tree ---- */

/* Pushes the copy of m. The recursion is as deep as the tree, at most MT_MODULE_HEIGHT. */
static void push_copy(lua_State *L, mt_module *m, int memo) {
  mt_module *copy;
  if (lua_rawgetp(L, memo, m) == LUA_TUSERDATA) return;
  lua_pop(L, 1);
  luaL_checkstack(L, 16, "copying a module");
  MTL_NEW(L, copy, mt_module_copy_bare(m));
  mtl_push_module(L, copy);
  const int place = lua_gettop(L);
  lua_pushvalue(L, place);
  lua_rawsetp(L, memo, m);
  tie_slots(L, m, copy, memo);
  mtl_push_known_module(L, m);
  copy_fields(L, lua_gettop(L), place);
  lua_settop(L, place);
  for (int i = 0; i < m->n_children; i++) {
    push_copy(L, m->children[i].module, memo);
    mtl_add_child(L, place, m->children[i].name, -1);
    lua_settop(L, place);
  }
}

/*** A deep copy: parameters, buffers, mode, what is frozen, fields; no gradients.
@function Module:clone
@treturn Module */
static int clone(lua_State *L) {
  mt_module *m = mtl_check_tree(L, 1);
  lua_settop(L, 1);
  mtl_check_reach(L, 1);
  lua_newtable(L);
  push_copy(L, m, 2);
  return 1;
}

const luaL_Reg mtl_module_clone_methods[] = {{"clone", clone}, {NULL, NULL}};
