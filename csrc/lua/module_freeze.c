/* Parts of a net that are not trained: requires_grad, freeze, unfreeze. */
#include "lua/module.h"

/*** Whether gradients of this module's parameters, and of all below it, are wanted. Without them, forward and backward
passes neither record nor compute anything for these parameters, and optimisers leave them alone; normalisations still
follow `train` and `eval`, and in training move their running statistics (`freeze` stops that too).
@function Module:requires_grad
@tparam[opt] boolean wanted sets it; false also drops the gradients that are there
@treturn boolean|Module without an argument, whether any parameter requires gradients; with one, the module itself */
static int requires_grad(lua_State *L) {
  mt_module *m = mtl_check_tree(L, 1);
  if (lua_isnoneornil(L, 2)) {
    lua_pushboolean(L, mt_module_requires_grad(m));
    return 1;
  }
  mt_module_require_grad(m, mtl_check_boolean(L, 2));
  lua_settop(L, 1);
  return 1;
}

/*** Takes the module, and all below it, out of training: `requires_grad(false)`, and it runs as in evaluation even
where `train` is called on it or on a net that it stands in, so that batch normalisation keeps its running statistics
and dropout lets everything through. A frozen front of a net costs no more than in evaluation. What is put into a frozen
container later is not frozen.
@function Module:freeze
@treturn Module itself
@usage model:freeze()
model.fc:unfreeze()  -- trains the last layer only */
static int freeze(lua_State *L) {
  mt_module_freeze(mtl_check_tree(L, 1), true);
  lua_settop(L, 1);
  return 1;
}

/*** Undoes `freeze` for the module and all below it: its parameters require gradients, and it runs as the last `train`
or `eval` that reached it said.
@function Module:unfreeze
@treturn Module itself */
static int unfreeze(lua_State *L) {
  mt_module_freeze(mtl_check_tree(L, 1), false);
  lua_settop(L, 1);
  return 1;
}

/*** Whether `freeze` holds for this very module.
@function Module:is_frozen
@treturn boolean */
static int is_frozen(lua_State *L) {
  lua_pushboolean(L, mtl_check_module(L, 1)->frozen);
  return 1;
}

const luaL_Reg mtl_module_freeze_methods[] = {{"requires_grad", requires_grad},
                                              {"freeze", freeze},
                                              {"unfreeze", unfreeze},
                                              {"is_frozen", is_frozen},
                                              {NULL, NULL}};
