/* The losses, as functions on tensors. */
#include "lua/binding.h"
#include "ops/bce_with_logits.h"
#include "ops/cross_entropy.h"
#include "ops/mse_loss.h"
#include "ops/nll_loss.h"

static mt_reduction option_reduction(lua_State *L) {
  static const char *const reductions[] = {"mean", "sum", "none", NULL}; /* in the order of mt_reduction */
  return (mt_reduction)mtl_option_choice(L, 3, "reduction", MT_REDUCE_MEAN, reductions);
}

static mt_label_options label_options(lua_State *L) {
  return (mt_label_options){
      .reduction = option_reduction(L),
      .weight = mtl_option_tensor(L, 3, "weight"),
      .ignores = mtl_has_option(L, 3, "ignore_index"),
      .ignore_index = (int32_t)mtl_option_integer(L, 3, "ignore_index", 0, INT32_MIN, INT32_MAX),
  };
}

/*** The classification loss -log softmax(logits)[label], with PyTorch's values (`F.cross_entropy`).
@function cross_entropy
@tparam Tensor logits {N,k}
@tparam Tensor targets labels int32 {N}, 1 to k; or float32 {N,k}, in each row the wanted probabilities, which may
require gradients as well
@tparam[opt] table options `reduction`: "mean" (default), "sum" or "none"; `weight`: float32 {k}, of each class (a mean
over labels then divides by the sum of its labels' weights); `label_smoothing` (0): this share of every target, in
[0, 1], goes to all classes alike; `ignore_index` (none): a label, any number, whose samples count for nothing
@treturn Tensor a scalar, or {N} without reduction; the mean over no samples is NaN
@raise on shapes and types that do not fit; names position and value of a label that is neither a class nor ignored */
static int cross_entropy(lua_State *L) {
  static const char *const known[] = {"reduction", "weight", "label_smoothing", "ignore_index", NULL};
  mt_tensor *logits = mtl_check_tensor(L, 1), *targets = mtl_check_tensor(L, 2), *y;
  mtl_check_options(L, 3, known);
  const mt_cross_entropy_options options = {.labels = label_options(L),
                                            .smoothing = mtl_option_number(L, 3, "label_smoothing", 0.0, 0.0, 1.0)};
  MTL_NEW(L, y, mt_cross_entropy(logits, targets, options));
  mtl_push_tensor(L, y);
  return 1;
}

/*** The negative log-likelihood -log_probabilities[label] (`F.nll_loss`): what `cross_entropy` is after `log_softmax`.
@function nll_loss
@tparam Tensor log_probabilities {N,k}
@tparam Tensor labels int32 {N}, 1 to k
@tparam[opt] table options `reduction`, `weight`, `ignore_index` as for `cross_entropy`
@treturn Tensor a scalar, or {N} without reduction
@raise as cross_entropy does */
static int nll_loss(lua_State *L) {
  static const char *const known[] = {"reduction", "weight", "ignore_index", NULL};
  mt_tensor *log_probabilities = mtl_check_tensor(L, 1), *labels = mtl_check_tensor(L, 2), *y;
  mtl_check_options(L, 3, known);
  const mt_label_options options = label_options(L);
  MTL_NEW(L, y, mt_nll_loss(log_probabilities, labels, options));
  mtl_push_tensor(L, y);
  return 1;
}

/*** Binary cross-entropy of sigmoid(logits), element by element (`F.binary_cross_entropy_with_logits`).
@function bce_with_logits
@tparam Tensor logits float32, any shape
@tparam Tensor targets float32 of that shape: 0, 1 or between; may require gradients
@tparam[opt] table options `reduction`: "mean" (default; over all elements, whatever their weights), "sum" or "none";
`weight`: multiplies the losses; `pos_weight`: multiplies the part of the positives. Weights broadcast to the shape: {k}
for one of each class with logits {N,k}
@treturn Tensor a scalar, or the logits' shape without reduction
@raise on shapes and types that do not fit */
static int bce_with_logits(lua_State *L) {
  static const char *const known[] = {"reduction", "weight", "pos_weight", NULL};
  mt_tensor *logits = mtl_check_tensor(L, 1), *targets = mtl_check_tensor(L, 2), *y;
  mtl_check_options(L, 3, known);
  mt_tensor *weight = mtl_option_tensor(L, 3, "weight"), *pos_weight = mtl_option_tensor(L, 3, "pos_weight");
  const mt_reduction reduction = option_reduction(L);
  MTL_NEW(L, y, mt_bce_with_logits(logits, targets, weight, pos_weight, reduction));
  mtl_push_tensor(L, y);
  return 1;
}

/*** The squared error (input - target)^2, element by element (`F.mse_loss`).
@function mse_loss
@tparam Tensor input float32, any shape
@tparam Tensor target float32 of that shape; may require gradients
@tparam[opt] table options `reduction`: "mean" (default), "sum" or "none"
@treturn Tensor a scalar, or the input's shape without reduction
@raise on shapes and types that do not fit; nothing is broadcast */
static int mse_loss(lua_State *L) {
  static const char *const known[] = {"reduction", NULL};
  mt_tensor *input = mtl_check_tensor(L, 1), *target = mtl_check_tensor(L, 2), *y;
  mtl_check_options(L, 3, known);
  const mt_reduction reduction = option_reduction(L);
  MTL_NEW(L, y, mt_mse_loss(input, target, reduction));
  mtl_push_tensor(L, y);
  return 1;
}

static const luaL_Reg functions[] = {{"cross_entropy", cross_entropy},
                                     {"nll_loss", nll_loss},
                                     {"bce_with_logits", bce_with_logits},
                                     {"mse_loss", mse_loss},
                                     {NULL, NULL}};

void mtl_open_loss(lua_State *L) { luaL_setfuncs(L, functions, 0); }
