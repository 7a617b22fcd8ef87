/* Rows by number (t[i]) and writing in place. A row is a view: it shares its tensor's storage. Writing is refused
 * where autograd would not notice: into results it recorded, into leaves outside no_grad, and of values that
 * require gradients. */
#include <string.h>

#include "autograd/tape.h"
#include "lua/tensor.h"
#include "ops/cast.h"
#include "ops/shape.h"

/* The 0-based row for the key at arg. */
static int64_t check_row(lua_State *L, int arg, const mt_tensor *t) {
  int exact = 0;
  const lua_Integer key = lua_type(L, arg) == LUA_TNUMBER ? lua_tointegerx(L, arg, &exact) : 0;
  if (!exact) luaL_error(L, "tensor index: integer or method name expected, got %s", luaL_tolstring(L, arg, NULL));
  if (t->ndim == 0)
    luaL_error(L, "tensor index: %I, but the tensor has no axes; item() gives its value", (LUAI_UACINT)key);
  const int64_t n = t->shape[0];
  if (key == 0 || key > n || key < -n)
    luaL_error(L, "tensor index: %I, expected 1..%I or -1..-%I", (LUAI_UACINT)key, (LUAI_UACINT)n, (LUAI_UACINT)n);
  return key > 0 ? key - 1 : n + key;
}

/* __index: methods (in the first upvalue) by name, rows by number. */
int mtl_tensor_index(lua_State *L) {
  if (lua_type(L, 2) == LUA_TSTRING) {
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
  }
  mt_tensor *row, *t = mtl_check_tensor(L, 1);
  const int64_t i = check_row(L, 2, t);
  MTL_NEW(L, row, mt_select(t, i));
  mtl_push_tensor(L, row);
  return 1;
}

/* ---- writing ---- */

static void check_writable(lua_State *L, const mt_tensor *t) {
  if (t->node)
    luaL_error(L, "in-place write: the tensor is the result of %s, recorded for backward; write to detach() or clone()",
               t->node->op->name);
  if (t->requires_grad && mt_grad_mode_get() != MT_GRAD_OFF)
    luaL_error(L, "in-place write: the tensor requires gradients; write inside no_grad");
}

/* A number at arg goes into every element of t. */
static void fill_with(lua_State *L, int arg, mt_tensor *t) {
  const double value = lua_tonumber(L, arg);
  mtl_check_value(L, arg, t->dtype, value);
  if (t->dtype == MT_UINT8) {
    memset(t->data, (int)value, (size_t)t->count);
  } else if (t->dtype == MT_INT32) {
    for (int64_t i = 0; i < t->count; i++) mt_i32(t)[i] = (int32_t)value;
  } else {
    for (int64_t i = 0; i < t->count; i++) mt_f32(t)[i] = (float)value;
  }
  mt_touch(t);
}

/* source's values, converted and broadcast, into t; -1 on error. memmove: they may overlap. */
static int copy_into(mt_tensor *t, mt_tensor *source) {
  mt_tensor *plain = mt_tensor_detach(source);
  mt_tensor *same_type = plain ? mt_cast(plain, t->dtype) : NULL;
  mt_tensor *fitting = !same_type || mt_same_shape(t, same_type) ? NULL : mt_expand(same_type, t->ndim, t->shape);
  const mt_tensor *values = same_type && mt_same_shape(t, same_type) ? same_type : fitting;
  if (values) {
    memmove(t->data, values->data, (size_t)t->count * mt_dtype_size(t->dtype));
    mt_touch(t);
  }
  const int status = values ? 0 : -1;
  mt_release(plain);
  mt_release(same_type);
  mt_release(fitting);
  return status;
}

static void write_tensor(lua_State *L, mt_tensor *t, mt_tensor *source) {
  if (mt_needs_grad(source))
    luaL_error(
        L, "in-place write: the values require gradients, which would be lost; use cat, stack or where, or detach()");
  MTL_DO(L, copy_into(t, source));
}

/* __newindex: t[i] = number or tensor. */
int mtl_tensor_newindex(lua_State *L) {
  mt_tensor *row, *t = mtl_check_tensor(L, 1), *source = mtl_test_tensor(L, 3);
  const int64_t i = check_row(L, 2, t);
  if (!source && lua_type(L, 3) != LUA_TNUMBER) return luaL_typeerror(L, 3, "number or tensor");
  check_writable(L, t);
  MTL_NEW(L, row, mt_tensor_alias(t, i * mt_view_axis(t, 0).inner, t->ndim - 1, t->shape + 1));
  mtl_push_tensor(L, row);
  if (source)
    write_tensor(L, row, source);
  else
    fill_with(L, 3, row);
  return 0;
}

/*** Writes one number everywhere, in place.
@function Tensor:fill
@tparam number value
@treturn Tensor itself */
static int fill(lua_State *L) {
  mt_tensor *t = mtl_check_tensor(L, 1);
  mtl_check_number(L, 2);
  check_writable(L, t);
  fill_with(L, 2, t);
  lua_settop(L, 1);
  return 1;
}

/*** Writes another tensor's values, converted and broadcast, in place.
@function Tensor:copy
@tparam Tensor source
@treturn Tensor itself */
static int copy(lua_State *L) {
  mt_tensor *t = mtl_check_tensor(L, 1), *source = mtl_check_tensor(L, 2);
  check_writable(L, t);
  write_tensor(L, t, source);
  lua_settop(L, 1);
  return 1;
}

const luaL_Reg mtl_tensor_writing_methods[] = {{"fill", fill}, {"copy", copy}, {NULL, NULL}};
