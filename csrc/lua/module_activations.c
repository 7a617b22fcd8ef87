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
    {"ReLU", relu}, {"ReLU6", relu6}, {"LeakyReLU", leaky_relu}, {"Softmax", softmax}, {"LogSoftmax", log_softmax},
    {NULL, NULL},
};
