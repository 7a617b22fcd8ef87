/* Modules as scripts use them: indexing, assigning, running, the tree. */
#include "lua/module.h"

#include <stdio.h>
#include <string.h>

#include "nn/layers.h"

static int collect_module(lua_State *L) {
  mt_module **place = luaL_checkudata(L, 1, MTL_MODULE);
  mt_module_release(*place);
  *place = NULL;
  return 0;
}

/* A child, parameter or buffer; false, and nothing pushed, where there is none of that name. */
static bool push_part(lua_State *L, const mt_module *m, const char *name) {
  mt_module *child = mt_module_child(m, name);
  mt_tensor *slot = mt_module_slot(m, name);
  if (child)
    mtl_push_known_module(L, child);
  else if (slot)
    mtl_push_tensor(L, mt_retain(slot));
  return child || slot;
}

/* Containers count their items, which are called "0", "1", ..., other modules their children. */
static lua_Integer length_of(const mt_module *m) {
  char name[MT_NAME_SIZE];
  if (!mt_is_container(m)) return m->n_children;
  for (lua_Integer n = 0;; n++) {
    snprintf(name, sizeof name, "%lld", (long long)n);
    if (!mt_module_child(m, name) && !mt_module_slot(m, name)) return n;
  }
}

/* module[3]: the third child. */
static int index_by_position(lua_State *L, const mt_module *m) {
  const lua_Integer i = lua_tointeger(L, 2);
  if (i < 1) return 0;
  if (mt_is_container(m)) return push_part(L, m, lua_pushfstring(L, "%I", (LUAI_UACINT)(i - 1)));
  if (i > m->n_children) return 0;
  mtl_push_known_module(L, m->children[i - 1].module);
  return 1;
}

/* Methods (upvalue 1), then children, parameters and buffers, then fields. */
static int module_index(lua_State *L) {
  mt_module *m = mtl_check_module(L, 1);
  if (lua_isinteger(L, 2)) return index_by_position(L, m);
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  const char *name = lua_tostring(L, 2);
  if (lua_getfield(L, lua_upvalueindex(1), name) != LUA_TNIL) return 1;
  return push_part(L, m, name) || mtl_push_field(L, 1, name);
}

/* The values go into the parameter that is there, because optimisers hold it. */
static int assign_slot(lua_State *L, mt_module *m, const char *name) {
  mt_tensor *into = mt_module_slot(m, name), *values = mtl_test_tensor(L, 3);
  if (!values) return luaL_error(L, "%s: %s is %s, expected a tensor", m->cls->name, name, luaL_typename(L, 3));
  MTL_DO(L, mt_expect_dtype(values, into->dtype, m->cls->name, name));
  MTL_DO(L, mt_expect_shape(values, into->ndim, into->shape, m->cls->name, name));
  memmove(into->data, values->data, mt_tensor_bytes(into));
  mt_touch(into);
  return 0;
}

static int assign_child(lua_State *L, mt_module *m, const char *name) {
  mt_module *child = mtl_test_module(L, 3);
  if (!child) return luaL_error(L, "%s: %s is %s, expected a module", m->cls->name, name, luaL_typename(L, 3));
  MTL_DO(L, mt_module_replace_child(m, name, child));
  mtl_anchor_child(L, 1, name, 3);
  return 0;
}

/* cam_layer: the path of a module below; classes: how many there are. nil removes them. */
static int assign_attribute(lua_State *L, mt_module *m, const char *name) {
  const bool is_layer = strcmp(name, "cam_layer") == 0;
  if (!lua_isnil(L, 3)) {
    if (is_layer)
      MTL_DO(L, mt_module_find(m, luaL_checkstring(L, 3)) ? 0 : -1);
    else
      mtl_check_integer(L, 3, 1, INT32_MAX);
  }
  lua_pushvalue(L, 3);
  mtl_set_field(L, 1, name);
  return 0;
}

/* What images go through before this net sees them, unless their data set says otherwise: a function, or what can be
 * called like one. nil removes it. */
static int assign_preprocess(lua_State *L, const mt_module *m) {
  const bool callable = lua_isfunction(L, 3) || luaL_getmetafield(L, 3, "__call") != LUA_TNIL;
  if (!callable && !lua_isnil(L, 3))
    return luaL_error(L, "%s: preprocess is %s, expected a function (images) -> images", m->cls->name,
                      luaL_typename(L, 3));
  lua_pushvalue(L, 3);
  mtl_set_field(L, 1, "preprocess");
  return 0;
}

static int assign(lua_State *L, mt_module *m, const char *name) {
  if (mt_module_slot(m, name)) return assign_slot(L, m, name);
  if (mt_module_child(m, name)) return assign_child(L, m, name);
  if (strcmp(name, "cam_layer") == 0 || strcmp(name, "classes") == 0) return assign_attribute(L, m, name);
  if (strcmp(name, "preprocess") == 0) return assign_preprocess(L, m);
  if (mtl_takes_fields(m)) return mtl_assign_script(L, m, name);
  return luaL_error(L, "%s: no field '%s' to assign", m->cls->name, name);
}

