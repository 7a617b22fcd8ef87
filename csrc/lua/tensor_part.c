/* Parts of a tensor by method: ranges of an axis, elements named by a list. */
#include "lua/tensor.h"
#include "ops/part.h"

int mtl_push_part(lua_State *L, mt_tensor *result, const mt_tensor *t, const char *method) {
  if (result->storage != t->storage) result->storage->copied_by = method;
  mtl_push_tensor(L, result);
  return 1;
}

/* ---- ranges ---- */

/* A position, negative from the end, as counted from 1; 0 and n + 1 pass, as ends of an empty range. */
static int64_t check_position(lua_State *L, int arg, int64_t n, int64_t fallback) {
  if (lua_isnoneornil(L, arg)) return fallback;
  const int64_t position = mtl_check_integer(L, arg, -n - 1, n + 1);
  return position < 0 ? n + 1 + position : position;
}

/*** Elements first, first + step, ... up to last of an axis. On the first axis with step 1 (and where it is the whole
axis) the result shares the storage, so that writing to it in place writes to the tensor. Otherwise it is a copy, which
refuses to be written to: assign to `t[{...}]` instead.
@function Tensor:slice
@tparam integer axis
@tparam[opt=1] integer first negative from the end
@tparam[opt=-1] integer last included; negative from the end; first - 1 gives none
@tparam[opt=1] integer step >= 1
@treturn Tensor */
static int slice(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int axis = mtl_check_axis(L, 2, t->ndim);
  const int64_t n = t->shape[axis];
  const int64_t first = check_position(L, 3, n, 1), last = check_position(L, 4, n, n);
  const int64_t step = lua_isnoneornil(L, 5) ? 1 : mtl_check_integer(L, 5, 1, INT64_MAX);
  if (first < 1 || last > n || first > last + 1)
    return luaL_error(L, "slice: from %I to %I, expected a range in 1..%I", (LUAI_UACINT)first, (LUAI_UACINT)last,
                      (LUAI_UACINT)n);
  MTL_NEW(L, result, mt_slice(t, axis, first - 1, last < first ? 0 : (last - first) / step + 1, step));
  return mtl_push_part(L, result, t, "slice");
}

/*** `length` elements of an axis from `start` on. A copy or not as of slice.
@function Tensor:narrow
@tparam integer axis
@tparam integer start negative from the end
@tparam integer length >= 0
@treturn Tensor */
static int narrow(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const int axis = mtl_check_axis(L, 2, t->ndim);
  const int64_t n = t->shape[axis], given = mtl_check_integer(L, 3, -n, n + 1);
  const int64_t start = given < 0 ? n + 1 + given : given;
  if (start < 1) return luaL_argerror(L, 3, "a position from 1 on expected, got 0");
  const int64_t length = mtl_check_integer(L, 4, 0, n - start + 1);
  MTL_NEW(L, result, mt_slice(t, axis, start - 1, length, 1));
  return mtl_push_part(L, result, t, "narrow");
}

/* ---- lists of positions ---- */

const int64_t *mtl_push_places(lua_State *L, const mt_tensor *list) {
  int64_t *places = lua_newuserdatauv(L, (size_t)list->count * sizeof *places, 0);
  for (int64_t i = 0; i < list->count; i++) places[i] = (int64_t)mt_i32(list)[i] - 1;
  return places;
}

static const int64_t *places_of_table(lua_State *L, int arg, int64_t n) {
  int64_t *places = lua_newuserdatauv(L, (size_t)n * sizeof *places, 0);
  for (int64_t i = 0; i < n; i++) {
    int exact = lua_rawgeti(L, arg, i + 1) == LUA_TNUMBER;
    const lua_Integer value = exact ? lua_tointegerx(L, -1, &exact) : 0;
    if (!exact || value < 1)
      luaL_argerror(L, arg,
                    lua_pushfstring(L, "element %I of the list: integer >= 1 expected, got %s", (LUAI_UACINT)(i + 1),
                                    luaL_tolstring(L, -1, NULL)));
    places[i] = value - 1;
    lua_pop(L, 1);
  }
  return places;
}

/* The list at arg as 0-based positions, in a userdata left on the stack. */
static const int64_t *check_places(lua_State *L, int arg, int64_t *n) {
  const mt_tensor *list = mtl_test_tensor(L, arg);
  if (!list && !lua_istable(L, arg)) luaL_typeerror(L, arg, "table of positions or int32 tensor");
  *n = list ? list->count : (int64_t)lua_rawlen(L, arg);
  if (!list) return places_of_table(L, arg, *n);
  if (list->dtype != MT_INT32 || list->ndim != 1) {
    char text[MT_SHAPE_TEXT];
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "int32 tensor {n} expected, got %s %s", mt_dtype_name(list->dtype),
                                  mt_shape_text(list->ndim, list->shape, text)));
  }
  return mtl_push_places(L, list);
}

/*** The elements of an axis that a list names, in its order. Copies.
@function Tensor:index
@tparam[opt=1] integer axis
@tparam table|Tensor list 1-based positions: a table or an int32 tensor {n}
@treturn Tensor */
static int index_by_list(lua_State *L) {
  int64_t n;
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const bool has_axis = lua_type(L, 2) == LUA_TNUMBER;
  lua_settop(L, 3);
  if (t->ndim == 0) return luaL_argerror(L, 1, "a tensor with at least one axis expected, got one without");
  const int axis = has_axis ? mtl_check_axis(L, 2, t->ndim) : 0;
  const int64_t *places = check_places(L, has_axis ? 3 : 2, &n);
  MTL_NEW(L, result, mt_index_select(t, axis, places, n));
  mtl_push_tensor(L, result);
  return 1;
}

/*** The elements of some axes in reverse order. Copies.
@function Tensor:flip
@tparam integer|table axes one axis or a table of axes
@treturn Tensor */
static int flip(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  luaL_checkany(L, 2);
  const unsigned axes = mtl_check_axes(L, 2, t);
  MTL_NEW(L, result, mt_flip(t, axes));
  mtl_push_tensor(L, result);
  return 1;
}

const luaL_Reg mtl_tensor_part_methods[] = {
    {"slice", slice}, {"narrow", narrow}, {"index", index_by_list}, {"flip", flip}, {NULL, NULL}};
