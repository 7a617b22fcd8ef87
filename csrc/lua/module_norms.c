/* mt.nn.*: normalisation layers. */
#include "lua/module.h"
#include "nn/layers.h"

static int batch_norm(lua_State *L, mt_module *(*make)(int64_t channels, double eps, double momentum)) {
  static const char *const known[] = {"eps", "momentum", NULL};
  const int64_t channels = mtl_check_integer(L, 1, 1, MTL_MAX_SIZE);
  mtl_check_options(L, 2, known);
  const double eps = mtl_option_number(L, 2, "eps", 1e-5, 0.0, 1.0);
  const double momentum = mtl_option_number(L, 2, "momentum", 0.1, 0.0, 1.0);
  mt_module *m;
  MTL_NEW(L, m, make(channels, eps, momentum));
  return mtl_return_module(L, m);
}

/*** Batch normalisation of {N,C}.
@function nn.BatchNorm1d
@tparam integer channels
@tparam[opt] table options `eps` (1e-5), `momentum` (0.1)
@treturn Module */
static int batch_norm1d(lua_State *L) { return batch_norm(L, mt_batch_norm1d_new); }

/*** Batch normalisation of {N,H,W,C}.
@function nn.BatchNorm2d
@tparam integer channels
@tparam[opt] table options `eps` (1e-5), `momentum` (0.1)
@treturn Module */
static int batch_norm2d(lua_State *L) { return batch_norm(L, mt_batch_norm2d_new); }

/*** Normalisation over the last axes (Ba et al. 2016), {...,shape}. Over the channels of images it is `LayerNorm(C)`.
The weights of three axes {H,W,C} are kept in files as C,H,W, as PyTorch has them for N,C,H,W; others are the same
there.
@function nn.LayerNorm
@tparam integer|table shape the lengths of these axes
@tparam[opt] table options `eps` (1e-5), `elementwise_affine` (true): with a weight and a bias, `bias` (true)
@treturn Module */
static int layer_norm(lua_State *L) {
  static const char *const known[] = {"eps", "elementwise_affine", "bias", NULL};
  int64_t shape[MT_MAX_DIMS] = {lua_istable(L, 1) ? 0 : mtl_check_integer(L, 1, 1, MTL_MAX_SIZE)};
  const int ndim = lua_istable(L, 1) ? mtl_check_shape(L, 1, shape) : 1;
  if (ndim == 0) luaL_argerror(L, 1, "one size or more expected");
  mtl_check_options(L, 2, known);
  const double eps = mtl_option_number(L, 2, "eps", 1e-5, 0.0, 1.0);
  const bool affine = mtl_option_boolean(L, 2, "elementwise_affine", true);
  const bool bias = mtl_option_boolean(L, 2, "bias", true);
  mt_module *m;
  MTL_NEW(L, m, mt_layer_norm_new(ndim, shape, eps, affine, affine && bias));
  return mtl_return_module(L, m);
}

/*** Normalisation of each sample's groups of channels (Wu and He 2018), {N,...,C}.
@function nn.GroupNorm
@tparam integer groups
@tparam integer channels
@tparam[opt] table options `eps` (1e-5), `affine` (true): with a weight and a bias for each channel
@treturn Module */
static int group_norm(lua_State *L) {
  static const char *const known[] = {"eps", "affine", NULL};
  const int64_t groups = mtl_check_integer(L, 1, 1, MTL_MAX_SIZE), channels = mtl_check_integer(L, 2, 1, MTL_MAX_SIZE);
  mtl_check_options(L, 3, known);
  const double eps = mtl_option_number(L, 3, "eps", 1e-5, 0.0, 1.0);
  const bool affine = mtl_option_boolean(L, 3, "affine", true);
  mt_module *m;
  MTL_NEW(L, m, mt_group_norm_new(groups, channels, eps, affine));
  return mtl_return_module(L, m);
}

/*** Normalisation of each channel of each image (Ulyanov et al. 2016), {N,H,W,C}.
@function nn.InstanceNorm2d
@tparam integer channels
@tparam[opt] table options `eps` (1e-5), `affine` (false): with a weight and a bias for each channel,
`track_running_stats` (false): evaluation uses running statistics, which move by `momentum` (0.1) in training
@treturn Module */
static int instance_norm2d(lua_State *L) {
  static const char *const known[] = {"eps", "momentum", "affine", "track_running_stats", NULL};
  const int64_t channels = mtl_check_integer(L, 1, 1, MTL_MAX_SIZE);
  mtl_check_options(L, 2, known);
  const double eps = mtl_option_number(L, 2, "eps", 1e-5, 0.0, 1.0);
  const double momentum = mtl_option_number(L, 2, "momentum", 0.1, 0.0, 1.0);
  const bool affine = mtl_option_boolean(L, 2, "affine", false);
  const bool tracks = mtl_option_boolean(L, 2, "track_running_stats", false);
  mt_module *m;
  MTL_NEW(L, m, mt_instance_norm2d_new(channels, eps, momentum, affine, tracks));
  return mtl_return_module(L, m);
}

const luaL_Reg mtl_module_norms[] = {
    {"BatchNorm1d", batch_norm1d}, {"BatchNorm2d", batch_norm2d},       {"LayerNorm", layer_norm},
    {"GroupNorm", group_norm},     {"InstanceNorm2d", instance_norm2d}, {NULL, NULL},
};
