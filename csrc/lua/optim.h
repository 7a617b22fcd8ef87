/* The parts of the optimiser binding. optim.c: construction, the step, rates; optim_state.c: state dicts;
 * optim_clip.c: clipping of gradients. */
#ifndef MT_LUA_OPTIM_H
#define MT_LUA_OPTIM_H

#include "lua/binding.h"
#include "optim/optimizer.h"

#define MTL_LARGEST_RATE 1e30

mt_optimizer *mtl_check_optimizer(lua_State *L, int arg);

/* The tensors of the list at stack index `list`, inside argument 1; a buffer and what keeps the tensors alive are left
 * on the stack. `where` is what messages call the list. */
mt_tensor **mtl_check_tensor_list(lua_State *L, int list, const char *where, int *count);

extern const luaL_Reg mtl_optimizer_state_methods[];
extern const luaL_Reg mtl_clip_functions[];

#endif
