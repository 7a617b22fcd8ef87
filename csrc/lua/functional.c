/* Convolution, normalisation, pooling and padding as plain functions on tensors. */
#include "lua/windows.h"
#include "ops/batchnorm.h"
#include "ops/adaptive_pool.h"
#include "ops/conv2d_batchnorm.h"
#include "ops/group_norm.h"

#define MAX_EXTENT ((int64_t)1 << 30) /* of kernel, stride and padding */

/*** 2-d convolution (cross-correlation), images and weights with channels last.
@function conv2d
@tparam Tensor input {N,H,W,I} float32
@tparam Tensor weight {kH,kW,I/groups,O}
@tparam[opt] Tensor bias {O}
@tparam[opt] table options `stride`, `padding`, `dilation` and `groups` as for `nn.Conv2d`; `relu` (false): max(0, .)
@treturn Tensor {N,OH,OW,O}
@raise on shapes and dtypes that do not fit */
static int conv2d(lua_State *L) {
  static const char *const known[] = {MTL_CONV2D_OPTIONS, "relu", NULL};
  mt_tensor *input = mtl_check_tensor(L, 1), *weight = mtl_check_tensor(L, 2), *bias = mtl_opt_tensor(L, 3), *output;
  mt_conv2d_params p;
  mtl_check_options(L, 4, known);
  const bool same = mtl_option_conv2d(L, 4, MAX_EXTENT, &p);
  if (same && input->ndim == 4 && weight->ndim == 4) mt_conv2d_pad_same(&p, input->shape + 1, weight->shape);
  p.relu = mtl_option_boolean(L, 4, "relu", false);
  MTL_NEW(L, output, mt_conv2d(input, weight, bias, p));
  mtl_push_tensor(L, output);
  return 1;
}

static const char *const norm_options[] = {"training", "momentum", "eps", "relu", "residual", NULL};

static mt_batch_norm_params check_norm_options(lua_State *L, int arg) {
  return (mt_batch_norm_params){
      .training = mtl_option_boolean(L, arg, "training", false),
      .momentum = (float)mtl_option_number(L, arg, "momentum", 0.1, 0, 1),
      .eps = (float)mtl_option_number(L, arg, "eps", 1e-5, 0, 1),
      .relu = mtl_option_boolean(L, arg, "relu", false),
      .residual = mtl_option_tensor(L, arg, "residual"),
  };
}

/*** Batch normalisation over all axes but the last (Ioffe and Szegedy 2015).
@function batch_norm
@tparam Tensor input {...,C} float32
@tparam Tensor weight {C}
@tparam Tensor bias {C}
@tparam Tensor running_mean {C}, changed in place when training
@tparam Tensor running_var {C}, changed in place when training (unbiased variance)
@tparam[opt] table options `training` (false), `momentum` (0.1), `eps` (1e-5), `residual` (a tensor like input, added
to the result), `relu` (false; after the residual)
@treturn Tensor like input
@raise on shapes and dtypes that do not fit; when training with a single value per channel */
static int batch_norm(lua_State *L) {
  mt_tensor *t[5], *output;
  for (int i = 0; i < 5; i++) t[i] = mtl_check_tensor(L, i + 1);
  mtl_check_options(L, 6, norm_options);
  const mt_batch_norm_params p = check_norm_options(L, 6);
  for (int i = 3; i < 5 && p.training; i++) mtl_check_target(L, i + 1);
  MTL_NEW(L, output, mt_batch_norm(t[0], t[1], t[2], t[3], t[4], p));
  mtl_push_tensor(L, output);
  return 1;
}

/*** `batch_norm(conv2d(input, conv_weight, conv_bias, options), ...)` in one operation with fewer passes over memory.
@function conv2d_batch_norm
@tparam Tensor input {N,H,W,I} float32
@tparam Tensor conv_weight {kH,kW,I,O}
@tparam ?Tensor conv_bias {O} or nil
@tparam Tensor weight {O}
@tparam Tensor bias {O}
@tparam Tensor running_mean {O}
@tparam Tensor running_var {O}
@tparam[opt] table options `stride` (1) and `padding` (0): an integer or {height, width}; those of `batch_norm`
@treturn Tensor {N,OH,OW,O}
@raise as both do */
static int conv2d_batch_norm(lua_State *L) {
  static const char *const known[] = {"stride", "padding", "training", "momentum", "eps", "relu", "residual", NULL};
  mt_tensor *t[7], *output;
  for (int i = 0; i < 7; i++) t[i] = i == 2 ? mtl_opt_tensor(L, i + 1) : mtl_check_tensor(L, i + 1);
  mt_conv2d_params conv = {.relu = false};
  mtl_check_options(L, 8, known);
  mtl_option_pair(L, 8, "stride", 1, 1, MAX_EXTENT, conv.stride);
  mtl_option_pair(L, 8, "padding", 0, 0, MAX_EXTENT, conv.padding);
  const mt_batch_norm_params norm = check_norm_options(L, 8);
  for (int i = 5; i < 7 && norm.training; i++) mtl_check_target(L, i + 1);
  MTL_NEW(L, output, mt_conv2d_batch_norm(t[0], t[1], t[2], conv, t[3], t[4], t[5], t[6], norm));
  mtl_push_tensor(L, output);
  return 1;
}