/* module[i] = value: a child that is there; in a container also one more item. Returns its name. */
static const char *name_of_position(lua_State *L, const mt_module *m) {
  const lua_Integer i = lua_tointeger(L, 2), n = length_of(m);
  if (mt_is_container(m) && i >= 1 && i <= n + 1) return lua_pushfstring(L, "%I", (LUAI_UACINT)(i - 1));
  if (!mt_is_container(m) && i >= 1 && i <= n) return m->children[i - 1].name;
  luaL_error(L, "%s: child %I does not exist, there are %I", m->cls->name, (LUAI_UACINT)i, (LUAI_UACINT)n);
  return NULL;
}

static int module_newindex(lua_State *L) {
  mt_module *m = mtl_check_module(L, 1);
  lua_settop(L, 3);
  const char *name = lua_isinteger(L, 2) ? name_of_position(L, m) : luaL_checkstring(L, 2);
  if (lua_getfield(L, lua_upvalueindex(1), name) != LUA_TNIL && !(mtl_is_script(m) && strcmp(name, "forward") == 0))
    return luaL_error(L, "%s: '%s' is a method and cannot be assigned", m->cls->name, name);
  if (mtl_takes_fields(m) && mtl_holds_parts(L, 3)) {
    mtl_push_container(L, 3, name);
    lua_replace(L, 3);
  }
  if (lua_isinteger(L, 2) && mt_is_container(m) && !mtl_test_module(L, 3) && !mtl_test_tensor(L, 3))
    return luaL_error(L, "%s: item %I is %s, expected a module or a tensor", m->cls->name, lua_tointeger(L, 2),
                      luaL_typename(L, 3));
  return assign(L, m, name);
}

/* ---- methods ---- */

/* What stands at an argument, for messages. */
static const char *input_text(lua_State *L, int arg) { return lua_isnone(L, arg) ? "missing" : mtl_describe(L, arg); }

/* The one tensor that a built-in module takes; nil behind it counts as nothing. */
static mt_tensor *check_input(lua_State *L, const mt_module *m) {
  mt_tensor *input = mtl_test_tensor(L, 2);
  if (!input) luaL_error(L, "%s: input is %s, expected a tensor", m->cls->name, input_text(L, 2));
  for (int i = 3; i <= lua_gettop(L); i++)
    if (!lua_isnil(L, i))
      luaL_error(L, "%s: %d inputs, expected one tensor (only the forward of a Module takes several)", m->cls->name,
                 lua_gettop(L) - 1);
  return input;
}

/*** Modules: layers and nets, called like functions; names as PyTorch has them.
@classmod Module */

/*** Runs the module: `module(input)`, or `module:forward(input)`. Built-in modules take one tensor; a Module written in
Lua whatever its `forward` takes.
@function Module:forward
@tparam Tensor input
@treturn Tensor
@raise on an input that is no tensor, or does not fit */
static int module_forward(lua_State *L) {
  mt_module *m = mtl_check_module(L, 1);
  if (mtl_is_script(m)) return mtl_call_script(L, m);
  mt_tensor *input = check_input(L, m), *output;
  mtl_forget_script_error(L);
  output = mt_module_forward(m, input);
  if (!output && mtl_collect_for_memory(L)) output = mt_module_forward(m, input);
  if (!output) {
    mtl_raise_script_error(L);
    mtl_raise(L);
  }
  mtl_push_tensor(L, output);
  return 1;
}

/*** Sets the whole tree to training (or, with false, to evaluation). What is frozen runs as in evaluation either way.
@function Module:train
@tparam[opt=true] boolean training
@treturn Module itself */
static int module_train(lua_State *L) {
  mt_module *m = mtl_check_tree(L, 1);
  mt_module_train(m, lua_isnoneornil(L, 2) || mtl_check_boolean(L, 2));
  lua_settop(L, 1);
  return 1;
}

/*** Sets the whole tree to evaluation.
@function Module:eval
@treturn Module itself */
static int module_eval(lua_State *L) {
  mt_module_train(mtl_check_tree(L, 1), false);
  lua_settop(L, 1);
  return 1;
}

/*** Whether this very module runs as in training. Its parts may differ, where they were set apart or are frozen.
@function Module:is_training
@treturn boolean */
static int module_is_training(lua_State *L) {
  lua_pushboolean(L, mt_module_is_training(mtl_check_module(L, 1)));
  return 1;
}

/*** The module at a dotted path, such as "backbone.12".
@function Module:get
@tparam string path
@treturn Module */
static int module_get(lua_State *L) {
  mt_module *m = mtl_check_tree(L, 1), *found;
  MTL_NEW(L, found, mt_module_find(m, luaL_checkstring(L, 2)));
  mtl_push_known_module(L, found);
  return 1;
}

