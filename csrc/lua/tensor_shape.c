/* Other shapes of the same values, and tensors joined. */
#include "lua/tensor.h"
#include "ops/join.h"
#include "ops/reduce.h"
#include "ops/shape.h"

static int push_result(lua_State *L, mt_tensor *result) {
  mtl_push_tensor(L, result);
  return 1;
}

/* ---- shapes ---- */

static void check_loose_size(lua_State *L, int arg, int index) {
  int exact = 0;
  const lua_Integer size = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &exact) : 0;
  if (!exact || size < -1)
    luaL_argerror(L, arg, lua_pushfstring(L, "size >= 0 (or -1) expected, got %s", luaL_tolstring(L, index, NULL)));
}

/* Sizes as integers arg, arg+1, ... or as a table at arg, -1 allowed; the number of axes. */
static int check_loose_shape(lua_State *L, int arg, int64_t sizes[MT_MAX_DIMS]) {
  const bool listed = lua_istable(L, arg);
  const lua_Integer n = listed ? (lua_Integer)lua_rawlen(L, arg) : lua_gettop(L) - arg + 1;
  if (n > MT_MAX_DIMS)
    luaL_argerror(L, arg, lua_pushfstring(L, "%I axes, expected at most %d", (LUAI_UACINT)n, MT_MAX_DIMS));
  if (!listed && n < 1) luaL_argerror(L, arg, "sizes or a table of sizes expected, got no value");
  for (int i = 0; i < (int)n; i++) {
    if (listed)
      lua_rawgeti(L, arg, i + 1);
    else
      lua_pushvalue(L, arg + i);
    check_loose_size(L, listed ? arg : arg + i, lua_gettop(L));
    sizes[i] = lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  return (int)n;
}

/*** The same values (and storage) under another shape.
@function Tensor:reshape
@tparam integer|table ... the sizes; one may be -1, which follows from the others
@treturn Tensor */
static int reshape(lua_State *L) {
  int64_t sizes[MT_MAX_DIMS];
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int ndim = check_loose_shape(L, 2, sizes);
  MTL_NEW(L, result, mt_reshape(t, ndim, sizes));
  return push_result(L, result);
}

/*** Repeats axes of length 1, and adds axes in front, until the shape is the given one. Copies, not to be written to in
place.
@function Tensor:expand
@tparam integer|table ... the sizes; -1 keeps an axis as it is
@treturn Tensor */
static int expand(lua_State *L) {
  int64_t sizes[MT_MAX_DIMS];
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int ndim = check_loose_shape(L, 2, sizes);
  for (int i = 0; i < ndim; i++) {
    const int own = i - (ndim - t->ndim);
    if (sizes[i] >= 0) continue;
    if (own < 0) return luaL_argerror(L, 2, lua_pushfstring(L, "size of the new axis %d expected, got -1", i + 1));
    sizes[i] = t->shape[own];
  }
  MTL_NEW(L, result, mt_expand(t, ndim, sizes));
  return mtl_push_part(L, result, t, "expand");
}

/*** Without axes of length 1: all of them, or one (which stays where it is longer).
@function Tensor:squeeze
@tparam[opt] integer axis
@treturn Tensor sharing the storage */
static int squeeze(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int axis = lua_isnoneornil(L, 2) ? -1 : mtl_check_axis(L, 2, t->ndim);
  MTL_NEW(L, result, mt_squeeze(t, axis));
  return push_result(L, result);
}

/*** With a new axis of length 1.
@function Tensor:unsqueeze
@tparam integer axis where it will be; negative counts from the end of the result
@treturn Tensor sharing the storage */
static int unsqueeze(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int axis = mtl_check_axis(L, 2, t->ndim + 1);
  MTL_NEW(L, result, mt_unsqueeze(t, axis));
  return push_result(L, result);
}

int mtl_check_listed_axis(lua_State *L, int arg, int member, int index, int ndim) {
  int exact = 0;
  const lua_Integer axis = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &exact) : 0;
  if (!exact || axis == 0 || axis > ndim || axis < -ndim)
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "axis number %d of the list: axis in 1..%d or -1..-%d expected, got %s", member,
                                  ndim, ndim, luaL_tolstring(L, index, NULL)));
  return (int)(axis > 0 ? axis - 1 : ndim + axis);
}

