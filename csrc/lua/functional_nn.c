/* The operations behind fully connected layers and embeddings, and linear least squares, as functions on tensors. */
#include <float.h>

#include "lua/binding.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/flatten.h"
#include "ops/linear.h"
#include "ops/lstsq.h"

/*** `input` times the transpose of `weight`, plus `bias`.
@function linear
@tparam Tensor input {...,I}
@tparam Tensor weight {O,I}
@tparam[opt] Tensor bias {O}
@treturn Tensor {...,O} */
static int linear(lua_State *L) {
  mt_tensor *input = mtl_check_tensor(L, 1), *weight = mtl_check_tensor(L, 2), *bias = mtl_opt_tensor(L, 3), *y;
  MTL_NEW(L, y, mt_linear(input, weight, bias));
  mtl_push_tensor(L, y);
  return 1;
}

/*** Images to rows, channels first within a row, as PyTorch flattens N,C,H,W.
@function flatten
@tparam Tensor input {N,...,C}
@treturn Tensor {N,C*...} */
static int flatten(lua_State *L) {
  mt_tensor *input = mtl_check_tensor(L, 1), *y;
  MTL_NEW(L, y, mt_flatten(input));
  mtl_push_tensor(L, y);
  return 1;
}

/*** Zeroes each element with probability `p` and divides the others by 1 - p.
@function dropout
@tparam Tensor input any shape
@tparam number p 0 to 1
@tparam[opt] table options `generator` (default: the one `manual_seed` seeds), `training` (default true; false: nothing
happens)
@treturn Tensor */
static int dropout(lua_State *L) {
  static const char *const known[] = {"generator", "training", NULL};
  mt_tensor *input = mtl_check_tensor(L, 1), *y;
  const double p = mtl_check_number(L, 2);
  mtl_check_options(L, 3, known);
  mt_rng *rng = mtl_option_generator(L, 3, "generator");
  const bool training = mtl_option_boolean(L, 3, "training", true);
  MTL_NEW(L, y, training ? mt_dropout(input, p, rng) : mt_retain(input));
  mtl_push_tensor(L, y);
  return 1;
}

/*** Rows of a table.
@function embedding
@tparam Tensor indices {...} int32, 1 to rows
@tparam Tensor weight {rows,D} float32
@tparam[opt] table options `padding_idx`: a row, counted from 1, that gets no gradient
@treturn Tensor {...,D}
@raise on shapes, dtypes and indices that do not fit */
static int embedding(lua_State *L) {
  static const char *const known[] = {"padding_idx", NULL};
  mt_tensor *indices = mtl_check_tensor(L, 1), *weight = mtl_check_tensor(L, 2), *y;
  mtl_check_options(L, 3, known);
  const int64_t padding = mtl_option_integer(L, 3, "padding_idx", 0, 1, INT32_MAX);
  MTL_NEW(L, y, mt_embedding(indices, weight, padding));
  mtl_push_tensor(L, y);
  return 1;
}

/*** Linear least squares: of all x that make the norm of `a x - b` smallest, the one of the smallest norm itself, by
LAPACK's gelsd in double precision. Without gradients.
@function lstsq
@tparam Tensor a {M,N} float32, of any rank
@tparam Tensor b {M,K} or {M}
@tparam[opt] table options `rcond`: singular values of at most that share of the largest one count as zero (float32's
precision times the larger of M and N, as in NumPy)
@treturn Tensor {N,K} or {N}
@raise on shapes and dtypes that do not fit, and on NaN or infinities */
static int lstsq(lua_State *L) {
  static const char *const known[] = {"rcond", NULL};
  mt_tensor *a = mtl_check_tensor(L, 1), *b = mtl_check_tensor(L, 2), *x;
  mtl_check_options(L, 3, known);
  int64_t largest = 1;
  for (int i = 0; i < a->ndim; i++) largest = a->shape[i] > largest ? a->shape[i] : largest;
  const double rcond = mtl_option_number(L, 3, "rcond", (double)FLT_EPSILON * (double)largest, 0.0, 1e30);
  MTL_NEW(L, x, mt_lstsq(a, b, rcond));
  mtl_push_tensor(L, x);
  return 1;
}

static const luaL_Reg functions[] = {
    {"linear", linear},       {"flatten", flatten}, {"dropout", dropout},
    {"embedding", embedding}, {"lstsq", lstsq},     {NULL, NULL},
};

void mtl_open_functional_nn(lua_State *L) { luaL_setfuncs(L, functions, 0); }
