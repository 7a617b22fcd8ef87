/* Activation functions, each a method of tensors and a function of the module. */
#include "lua/tensor.h"
#include "ops/activation.h"

static int push(lua_State *L, mt_tensor *result) {
  mtl_push_tensor(L, result);
  return 1;
}

/*** 1 / (1 + exp(-x)). Like every function of this list also `mt.sigmoid(t)`.
@function Tensor:sigmoid
@treturn Tensor float32 */
static int sigmoid(lua_State *L) { return mtl_apply_unary(L, mt_sigmoid); }

/*** Hyperbolic tangent.
@function Tensor:tanh
@treturn Tensor float32 */
static int hyperbolic_tangent(lua_State *L) { return mtl_apply_unary(L, mt_tanh); }

/*** The Gaussian error linear unit (Hendrycks and Gimpel 2016): x times the normal distribution's share below x.
@function Tensor:gelu
@tparam[opt] table options `approximate` ("none"; "tanh": 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))))
@treturn Tensor float32 */
static int gelu(lua_State *L) {
  static const char *const known[] = {"approximate", NULL};
  static const char *const ways[] = {"none", "tanh", NULL};
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  mtl_check_options(L, 2, known);
  const bool by_tanh = mtl_option_choice(L, 2, "approximate", 0, ways) == 1;
  MTL_NEW(L, result, mt_gelu(t, by_tanh));
  return push(L, result);
}

/*** The sigmoid linear unit or swish (Elfwing et al. 2017): x / (1 + exp(-x)).
@function Tensor:silu
@treturn Tensor float32 */
static int silu(lua_State *L) { return mtl_apply_unary(L, mt_silu); }

/*** log(1 + exp(beta x)) / beta, a smooth relu.
@function Tensor:softplus
@tparam[opt] table options `beta` (1), `threshold` (20: where beta x is above it, the result is x)
@treturn Tensor float32 */
static int softplus(lua_State *L) {
  static const char *const known[] = {"beta", "threshold", NULL};
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  mtl_check_options(L, 2, known);
  const double beta = mtl_option_number(L, 2, "beta", 1.0, 1e-30, 1e30);
  const double threshold = mtl_option_number(L, 2, "threshold", 20.0, -1e30, 1e30);
  MTL_NEW(L, result, mt_softplus(t, beta, threshold));
  return push(L, result);
}

/*** x where it is positive, else slope x.
@function Tensor:leaky_relu
@tparam[opt=0.01] number slope
@treturn Tensor float32 */
static int leaky_relu(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const double slope = lua_isnoneornil(L, 2) ? 0.01 : mtl_check_number(L, 2);
  MTL_NEW(L, result, mt_leaky_relu(t, slope));
  return push(L, result);
}

/*** min(max(0, x), 6).
@function Tensor:relu6
@treturn Tensor of the same type */
static int relu6(lua_State *L) { return mtl_apply_unary(L, mt_relu6); }

const luaL_Reg mtl_tensor_activations[] = {
    {"sigmoid", sigmoid},   {"tanh", hyperbolic_tangent}, {"gelu", gelu},   {"silu", silu},
    {"softplus", softplus}, {"leaky_relu", leaky_relu},   {"relu6", relu6}, {NULL, NULL},
};
