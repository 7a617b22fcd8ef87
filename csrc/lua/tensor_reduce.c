/* Reductions, softmax and matrix products. */
#include <math.h>

#include "lua/tensor.h"
#include "ops/cumsum.h"
#include "ops/extremum.h"
#include "ops/logical.h"
#include "ops/logsumexp.h"
#include "ops/matmul.h"
#include "ops/product.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/variance.h"
#include "ops/vector_norm.h"

/* ---- axes and options ---- */

static const char *const reduction_options[] = {"keepdim", NULL};
static const char *const std_options[] = {"keepdim", "unbiased", NULL};

static unsigned axes_from_table(lua_State *L, int arg, const mt_tensor *t) {
  unsigned axes = 0;
  const lua_Integer n = (lua_Integer)lua_rawlen(L, arg);
  if (n == 0) luaL_argerror(L, arg, "a table of axes has at least one; leave it out for all");
  if (n > t->ndim) luaL_argerror(L, arg, lua_pushfstring(L, "%I axes, expected at most %d", (LUAI_UACINT)n, t->ndim));
  for (int i = 1; i <= (int)n; i++) {
    lua_rawgeti(L, arg, i);
    const int axis = mtl_check_listed_axis(L, arg, i, lua_gettop(L), t->ndim);
    if (axes >> axis & 1)
      luaL_argerror(L, arg, lua_pushfstring(L, "each axis once expected, got axis %d twice", axis + 1));
    axes |= 1u << axis;
    lua_pop(L, 1);
  }
  return axes;
}

unsigned mtl_check_axes(lua_State *L, int arg, const mt_tensor *t) {
  if (lua_isnoneornil(L, arg)) return mt_all_axes(t);
  if (lua_istable(L, arg)) return axes_from_table(L, arg, t);
  return 1u << mtl_check_axis(L, arg, t->ndim);
}

static bool check_keepdim(lua_State *L, int arg) {
  mtl_check_options(L, arg, reduction_options);
  return mtl_option_boolean(L, arg, "keepdim", false);
}

/* ---- reductions ---- */

static int reduced(lua_State *L, mt_tensor *(*f)(mt_tensor *, unsigned, bool)) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const unsigned axes = mtl_check_axes(L, 2, t);
  const bool keepdim = check_keepdim(L, 3);
  MTL_NEW(L, result, f(t, axes, keepdim));
  mtl_push_tensor(L, result);
  return 1;
}

/*** Sum. Of integers an int32, which must hold it.
@function Tensor:sum
@tparam[opt] integer|table axes one axis, a table of axes, or nil for all
@tparam[opt] table options {keepdim = false}: true leaves the axes with length 1
@treturn Tensor */
static int sum(lua_State *L) { return reduced(L, mt_sum); }

/*** Mean.
@function Tensor:mean
@tparam[opt] integer|table axes as of sum
@tparam[opt] table options {keepdim = false}
@treturn Tensor float32 */
static int mean(lua_State *L) { return reduced(L, mt_mean); }

static int variation(lua_State *L, mt_tensor *(*f)(mt_tensor *, unsigned, bool, bool)) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const unsigned axes = mtl_check_axes(L, 2, t);
  mtl_check_options(L, 3, std_options);
  const bool keepdim = mtl_option_boolean(L, 3, "keepdim", false);
  const bool unbiased = mtl_option_boolean(L, 3, "unbiased", true);
  MTL_NEW(L, result, f(t, axes, keepdim, unbiased));
  mtl_push_tensor(L, result);
  return 1;
}

/*** Standard deviation.
@function Tensor:std
@tparam[opt] integer|table axes as of sum
@tparam[opt] table options {keepdim = false, unbiased = true}: unbiased divides by n - 1, otherwise by n
@treturn Tensor float32 */
static int standard_deviation(lua_State *L) { return variation(L, mt_std); }

/*** Variance.
@function Tensor:var
@tparam[opt] integer|table axes as of sum
@tparam[opt] table options as of std
@treturn Tensor float32 */
static int variance(lua_State *L) { return variation(L, mt_var); }

/*** The norm of the vectors along some axes: (sum |x|^p)^(1/p). p = math.huge gives the largest |x|, -math.huge the
smallest, 0 the number of elements that are not 0.
@function Tensor:norm
@tparam[opt=2] number p
@tparam[opt] integer|table axes as of sum
@tparam[opt] table options {keepdim = false}
@treturn Tensor float32 */
static int norm(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const double p = lua_isnoneornil(L, 2) ? 2.0 : mtl_check_number(L, 2);
  if (isnan(p)) return luaL_argerror(L, 2, "a number other than NaN expected");
  const unsigned axes = mtl_check_axes(L, 3, t);
  const bool keepdim = check_keepdim(L, 4);
  MTL_NEW(L, result, mt_vector_norm(t, p, axes, keepdim));
  mtl_push_tensor(L, result);
  return 1;
}

/*** log(sum(exp(x))), without overflow.
@function Tensor:logsumexp
@tparam[opt] integer|table axes as of sum
@tparam[opt] table options {keepdim = false}
@treturn Tensor float32 */
static int logsumexp(lua_State *L) { return reduced(L, mt_logsumexp); }

/* f is given the axis, -1 for all. */
static int along_one_or_all(lua_State *L, mt_tensor *(*f)(mt_tensor *, int, bool)) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int axis = lua_isnoneornil(L, 2) ? -1 : mtl_check_axis(L, 2, t->ndim);
  const bool keepdim = check_keepdim(L, 3);
  MTL_NEW(L, result, f(t, axis, keepdim));
  mtl_push_tensor(L, result);
  return 1;
}

