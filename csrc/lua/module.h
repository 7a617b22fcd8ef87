/* The parts of the module binding. module.c: userdata, fields, running, the tree; module_layers.c: constructors;
 * module_script.c: modules whose forward is a Lua function; module_state.c: parameters and state dicts; module_load.c:
 * taking over state dicts; module_clone.c: deep copies; module_print.c: the tree as text. */
#ifndef MT_LUA_MODULE_H
#define MT_LUA_MODULE_H

#include "lua/binding.h"
#include "nn/module.h"

/* User values of a module's userdata; nil until something is put there. */
enum {
  MTL_CHILDREN = 1, /* name -> the child's userdata */
  MTL_FIELDS,       /* cam_layer, classes; for a script module its forward and plain values */
  MTL_USER_VALUES = MTL_FIELDS
};

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

bool mtl_is_script(const mt_module *m);
/* module 1 [name] = value 3, where name is neither a child nor a parameter yet. */
int mtl_assign_script(lua_State *L, mt_module *m, const char *name);
int mtl_script_module(lua_State *L); /* the constructor */
void mtl_open_script_module(lua_State *L);
/* Around a forward pass: forgets what an earlier one left / if a script's forward raised an error, raises it again. */
void mtl_forget_script_error(lua_State *L);
void mtl_raise_script_error(lua_State *L);

int mtl_module_tostring(lua_State *L);
int mtl_load_state_dict(lua_State *L); /* the method */

extern const luaL_Reg mtl_module_constructors[];
extern const luaL_Reg mtl_module_state_methods[];
extern const luaL_Reg mtl_module_clone_methods[];

#endif
