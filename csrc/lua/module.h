/* The parts of the module binding. module_userdata.c: userdata and their fields, which all others use; module.c: what
 * scripts do with a module, which uses the others; module_layers.c, module_norms.c and module_activations.c:
 * constructors; module_script.c: modules whose forward is a Lua function; module_table.c: tables of modules;
 * module_reach.c: what functions reach beside their self; module_state.c: parameters and state dicts; module_load.c:
 * taking over state dicts; module_clone.c: deep copies; module_freeze.c: what is not trained; module_print.c: the tree
 * as text. */
#ifndef MT_LUA_MODULE_H
#define MT_LUA_MODULE_H

#include "lua/binding.h"
#include "nn/module.h"

/* User values of a module's userdata; nil until something is put there. */
enum {
  MTL_CHILDREN = 1, /* name -> the child's userdata */
  MTL_FIELDS,       /* cam_layer, classes, preprocess; for a script module its forward and plain values */
  MTL_USER_VALUES = MTL_FIELDS
};

void mtl_open_module_registry(lua_State *L); /* where userdata are found */
/* A new userdata for a new module; takes over the reference. */
void mtl_push_module(lua_State *L, mt_module *m);
/* The userdata that stands for m. */
void mtl_push_known_module(lua_State *L, mt_module *m);
/* Adds the module at `child` to the one at `parent`, in the core and among the userdata / among the userdata only. */
void mtl_add_child(lua_State *L, int parent, const char *name, int child);
void mtl_anchor_child(lua_State *L, int parent, const char *name, int child);
/* A value of MTL_FIELDS: pushes it (nothing when it is nil) / pops it from the stack. */
bool mtl_push_field(lua_State *L, int module, const char *name);
void mtl_set_field(lua_State *L, int module, const char *name);

/* Ordered pairs for iteration: appends (name, value on top of the stack, popped) / turns the list on top into the
 * iterator to return. */
void mtl_append_pair(lua_State *L, int list, const char *name);
int mtl_return_pairs(lua_State *L);

/* A module argument whose whole tree is looked through for tables that hold modules by now (module_table.c): for
 * everything that walks the tree but the forward pass. */
mt_module *mtl_check_tree(lua_State *L, int arg);

/* ---- tables (module_table.c) ---- */
bool mtl_holds_parts(lua_State *L, int index); /* a table with modules or tensors in it, at any depth */
/* Pushes a container made from the table, which is the value of the field `name`. */
void mtl_push_container(lua_State *L, int table, const char *name);
/* Assigns items and named values of the table to fields of the module; `where` begins the messages. */
void mtl_fill_from_table(lua_State *L, int table, int module, const char *where);

/* ---- scripts ---- */
bool mtl_is_script(const mt_module *m);
bool mtl_takes_fields(const mt_module *m); /* scripts and containers */
/* Stack: the module and arguments -> results; returns how many. */
int mtl_call_script(lua_State *L, mt_module *m);
/* Raises where functions of the modules below the one at `root` reach modules or parameters other than through self:
 * a copy would share them. */
void mtl_check_reach(lua_State *L, int root);
/* module 1 [name] = value 3, where name is neither a child nor a parameter yet. */
int mtl_assign_script(lua_State *L, mt_module *m, const char *name);
int mtl_script_module(lua_State *L); /* the constructor */
void mtl_open_script_module(lua_State *L);
/* Around a forward pass: forgets what an earlier one left / if a script's forward raised an error, raises it again. */
void mtl_forget_script_error(lua_State *L);
void mtl_raise_script_error(lua_State *L);

int mtl_module_tostring(lua_State *L);
int mtl_load_state_dict(lua_State *L); /* the method */

#define MTL_MAX_SIZE ((int64_t)1 << 30) /* of channels and other sizes that layers are made with */
/* Pushes a new module; returns 1, as constructors do. */
int mtl_return_module(lua_State *L, mt_module *m);
/* The constructor of a layer that takes no arguments. */
int mtl_plain_layer(lua_State *L, mt_module *(*make)(void));

extern const luaL_Reg mtl_module_constructors[];
extern const luaL_Reg mtl_module_norms[];
extern const luaL_Reg mtl_module_activations[];
extern const luaL_Reg mtl_module_containers[];
extern const luaL_Reg mtl_module_state_methods[];
extern const luaL_Reg mtl_module_clone_methods[];
extern const luaL_Reg mtl_module_freeze_methods[];

#endif