/* The axes in their new order, from integers arg, arg+1, ... or a table at arg. */
static void check_order(lua_State *L, int arg, const mt_tensor *t, int order[MT_MAX_DIMS]) {
  unsigned seen = 0;
  const bool listed = lua_istable(L, arg);
  const lua_Integer n = listed ? (lua_Integer)lua_rawlen(L, arg) : lua_gettop(L) - arg + 1;
  if (n != t->ndim) luaL_argerror(L, arg, lua_pushfstring(L, "%d axes expected, got %I", t->ndim, (LUAI_UACINT)n));
  for (int i = 0; i < t->ndim; i++) {
    if (listed)
      lua_rawgeti(L, arg, i + 1);
    else
      lua_pushvalue(L, arg + i);
    order[i] = mtl_check_listed_axis(L, arg, i + 1, lua_gettop(L), t->ndim);
    lua_pop(L, 1);
    if (seen >> order[i] & 1)
      luaL_argerror(L, arg, lua_pushfstring(L, "each axis once expected, got axis %d twice", order[i] + 1));
    seen |= 1u << order[i];
  }
}

/*** The axes in another order. Copies, not to be written to in place.
@function Tensor:permute
@tparam integer|table ... for each axis of the result, the axis it was
@treturn Tensor */
static int permute(lua_State *L) {
  int order[MT_MAX_DIMS];
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  check_order(L, 2, t, order);
  MTL_NEW(L, result, mt_permute(t, order));
  return mtl_push_part(L, result, t, "permute");
}

/*** Two axes exchanged. Copies, not to be written to in place.
@function Tensor:transpose
@tparam[opt=-2] integer axis1
@tparam[opt=-1] integer axis2
@treturn Tensor */
static int transpose(lua_State *L) {
  int order[MT_MAX_DIMS];
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  if (t->ndim < 2) return luaL_argerror(L, 1, "a tensor with at least two axes expected");
  const int a = lua_isnoneornil(L, 2) ? t->ndim - 2 : mtl_check_axis(L, 2, t->ndim);
  const int b = lua_isnoneornil(L, 3) ? t->ndim - 1 : mtl_check_axis(L, 3, t->ndim);
  for (int i = 0; i < t->ndim; i++) order[i] = i == a ? b : i == b ? a : i;
  MTL_NEW(L, result, mt_permute(t, order));
  return mtl_push_part(L, result, t, "transpose");
}

/* ---- joined ---- */

/* The tensors in the table at arg, in a userdata left on the stack. */
static mt_tensor *const *check_tensors(lua_State *L, int arg, int *count) {
  luaL_checktype(L, arg, LUA_TTABLE);
  const lua_Integer n = (lua_Integer)lua_rawlen(L, arg);
  if (n < 1 || n > 1000000)
    luaL_argerror(L, arg, lua_pushfstring(L, "1 to 1000000 tensors expected, got %I", (LUAI_UACINT)n));
  mt_tensor **tensors = lua_newuserdatauv(L, (size_t)n * sizeof *tensors, 0);
  for (lua_Integer i = 0; i < n; i++) {
    lua_rawgeti(L, arg, i + 1);
    tensors[i] = mtl_test_tensor(L, -1);
    if (!tensors[i])
      luaL_argerror(L, arg,
                    lua_pushfstring(L, "element %I of the list: tensor expected, got %s", (LUAI_UACINT)(i + 1),
                                    luaL_tolstring(L, -1, NULL)));
    lua_pop(L, 1); /* the table keeps it alive */
  }
  *count = (int)n;
  return tensors;
}

/*** Joins tensors along an axis they have.
@function cat
@tparam table tensors a list
@tparam[opt=1] integer axis
@treturn Tensor */
static int cat(lua_State *L) {
  int count;
  lua_settop(L, 2);
  mt_tensor *result, *const *tensors = check_tensors(L, 1, &count);
  if (tensors[0]->ndim == 0) return luaL_argerror(L, 1, "tensors with at least one axis expected; use stack");
  const int axis = lua_isnil(L, 2) ? 0 : mtl_check_axis(L, 2, tensors[0]->ndim);
  MTL_NEW(L, result, mt_cat(tensors, count, axis));
  return push_result(L, result);
}

/*** Joins tensors of one shape along a new axis.
@function stack
@tparam table tensors a list
@tparam[opt=1] integer axis where the new axis will be
@treturn Tensor */
static int stack(lua_State *L) {
  int count;
  lua_settop(L, 2);
  mt_tensor *result, *const *tensors = check_tensors(L, 1, &count);
  const int axis = lua_isnil(L, 2) ? 0 : mtl_check_axis(L, 2, tensors[0]->ndim + 1);
  MTL_NEW(L, result, mt_stack(tensors, count, axis));
  return push_result(L, result);
}

const luaL_Reg mtl_tensor_joining_functions[] = {{"cat", cat}, {"stack", stack}, {NULL, NULL}};

const luaL_Reg mtl_tensor_shape_methods[] = {
    {"reshape", reshape}, {"expand", expand},       {"squeeze", squeeze}, {"unsqueeze", unsqueeze},
    {"permute", permute}, {"transpose", transpose}, {NULL, NULL},
};
