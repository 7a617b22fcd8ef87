/* Choosing elements: in order, by number for each element, by a mask. */
#include "lua/tensor.h"
#include "ops/compare.h"
#include "ops/gather.h"
#include "ops/masked.h"
#include "ops/sort.h"

/* ---- in order ---- */

/* The axis at arg, by default the last; the options at *options, which may stand in the axis's place. */
static int check_axis_and_options(lua_State *L, int arg, const mt_tensor *t, int *options) {
  if (t->ndim == 0) luaL_argerror(L, 1, "a tensor with at least one axis expected, got one without");
  *options = lua_istable(L, arg) ? arg : arg + 1;
  return lua_isnoneornil(L, arg) || lua_istable(L, arg) ? t->ndim - 1 : mtl_check_axis(L, arg, t->ndim);
}

static const char *const sort_options[] = {"descending", NULL};

/*** The elements of an axis in order. Equal ones stay in theirs; NaN is larger than everything.
@function Tensor:sort
@tparam[opt=-1] integer axis may be left out
@tparam[opt] table options {descending = false}
@treturn Tensor values
@treturn Tensor positions along the axis, 1-based int32 */
static int sort(lua_State *L) {
  int options;
  mt_tensor *result, *positions, *t = mtl_check_tensor(L, 1);
  const int axis = check_axis_and_options(L, 2, t, &options);
  mtl_check_options(L, options, sort_options);
  const bool descending = mtl_option_boolean(L, options, "descending", false);
  MTL_NEW(L, result, mt_sort(t, axis, descending, &positions));
  mtl_push_two_tensors(L, result, positions);
  return 2;
}

/*** The positions that sort would give.
@function Tensor:argsort
@tparam[opt=-1] integer axis may be left out
@tparam[opt] table options {descending = false}
@treturn Tensor 1-based int32 */
static int argsort(lua_State *L) {
  int options;
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int axis = check_axis_and_options(L, 2, t, &options);
  mtl_check_options(L, options, sort_options);
  const bool descending = mtl_option_boolean(L, options, "descending", false);
  MTL_NEW(L, result, mt_argsort(t, axis, descending));
  mtl_push_tensor(L, result);
  return 1;
}

/*** The k largest elements of an axis, the largest first; of equal ones the first counts. NaN is larger than
everything.
@function Tensor:topk
@tparam integer k
@tparam[opt=-1] integer axis may be left out
@tparam[opt] table options {largest = true}: false gives the smallest, the smallest first
@treturn Tensor values
@treturn Tensor positions along the axis, 1-based int32 */
static int topk(lua_State *L) {
  static const char *const known[] = {"largest", NULL};
  int options;
  mt_tensor *result, *positions, *t = mtl_check_tensor(L, 1);
  const int axis = check_axis_and_options(L, 3, t, &options);
  const int64_t k = mtl_check_integer(L, 2, 0, t->shape[axis]);
  mtl_check_options(L, options, known);
  const bool largest = mtl_option_boolean(L, options, "largest", true);
  MTL_NEW(L, result, mt_topk(t, k, axis, largest, &positions));
  mtl_push_two_tensors(L, result, positions);
  return 2;
}

/* ---- by number ---- */

/*** Elements by number along an axis, one for each number: for two axes and axis 2, result[i][j] = t[i][index[i][j]].
@function Tensor:gather
@tparam integer axis
@tparam Tensor index int32, 1-based; as many axes as the tensor, none but `axis` longer than its
@treturn Tensor of index's shape */
static int gather(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int axis = mtl_check_axis(L, 2, t->ndim);
  mt_tensor *index = mtl_check_tensor(L, 3);
  MTL_NEW(L, result, mt_gather(t, axis, index));
  mtl_push_tensor(L, result);
  return 1;
}

/*** A copy to which numbered elements were added: for two axes and axis 2, result[i][index[i][j]] += source[i][j].
@function Tensor:scatter_add
@tparam integer axis
@tparam Tensor index as of gather
@tparam Tensor source of index's shape
@treturn Tensor */
static int scatter_add(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int axis = mtl_check_axis(L, 2, t->ndim);
  mt_tensor *index = mtl_check_tensor(L, 3), *source = mtl_check_tensor(L, 4);
  MTL_NEW(L, result, mt_scatter_add(t, axis, index, source));
  mtl_push_tensor(L, result);
  return 1;
}

/* ---- by a mask ---- */

/*** The elements where mask is not 0, in row-major order; both broadcast. (`t[mask]` takes a uint8 mask of t's own
first axes.)
@function Tensor:masked_select
@tparam Tensor mask
@treturn Tensor {n} */
static int masked_select(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1), *mask = mtl_check_tensor(L, 2);
  MTL_NEW(L, result, mt_masked_select(t, mask));
  mtl_push_tensor(L, result);
  return 1;
}

/*** A copy with a number where mask is not 0; both broadcast. (In place: `t[mask] = value`.)
@function Tensor:masked_fill
@tparam Tensor mask
@tparam number value
@treturn Tensor */
static int masked_fill(lua_State *L) {
  mt_tensor *result, *number, *t = mtl_check_tensor(L, 1), *mask = mtl_check_tensor(L, 2);
  const double value = mtl_check_number(L, 3);
  mtl_check_value(L, 3, t->dtype, value);
  MTL_NEW(L, number, mt_tensor_full(t->dtype, 0, NULL, value));
  mtl_push_tensor(L, number);
  MTL_NEW(L, result, mt_where(mask, number, t));
  mtl_push_tensor(L, result);
  return 1;
}

/*** Where the elements are that are not 0: a row of coordinates for each, in row-major order.
@function Tensor:nonzero
@treturn Tensor 1-based int32 {n,number of axes} */
static int nonzero(lua_State *L) {
  mt_tensor *result;
  const mt_tensor *t = mtl_check_tensor(L, 1);
  MTL_NEW(L, result, mt_nonzero(t));
  mtl_push_tensor(L, result);
  return 1;
}

const luaL_Reg mtl_tensor_choice_methods[] = {
    {"sort", sort},
    {"argsort", argsort},
    {"topk", topk},
    {"gather", gather},
    {"scatter_add", scatter_add},
    {"masked_select", masked_select},
    {"masked_fill", masked_fill},
    {"nonzero", nonzero},
    {NULL, NULL},
};
