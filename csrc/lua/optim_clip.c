/* mt.optim.clip_grad_norm, clip_grad_value. */
#include "lua/optim.h"

#include <math.h>

#include "optim/clip.h"

static mt_tensor **check_params(lua_State *L, const char *function, int *count) {
  luaL_checktype(L, 1, LUA_TTABLE);
  mt_tensor **params = mtl_check_tensor_list(L, 1, "parameters", count);
  MTL_DO(L, mt_expect_distinct(params, *count, function, "parameters"));
  return params;
}

/* A number >= 0, infinity included. */
static double check_limit(lua_State *L, const char *name) {
  const double limit = mtl_check_number(L, 2);
  if (!(limit >= 0.0)) luaL_argerror(L, 2, lua_pushfstring(L, "%s >= 0 expected, got %f", name, limit));
  return limit;
}

static double option_norm_type(lua_State *L) {
  if (!mtl_has_option(L, 3, "norm_type")) return 2.0;
  lua_getfield(L, 3, "norm_type");
  const double power = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || !(power > 0.0)) mtl_option_error(L, 3, "norm_type", "number > 0 or math.huge");
  lua_pop(L, 1);
  return power;
}

/* param: the first whose gradient is not finite; -1: all are, it is the norm that overflows. */
static int raise_nonfinite(lua_State *L, double norm, int param) {
  if (param < 0) return luaL_error(L, "clip_grad_norm: the norm is %f (no gradient was changed)", norm);
  return luaL_error(L,
                    "clip_grad_norm: the norm is %f: the gradient of parameters[%d] is not finite (no gradient was "
                    "changed)",
                    norm, param + 1);
}

/*** Scales the gradients so that their norm, taken over all of them as one vector, is at most `max_norm`: PyTorch's
`clip_grad_norm_`. Where it is larger, all are multiplied by `max_norm / (norm + 1e-6)`. To be called between
`backward` and `step`; the sums are in double precision and the same at every number of threads.
@function optim.clip_grad_norm
@tparam table parameters tensors, each once; frozen ones and those without a gradient are left out
@tparam number max_norm >= 0; `math.huge` only measures
@tparam[opt] table options `norm_type` (2): p of the norm, `math.huge` for the largest value; `error_if_nonfinite`
(true)
@treturn number the norm before clipping; 0 where there is no gradient
@raise when the norm is NaN or infinite: names the first parameter whose gradient is not finite, and changes nothing.
With `error_if_nonfinite = false` it is returned, and the gradients are multiplied as PyTorch does by default: all
become NaN after a NaN, and 0 (or NaN, where infinite) after an infinity. */
static int clip_grad_norm(lua_State *L) {
  static const char *const known[] = {"norm_type", "error_if_nonfinite", NULL};
  const double max_norm = check_limit(L, "max_norm");
  mtl_check_options(L, 3, known);
  const double norm_type = option_norm_type(L);
  const bool strict = mtl_option_boolean(L, 3, "error_if_nonfinite", true);
  int count;
  double norm;
  mt_tensor **params = check_params(L, "clip_grad_norm", &count);
  MTL_DO(L, mt_grad_norm(params, count, norm_type, &norm));
  if (strict && !isfinite(norm)) return raise_nonfinite(L, norm, mt_first_nonfinite_grad(params, count));
  mt_scale_grads(params, count, max_norm, norm);
  lua_pushnumber(L, norm);
  return 1;
}

/*** Brings every value of the gradients into [-limit, limit]: PyTorch's `clip_grad_value_`. NaN stays NaN.
@function optim.clip_grad_value
@tparam table parameters tensors, each once; frozen ones and those without a gradient are left out
@tparam number limit >= 0 */
static int clip_grad_value(lua_State *L) {
  const double limit = check_limit(L, "limit");
  int count;
  mt_tensor **params = check_params(L, "clip_grad_value", &count);
  mt_clip_grad_value(params, count, limit);
  return 0;
}

const luaL_Reg mtl_clip_functions[] = {
    {"clip_grad_norm", clip_grad_norm}, {"clip_grad_value", clip_grad_value}, {NULL, NULL}};
