/* mt.nn.*: activations. */
#include "lua/module.h"
#include "nn/layers.h"

/*** max(0, x).
@function nn.ReLU
@treturn Module */
static int relu(lua_State *L) { return mtl_plain_layer(L, mt_relu_new); }

/*** min(max(0, x), 6).
@function nn.ReLU6
@treturn Module */
static int relu6(lua_State *L) { return mtl_plain_layer(L, mt_relu6_new); }

/*** 1 / (1 + exp(-x)).
@function nn.Sigmoid
@treturn Module */
static int sigmoid(lua_State *L) { return mtl_plain_layer(L, mt_sigmoid_new); }

/*** Hyperbolic tangent.
@function nn.Tanh
@treturn Module */
static int hyperbolic_tangent(lua_State *L) { return mtl_plain_layer(L, mt_tanh_new); }

/*** The sigmoid linear unit or swish, x / (1 + exp(-x)).
@function nn.SiLU
@treturn Module */
static int silu(lua_State *L) { return mtl_plain_layer(L, mt_silu_new); }

/*** The Gaussian error linear unit.
@function nn.GELU
@tparam[opt] table options `approximate` ("none"; "tanh")
@treturn Module */
static int gelu(lua_State *L) {
  static const char *const known[] = {"approximate", NULL};
  static const char *const ways[] = {"none", "tanh", NULL};
  mt_module *m;
  mtl_check_options(L, 1, known);
  const bool by_tanh = mtl_option_choice(L, 1, "approximate", 0, ways) == 1;
  MTL_NEW(L, m, mt_gelu_new(by_tanh));
  return mtl_return_module(L, m);
}

/*** log(1 + exp(beta x)) / beta, a smooth ReLU.
@function nn.Softplus
@tparam[opt] table options `beta` (1), `threshold` (20: where beta x is above it, the result is x)
@treturn Module */
static int softplus(lua_State *L) {
  static const char *const known[] = {"beta", "threshold", NULL};
  mt_module *m;
  mtl_check_options(L, 1, known);
  const double beta = mtl_option_number(L, 1, "beta", 1.0, 1e-30, 1e30);
  const double threshold = mtl_option_number(L, 1, "threshold", 20.0, -1e30, 1e30);
  MTL_NEW(L, m, mt_softplus_new(beta, threshold));
  return mtl_return_module(L, m);
}

/*** x where it is positive, else slope * x.
@function nn.LeakyReLU
@tparam[opt=0.01] number slope
@treturn Module */
static int leaky_relu(lua_State *L) {
  const double slope = lua_isnoneornil(L, 1) ? 0.01 : mtl_check_number(L, 1);
  mt_module *m;
  MTL_NEW(L, m, mt_leaky_relu_new(slope));
  return mtl_return_module(L, m);
}

static int over_axis(lua_State *L, mt_module *(*make)(int axis)) {
  const int64_t axis = lua_isnoneornil(L, 1) ? -1 : mtl_check_integer(L, 1, -MT_MAX_DIMS, MT_MAX_DIMS);
  if (axis == 0) luaL_argerror(L, 1, "axis 1, 2, ... or -1, -2, ... expected, got 0");
  mt_module *m;
  MTL_NEW(L, m, make((int)axis));
  return mtl_return_module(L, m);
}

/*** Numbers >= 0 that sum to 1 along an axis.
@function nn.Softmax
@tparam[opt=-1] integer axis
@treturn Module */
static int softmax(lua_State *L) { return over_axis(L, mt_softmax_new); }

/*** The logarithm of Softmax.
@function nn.LogSoftmax
@tparam[opt=-1] integer axis
@treturn Module */
static int log_softmax(lua_State *L) { return over_axis(L, mt_log_softmax_new); }

const luaL_Reg mtl_module_activations[] = {
    {"ReLU", relu}, {"ReLU6", relu6}, {"LeakyReLU", leaky_relu}, {"Sigmoid", sigmoid}, {"Tanh", hyperbolic_tangent},
    {"GELU", gelu}, {"SiLU", silu},   {"Softplus", softplus},    {"Softmax", softmax}, {"LogSoftmax", log_softmax},
    {NULL, NULL},
};
