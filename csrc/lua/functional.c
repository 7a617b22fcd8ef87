/* Convolution, batch norm and pooling as plain functions on tensors. */
#include "lua/binding.h"
#include "ops/batchnorm.h"
#include "ops/conv2d.h"
#include "ops/conv2d_batchnorm.h"
#include "ops/pool.h"

#define MAX_EXTENT ((int64_t)1 << 30) /* of kernel, stride and padding */

/*** 2-d convolution (cross-correlation), images and weights with channels last.
@function conv2d
@tparam Tensor input {N,H,W,I} float32
@tparam Tensor weight {kH,kW,I,O}
@tparam[opt] Tensor bias {O}
@tparam[opt] table options `stride` (1) and `padding` (0): an integer or {height, width}; `relu` (false): max(0, .)
@treturn Tensor {N,OH,OW,O}
@raise on shapes and dtypes that do not fit */
static int conv2d(lua_State *L) {
  static const char *const known[] = {"stride", "padding", "relu", NULL};
  mt_tensor *input = mtl_check_tensor(L, 1), *weight = mtl_check_tensor(L, 2), *bias = mtl_opt_tensor(L, 3), *output;
  mt_conv2d_params p;
  mtl_check_options(L, 4, known);
  mtl_option_pair(L, 4, "stride", 1, 1, MAX_EXTENT, p.stride);
  mtl_option_pair(L, 4, "padding", 0, 0, MAX_EXTENT, p.padding);
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
@tparam[opt] table options those of `conv2d` but for `relu`, and those of `batch_norm`
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

/* ---- pooling ---- */

typedef mt_tensor *pool_function(mt_tensor *input, const int64_t kernel[2], const int64_t stride[2],
                                 const int64_t padding[2]);

static int pool(lua_State *L, pool_function *run) {
  static const char *const known[] = {"kernel", "stride", "padding", NULL};
  mt_tensor *input = mtl_check_tensor(L, 1), *output;
  int64_t kernel[2], stride[2], padding[2];
  mtl_check_options(L, 2, known);
  mtl_option_pair(L, 2, "kernel", 2, 1, MAX_EXTENT, kernel);
  mtl_option_pair(L, 2, "stride", 1, 1, MAX_EXTENT, stride);
  mtl_option_pair(L, 2, "padding", 0, 0, MAX_EXTENT, padding);
  for (int i = 0; i < 2 && !mtl_has_option(L, 2, "stride"); i++) stride[i] = kernel[i];
  MTL_NEW(L, output, run(input, kernel, stride, padding));
  mtl_push_tensor(L, output);
  return 1;
}

/*** The largest value of each window; a NaN in a window wins.
@function max_pool2d
@tparam Tensor input {N,H,W,C} float32
@tparam[opt] table options `kernel` (2), `stride` (the kernel), `padding` (0, at most half the kernel): an integer or
{height, width}
@treturn Tensor {N,OH,OW,C}
@raise on shapes and dtypes that do not fit */
static int max_pool2d(lua_State *L) { return pool(L, mt_max_pool2d); }

/*** The mean of each window, padding counted as zeros.
@function avg_pool2d
@tparam Tensor input {N,H,W,C} float32
@tparam[opt] table options as for `max_pool2d`
@treturn Tensor {N,OH,OW,C}
@raise on shapes and dtypes that do not fit */
static int avg_pool2d(lua_State *L) { return pool(L, mt_avg_pool2d); }

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

static const luaL_Reg functions[] = {
    {"conv2d", conv2d},
    {"batch_norm", batch_norm},
    {"conv2d_batch_norm", conv2d_batch_norm},
    {"max_pool2d", max_pool2d},
    {"avg_pool2d", avg_pool2d},
    {"global_avg_pool", global_avg_pool},
    {NULL, NULL},
};

void mtl_open_functional(lua_State *L) { luaL_setfuncs(L, functions, 0); }
