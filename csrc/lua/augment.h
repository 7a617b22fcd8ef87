/* Lists of augmentation steps as arguments. */
#ifndef MT_LUA_AUGMENT_H
#define MT_LUA_AUGMENT_H

#include "image/augment.h"
#include "lua/binding.h"

/* The list of {kind, option = value, ...} at arg, as the core has it; in a userdata that is left on the stack. */
const mt_augmentation *mtl_check_steps(lua_State *L, int arg, int *count);

#endif