/*** Normalisation of each sample's groups of channels (Wu and He 2018).
@function group_norm
@tparam Tensor input {N,...,C} float32
@tparam integer groups divides C
@tparam ?Tensor weight {C} or nil
@tparam ?Tensor bias {C} or nil
@tparam[opt] table options `eps` (1e-5)
@treturn Tensor like input
@raise on shapes and dtypes that do not fit */
static int group_norm(lua_State *L) {
  static const char *const known[] = {"eps", NULL};
  mt_tensor *input = mtl_check_tensor(L, 1), *output;
  const int64_t groups = mtl_check_integer(L, 2, 1, INT32_MAX);
  mt_tensor *weight = mtl_opt_tensor(L, 3), *bias = mtl_opt_tensor(L, 4);
  mtl_check_options(L, 5, known);
  const double eps = mtl_option_number(L, 5, "eps", 1e-5, 0.0, 1.0);
  MTL_NEW(L, output, mt_group_norm(input, groups, weight, bias, eps));
  mtl_push_tensor(L, output);
  return 1;
}

/*** Normalisation of each channel of each sample (Ulyanov et al. 2016).
@function instance_norm
@tparam Tensor input {N,...,C} float32, more than one position in `...`
@tparam[opt] Tensor weight {C}
@tparam[opt] Tensor bias {C}
@tparam[opt] table options `eps` (1e-5)
@treturn Tensor like input
@raise on shapes and dtypes that do not fit */
static int instance_norm(lua_State *L) {
  static const char *const known[] = {"eps", NULL};
  mt_tensor *input = mtl_check_tensor(L, 1), *weight = mtl_opt_tensor(L, 2), *bias = mtl_opt_tensor(L, 3), *output;
  mtl_check_options(L, 4, known);
  const double eps = mtl_option_number(L, 4, "eps", 1e-5, 0.0, 1.0);
  MTL_NEW(L, output, mt_instance_norm(input, weight, bias, eps));
  mtl_push_tensor(L, output);
  return 1;
}

/*** Normalisation over the last axes (Ba et al. 2016).
@function layer_norm
@tparam Tensor input {...,shape} float32
@tparam integer|table shape the lengths of these axes
@tparam ?Tensor weight of that shape, or nil
@tparam ?Tensor bias of that shape, or nil
@tparam[opt] table options `eps` (1e-5)
@treturn Tensor like input
@raise on shapes and dtypes that do not fit */
static int layer_norm(lua_State *L) {
  static const char *const known[] = {"eps", NULL};
  mt_tensor *input = mtl_check_tensor(L, 1), *output;
  int64_t shape[MT_MAX_DIMS];
  const int ndim = mtl_check_shape(L, 2, shape);
  if (ndim == 0) luaL_argerror(L, 2, "one size or more expected");
  mt_tensor *weight = mtl_opt_tensor(L, 3), *bias = mtl_opt_tensor(L, 4);
  mtl_check_options(L, 5, known);
  const double eps = mtl_option_number(L, 5, "eps", 1e-5, 0.0, 1.0);
  MTL_NEW(L, output, mt_layer_norm(input, ndim, shape, weight, bias, eps));
  mtl_push_tensor(L, output);
  return 1;
}

/* ---- pooling and padding ---- */

static mt_pool2d_params check_pool2d(lua_State *L, bool maximum) {
  static const char *const known[2][6] = {{"kernel", MTL_POOL2D_OPTIONS, "count_include_pad", NULL},
                                          {"kernel", MTL_POOL2D_OPTIONS, "dilation", NULL}};
  mt_pool2d_params p = {.ceil_mode = false};
  mtl_check_options(L, 2, known[maximum]);
  mtl_option_pair(L, 2, "kernel", 2, 1, MAX_EXTENT, p.kernel);
  mtl_option_pool2d(L, 2, MAX_EXTENT, maximum, &p);
  return p;
}