/* Appends the key and value on top of the stack, popped, to the list at 2. */
static void append_entry(lua_State *L) {
  const lua_Integer n = (lua_Integer)lua_rawlen(L, 2);
  lua_rawseti(L, 2, n + 2);
  lua_rawseti(L, 2, n + 1);
}

/* A part by its name, unless it is one of the `listed` items "0", "1", ... */
static void append_part(lua_State *L, const mt_module *m, const char *name, lua_Integer listed) {
  int exact = 0;
  lua_pushstring(L, name);
  const lua_Integer number = listed > 0 ? lua_tointegerx(L, -1, &exact) : 0;
  if (exact && number < listed) {
    lua_pop(L, 1);
    return;
  }
  push_part(L, m, name);
  append_entry(L);
}

/*** Iterates over the module's own children: `for name, child in m:children() do`.
@function Module:children */
static int module_children(lua_State *L) {
  mt_module *m = mtl_check_tree(L, 1);
  lua_newtable(L);
  for (int i = 0; i < m->n_children; i++) {
    mtl_push_known_module(L, m->children[i].module);
    mtl_append_pair(L, -2, m->children[i].name);
  }
  return mtl_return_pairs(L);
}

static int append_module(mt_module *m, const char *path, void *context) {
  lua_State *L = context;
  mtl_push_known_module(L, m);
  mtl_append_pair(L, -2, path);
  return 0;
}

/* pairs(module): positions in a container, else names, with children and parameters, then the fields. */
static int module_pairs(lua_State *L) {
  const mt_module *m = mtl_check_tree(L, 1);
  lua_settop(L, 1);
  lua_newtable(L);
  const lua_Integer n = mt_is_container(m) ? length_of(m) : 0;
  for (lua_Integer i = 1; i <= n; i++) {
    lua_pushinteger(L, i);
    lua_geti(L, 1, i);
    append_entry(L);
  }
  for (int i = 0; i < m->n_children; i++) append_part(L, m, m->children[i].name, n);
  for (int i = 0; i < m->n_slots; i++) append_part(L, m, m->slots[i].name, n);
  if (lua_getiuservalue(L, 1, MTL_FIELDS) == LUA_TTABLE)
    for (lua_pushnil(L); lua_next(L, 3);) {
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      append_entry(L);
    }
  lua_settop(L, 2);
  return mtl_return_pairs(L);
}

/*** Iterates over the whole tree, parents first: `for path, module in m:modules() do`. The first path is "".
@function Module:modules */
static int module_modules(lua_State *L) {
  mt_module *m = mtl_check_tree(L, 1);
  lua_newtable(L);
  MTL_DO(L, mt_module_walk(m, append_module, L));
  return mtl_return_pairs(L);
}

/*** The class's name, such as "Conv2d".
@function Module:class
@treturn string */
static int module_class(lua_State *L) {
  lua_pushstring(L, mtl_check_module(L, 1)->cls->name);
  return 1;
}

static int module_length(lua_State *L) {
  lua_pushinteger(L, length_of(mtl_check_tree(L, 1)));
  return 1;
}

/*** @function is_module
@param value
@treturn boolean */
static int is_module(lua_State *L) {
  lua_pushboolean(L, mtl_test_module(L, 1) != NULL);
  return 1;
}

static const luaL_Reg methods[] = {
    {"forward", module_forward},         {"train", module_train}, {"eval", module_eval},
    {"is_training", module_is_training}, {"get", module_get},     {"children", module_children},
    {"modules", module_modules},         {"class", module_class}, {NULL, NULL},
};

static const luaL_Reg meta[] = {
    {"__gc", collect_module},  {"__call", module_forward},          {"__len", module_length},
    {"__pairs", module_pairs}, {"__tostring", mtl_module_tostring}, {NULL, NULL},
};

static const luaL_Reg functions[] = {{"is_module", is_module}, {NULL, NULL}};

void mtl_open_module(lua_State *L) {
  mtl_open_module_registry(L);
  luaL_newmetatable(L, MTL_MODULE);
  luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  luaL_setfuncs(L, mtl_module_state_methods, 0);
  luaL_setfuncs(L, mtl_module_clone_methods, 0);
  luaL_setfuncs(L, mtl_module_freeze_methods, 0);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, module_index, 1);
  mtl_name_function(L, "index");
  lua_setfield(L, -3, "__index");
  lua_pushcclosure(L, module_newindex, 1);
  mtl_name_function(L, "newindex");
  lua_setfield(L, -2, "__newindex");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
  lua_newtable(L);
  luaL_setfuncs(L, mtl_module_constructors, 0);
  luaL_setfuncs(L, mtl_module_norms, 0);
  luaL_setfuncs(L, mtl_module_activations, 0);
  luaL_setfuncs(L, mtl_module_containers, 0);
  mtl_open_script_module(L);
  lua_setfield(L, -2, "nn");
}