/*** Product. Of integers an int32, which must hold it.
@function Tensor:prod
@tparam[opt] integer axis nil for all
@tparam[opt] table options {keepdim = false}
@treturn Tensor */
static int product(lua_State *L) { return along_one_or_all(L, mt_prod); }

/*** Running sums along an axis. Of integers int32, which must hold them.
@function Tensor:cumsum
@tparam integer axis
@treturn Tensor of the same shape */
static int running_sum(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int axis = mtl_check_axis(L, 2, t->ndim);
  MTL_NEW(L, result, mt_cumsum(t, axis));
  mtl_push_tensor(L, result);
  return 1;
}

/*** Whether any element is not 0 (NaN is not); of none: 0.
@function Tensor:any
@tparam[opt] integer|table axes as of sum
@tparam[opt] table options {keepdim = false}
@treturn Tensor uint8 */
static int any(lua_State *L) { return reduced(L, mt_any); }

/*** Whether all elements are not 0; of none: 1.
@function Tensor:all
@tparam[opt] integer|table axes as of sum
@tparam[opt] table options {keepdim = false}
@treturn Tensor uint8 */
static int all(lua_State *L) { return reduced(L, mt_all); }

static int extreme(lua_State *L, bool largest) {
  mt_tensor *result, *positions = NULL, *t = mtl_check_tensor(L, 1);
  const unsigned axes = mtl_check_axes(L, 2, t);
  const bool keepdim = check_keepdim(L, 3);
  if (lua_isnoneornil(L, 2) || lua_istable(L, 2)) {
    MTL_NEW(L, result, mt_extreme(t, largest, axes, keepdim));
    mtl_push_tensor(L, result);
    return 1;
  }
  MTL_NEW(L, result, mt_extreme_along(t, largest, __builtin_ctz(axes), keepdim, &positions));
  mtl_push_two_tensors(L, result, positions);
  return 2;
}

/*** Largest element; NaN counts as larger than everything. Over one axis given as an integer, also its position.
@function Tensor:max
@tparam[opt] integer|table axes as of sum
@tparam[opt] table options {keepdim = false}
@treturn Tensor values
@treturn ?Tensor positions along the axis, 1-based int32, of the first one where several are equal */
static int maximum_over(lua_State *L) { return extreme(L, true); }

/*** Smallest element; NaN counts as smaller than everything. As max otherwise.
@function Tensor:min
@tparam[opt] integer|table axes as of sum
@tparam[opt] table options {keepdim = false}
@treturn Tensor values
@treturn ?Tensor positions along the axis, 1-based int32 */
static int minimum_over(lua_State *L) { return extreme(L, false); }

/*** Position of the largest element along an axis; without an axis, in row-major order among all elements.
@function Tensor:argmax
@tparam[opt] integer axis
@tparam[opt] table options {keepdim = false}
@treturn Tensor int32, 1-based */
static int argmax(lua_State *L) { return along_one_or_all(L, mt_argmax); }

/* ---- softmax, matmul ---- */

static int check_softmax_axis(lua_State *L, const mt_tensor *t) {
  if (t->ndim == 0) luaL_argerror(L, 1, "a tensor with at least one axis expected, got one without");
  return lua_isnoneornil(L, 2) ? t->ndim - 1 : mtl_check_axis(L, 2, t->ndim);
}

static int along_softmax_axis(lua_State *L, mt_tensor *(*f)(mt_tensor *, int)) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int axis = check_softmax_axis(L, t);
  MTL_NEW(L, result, f(t, axis));
  mtl_push_tensor(L, result);
  return 1;
}

/*** exp(x) divided by its sum over an axis.
@function Tensor:softmax
@tparam[opt=-1] integer axis
@treturn Tensor */
static int softmax(lua_State *L) { return along_softmax_axis(L, mt_softmax); }

/*** The logarithm of softmax, computed without its rounding.
@function Tensor:log_softmax
@tparam[opt=-1] integer axis
@treturn Tensor */
static int log_softmax(lua_State *L) { return along_softmax_axis(L, mt_log_softmax); }

/*** Matrix product: {M,K} and {K,N} give {M,N}. Axes in front are a batch of matrices, and broadcast: {B,M,K} and {K,N}
give {B,M,N}. A vector {K} is a row on the left and a column on the right, without that axis in the result. Also
`mt.matmul(a, b)`.
@function Tensor:matmul
@tparam Tensor other
@treturn Tensor */
static int matmul(lua_State *L) {
  mt_tensor *result, *a = mtl_check_tensor(L, 1), *b = mtl_check_tensor(L, 2);
  MTL_NEW(L, result, mt_matmul(a, b));
  mtl_push_tensor(L, result);
  return 1;
}

const luaL_Reg mtl_tensor_product_functions[] = {{"matmul", matmul}, {NULL, NULL}};

const luaL_Reg mtl_tensor_reduction_methods[] = {
    {"sum", sum},
    {"mean", mean},
    {"std", standard_deviation},
    {"var", variance},
    {"norm", norm},
    {"logsumexp", logsumexp},
    {"prod", product},
    {"cumsum", running_sum},
    {"any", any},
    {"all", all},
    {"max", maximum_over},
    {"min", minimum_over},
    {"argmax", argmax},
    {"softmax", softmax},
    {"log_softmax", log_softmax},
    {"matmul", matmul},
    {NULL, NULL},
};
