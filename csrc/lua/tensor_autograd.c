/* Gradients as scripts see them: requires_grad, grad, backward, detach, no_grad. */
#include "autograd/tape.h"
#include "lua/tensor.h"

/*** Whether gradients are wanted for this tensor; with an argument, sets it and returns the tensor.
Only float32 tensors can, and only a tensor that no operation made can be changed.
@function Tensor:requires_grad
@tparam[opt] boolean wanted
@treturn boolean|Tensor */
static int requires_grad(lua_State *L) {
  mt_tensor *t = mtl_check_tensor(L, 1);
  if (lua_isnoneornil(L, 2)) {
    lua_pushboolean(L, t->requires_grad);
    return 1;
  }
  const bool wanted = mtl_check_boolean(L, 2);
  if (t->node) return luaL_error(L, "requires_grad: the tensor is the result of %s; use detach()", t->node->op->name);
  if (wanted && t->dtype != MT_FLOAT32)
    return luaL_error(L, "requires_grad: the tensor is %s, expected float32", mt_dtype_name(t->dtype));
  t->requires_grad = wanted;
  lua_settop(L, 1);
  return 1;
}

/*** The gradient that backward() gathered, or nil. It is the tensor itself, not a copy.
@function Tensor:grad
@treturn ?Tensor */
static int grad(lua_State *L) {
  const mt_tensor *t = mtl_check_tensor(L, 1);
  if (t->grad)
    mtl_push_tensor(L, mt_retain(t->grad));
  else
    lua_pushnil(L);
  return 1;
}

/*** Forgets the gradient.
@function Tensor:zero_grad
@treturn Tensor itself */
static int zero_grad(lua_State *L) {
  mt_tensor *t = mtl_check_tensor(L, 1);
  mt_release(t->grad);
  t->grad = NULL;
  lua_settop(L, 1);
  return 1;
}

/*** Adds d self / d leaf to the gradient of every leaf this tensor was computed from. The graph is freed.
@function Tensor:backward
@tparam[opt] Tensor gradient of self's shape; may be left out for one element (then it is 1) */
static int backward(lua_State *L) {
  mt_tensor *t = mtl_check_tensor(L, 1), *gradient = mtl_opt_tensor(L, 2);
  if (mt_backward(t, gradient) < 0) mtl_raise(L);
  return 0;
}

/*** The same values (and storage) without history.
@function Tensor:detach
@treturn Tensor */
static int detach(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  MTL_NEW(L, result, mt_tensor_detach(t));
  mtl_push_tensor(L, result);
  return 1;
}

/* f(...) in a gradient mode; afterwards the mode is what it was. */
static int call_in_mode(lua_State *L, mt_grad_mode wanted) {
  luaL_checkany(L, 1);
  const mt_grad_mode mode = mt_grad_mode_get();
  mt_grad_mode_set(wanted);
  const int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  mt_grad_mode_set(mode);
  return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

/*** Calls f(...) without recording anything for backward; returns what it returns, passes its errors on.
@function no_grad
@tparam function f
@param ... its arguments
@return its results */
static int no_grad(lua_State *L) { return call_in_mode(L, MT_GRAD_OFF); }

/*** Calls f(...) with operations recorded for backward, also inside no_grad.
@function enable_grad
@tparam function f
@param ... its arguments
@return its results */
static int enable_grad(lua_State *L) { return call_in_mode(L, MT_GRAD_ON); }

/*** Whether operations are recorded here (not inside no_grad).
@function is_grad_enabled
@treturn boolean */
static int is_grad_enabled(lua_State *L) {
  lua_pushboolean(L, mt_grad_mode_get() != MT_GRAD_OFF);
  return 1;
}

const luaL_Reg mtl_tensor_autograd_functions[] = {
    {"no_grad", no_grad}, {"enable_grad", enable_grad}, {"is_grad_enabled", is_grad_enabled}, {NULL, NULL}};

const luaL_Reg mtl_tensor_autograd_methods[] = {
    {"requires_grad", requires_grad}, {"grad", grad},     {"zero_grad", zero_grad},
    {"backward", backward},           {"detach", detach}, {NULL, NULL},
};