/*** The largest value of each window; a NaN in a window wins.
@function max_pool2d
@tparam Tensor input {N,H,W,C} float32
@tparam[opt] table options `kernel` (2), `stride` (the kernel), `padding` (0, at most half the kernel), `dilation` (1):
an integer or {height, width}; `ceil_mode` (false): windows that reach beyond the image count too
@treturn Tensor {N,OH,OW,C}
@raise on shapes and dtypes that do not fit */
static int max_pool2d(lua_State *L) {
  mt_tensor *input = mtl_check_tensor(L, 1), *output;
  const mt_pool2d_params p = check_pool2d(L, true);
  MTL_NEW(L, output, mt_max_pool2d(input, &p));
  mtl_push_tensor(L, output);
  return 1;
}

/*** The mean of each window.
@function avg_pool2d
@tparam Tensor input {N,H,W,C} float32
@tparam[opt] table options `kernel` (2), `stride` (the kernel), `padding` (0, at most half the kernel): an integer or
{height, width}; `ceil_mode` (false) as for `max_pool2d`; `count_include_pad` (true): padding counts as zeros
@treturn Tensor {N,OH,OW,C}
@raise on shapes and dtypes that do not fit */
static int avg_pool2d(lua_State *L) {
  mt_tensor *input = mtl_check_tensor(L, 1), *output;
  const mt_pool2d_params p = check_pool2d(L, false);
  MTL_NEW(L, output, mt_avg_pool2d(input, &p));
  mtl_push_tensor(L, output);
  return 1;
}

/*** The mean of every channel of every image.
@function global_avg_pool
@tparam Tensor input {N,H,W,C} float32
@treturn Tensor {N,C}
@raise on a wrong dtype or number of axes, and on images without pixels */
static int global_avg_pool(lua_State *L) {
  mt_tensor *input = mtl_check_tensor(L, 1), *output;
  MTL_NEW(L, output, mt_global_avg_pool(input));
  mtl_push_tensor(L, output);
  return 1;
}

static int adaptive_pool2d(lua_State *L, mt_tensor *(*run)(mt_tensor *input, const int64_t size[2])) {
  mt_tensor *input = mtl_check_tensor(L, 1), *output;
  int64_t size[2];
  mtl_check_pool_size(L, 2, MAX_EXTENT, size);
  MTL_NEW(L, output, run(input, size));
  mtl_push_tensor(L, output);
  return 1;
}

/*** Means over as many windows as the output has pixels, as PyTorch cuts them.
@function adaptive_avg_pool2d
@tparam Tensor input {N,H,W,C} float32
@tparam integer|table size of the output, or {height, width}; "input" for a size keeps the input's
@treturn Tensor {N,height,width,C}
@raise on shapes and dtypes that do not fit */
static int adaptive_avg_pool2d(lua_State *L) { return adaptive_pool2d(L, mt_adaptive_avg_pool2d); }

/*** The largest values of these windows; a NaN in a window wins.
@function adaptive_max_pool2d
@tparam Tensor input {N,H,W,C} float32
@tparam integer|table size as for `adaptive_avg_pool2d`
@treturn Tensor {N,height,width,C}
@raise on shapes and dtypes that do not fit */
static int adaptive_max_pool2d(lua_State *L) { return adaptive_pool2d(L, mt_adaptive_max_pool2d); }

/*** Zeros around images.
@function zero_pad2d
@tparam Tensor input {N,H,W,C} float32
@tparam integer|table padding as for `nn.ZeroPad2d`
@treturn Tensor {N,top+H+bottom,left+W+right,C}
@raise on shapes and dtypes that do not fit */
static int zero_pad2d(lua_State *L) {
  mt_tensor *input = mtl_check_tensor(L, 1), *output;
  const mt_sides sides = mtl_check_zero_pad(L, 2, MAX_EXTENT);
  MTL_NEW(L, output, mt_zero_pad2d(input, sides));
  mtl_push_tensor(L, output);
  return 1;
}

static const luaL_Reg functions[] = {
    {"conv2d", conv2d},
    {"batch_norm", batch_norm},
    {"conv2d_batch_norm", conv2d_batch_norm},
    {"max_pool2d", max_pool2d},
    {"avg_pool2d", avg_pool2d},
    {"global_avg_pool", global_avg_pool},
    {"group_norm", group_norm},
    {"instance_norm", instance_norm},
    {"layer_norm", layer_norm},
    {"adaptive_avg_pool2d", adaptive_avg_pool2d},
    {"adaptive_max_pool2d", adaptive_max_pool2d},
    {"zero_pad2d", zero_pad2d},
    {NULL, NULL},
};

void mtl_open_functional(lua_State *L) { luaL_setfuncs(L, functions, 0); }
