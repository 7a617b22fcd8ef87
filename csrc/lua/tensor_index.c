/* t[key] and t[key] = value, and the other writes in place.
 *
 * A key is the number of a row; a table with a number, a range {first, last[, step]}, {} for all, or a tensor for each
 * axis; a uint8 tensor, which is a mask over the first axes; or an int32 tensor of rows' numbers. Every key becomes a
 * part (ops/part.h). Parts in one piece share the tensor's storage, the others are copies that refuse to be written to.
 *
 * Writing is refused where autograd would not notice: into results it recorded, into leaves outside no_grad, and of
 * values that require gradients. */
#include <string.h>

#include "autograd/tape.h"
#include "lua/tensor.h"
#include "ops/masked.h"
#include "ops/part.h"
#include "ops/reduce.h"
#include "ops/shape.h"

/* ---- keys ---- */

typedef struct {
  mt_tensor *base; /* the tensor, or itself with the axes of a mask joined */
  mt_part part;    /* of base */
  int ndim;        /* the result's shape: the part's, or that of a tensor of numbers and the rest of the axes */
  int64_t shape[MT_MAX_DIMS];
} selection;

static bool integer_at(lua_State *L, int index, lua_Integer *value) {
  int exact = 0;
  *value = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &exact) : 0;
  return exact;
}

/* The 0-based row for the integer key. */
static int64_t check_row(lua_State *L, lua_Integer key, const mt_tensor *t) {
  if (t->ndim == 0)
    luaL_error(L, "tensor index: %I, but the tensor has no axes; item() gives its value", (LUAI_UACINT)key);
  const int64_t n = t->shape[0];
  if (key == 0 || key > n || key < -n)
    luaL_error(L, "tensor index: %I, expected 1..%I or -1..-%I", (LUAI_UACINT)key, (LUAI_UACINT)n, (LUAI_UACINT)n);
  return key > 0 ? key - 1 : n + key;
}

/* The table at `index` holds exactly the values 1, 2, ..., n; returns n. */
static int check_sequence(lua_State *L, int index, const char *what) {
  const lua_Integer n = (lua_Integer)lua_rawlen(L, index);
  lua_Integer key, members = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (!integer_at(L, -2, &key) || key < 1 || key > n)
      luaL_error(L, "tensor index: %s has the key '%s', expected a list without gaps", what,
                 luaL_tolstring(L, -2, NULL));
    members++;
  }
  if (members != n) luaL_error(L, "tensor index: %s has gaps, expected a list without", what);
  return (int)n;
}

/* {}, {first, last} or {first, last, step} at `index`. */
static mt_range check_range(lua_State *L, int index, int axis, int64_t n) {
  lua_Integer value[3] = {1, n, 1};
  const int members = check_sequence(L, index, lua_pushfstring(L, "axis %d", axis + 1));
  lua_pop(L, 1);
  bool valid = members == 0 || members == 2 || members == 3;
  for (int i = 0; valid && i < members; i++) {
    lua_rawgeti(L, index, i + 1);
    valid = integer_at(L, -1, &value[i]);
    lua_pop(L, 1);
  }
  if (!valid)
    luaL_error(L, "tensor index: axis %d: {first, last}, {first, last, step} or {} of integers expected", axis + 1);
  if (value[2] < 1)
    luaL_error(L, "tensor index: axis %d: step %I, expected 1 or more", axis + 1, (LUAI_UACINT)value[2]);
  const int64_t first = value[0] < 0 ? n + 1 + value[0] : value[0], last = value[1] < 0 ? n + 1 + value[1] : value[1];
  if (first < 1 || last > n || first > last + 1)
    luaL_error(L, "tensor index: axis %d: range {%I, %I}, expected one within 1..%I", axis + 1, (LUAI_UACINT)value[0],
               (LUAI_UACINT)value[1], (LUAI_UACINT)n);
  return (mt_range){.start = first - 1, .step = value[2], .count = last < first ? 0 : (last - first) / value[2] + 1};
}

static mt_range check_place(lua_State *L, lua_Integer key, int axis, int64_t n) {
  if (key == 0 || key > n || key < -n)
    luaL_error(L, "tensor index: axis %d: %I, expected 1..%I or -1..-%I", axis + 1, (LUAI_UACINT)key, (LUAI_UACINT)n,
               (LUAI_UACINT)n);
  return (mt_range){.start = key > 0 ? key - 1 : n + key, .step = 1, .count = 1, .single = true};
}

/* The places that a mask marks, in a userdata left on the stack. */
static const int64_t *push_marked(lua_State *L, const mt_tensor *mask, int64_t *n) {
  *n = mt_count_nonzero(mask);
  int64_t *places = lua_newuserdatauv(L, (size_t)*n * sizeof *places, 0);
  mt_list_nonzero(mask, places);
  return places;
}

/* The tensor `list` chooses along `axis`: an int32 tensor {n} of numbers or a uint8 mask of the axis's length. */
static void choose_by_tensor(lua_State *L, const mt_tensor *list, int axis, const mt_tensor *t, mt_part *part) {
  char text[MT_SHAPE_TEXT];
  int64_t n = list->count;
  if (part->listed >= 0)
    luaL_error(L, "tensor index: axes %d and %d are both chosen by tensors, expected one; see gather", part->listed + 1,
               axis + 1);
  const bool mask = list->dtype == MT_UINT8;
  if ((!mask && list->dtype != MT_INT32) || list->ndim != 1 || (mask && n != t->shape[axis]))
    luaL_error(L, "tensor index: axis %d: an int32 tensor {n} or a uint8 mask {%I} expected, got %s %s", axis + 1,
               (LUAI_UACINT)t->shape[axis], mt_dtype_name(list->dtype), mt_shape_text(list->ndim, list->shape, text));
  part->places = mask ? push_marked(L, list, &n) : mtl_push_places(L, list);
  part->listed = axis;
  part->axis[axis].count = n;
}

static void check_axis_key(lua_State *L, int index, int axis, const mt_tensor *t, mt_part *part) {
  lua_Integer key;
  const mt_tensor *list = mtl_test_tensor(L, index);
  if (list)
    choose_by_tensor(L, list, axis, t, part);
  else if (integer_at(L, index, &key))
    part->axis[axis] = check_place(L, key, axis, t->shape[axis]);
  else if (lua_istable(L, index))
    part->axis[axis] = check_range(L, index, axis, t->shape[axis]);
  else
    luaL_error(L, "tensor index: axis %d: integer, {first, last}, {} or tensor expected, got %s", axis + 1,
               luaL_tolstring(L, index, NULL));
}

/* One entry for each axis; axes without one are taken whole. Leaves what the part needs on the stack. */
static void select_by_table(lua_State *L, int arg, mt_tensor *t, selection *s) {
  char text[MT_SHAPE_TEXT];
  const int n = check_sequence(L, arg, "the table");
  s->base = t;
  s->part = mt_part_whole(t);
  if (n > t->ndim)
    luaL_error(L, "tensor index: %d axes, but the tensor's shape is %s", n, mt_shape_text(t->ndim, t->shape, text));
  for (int axis = 0; axis < n; axis++) {
    lua_rawgeti(L, arg, axis + 1); /* stays, as does what is pushed for it */
    check_axis_key(L, lua_gettop(L), axis, t, &s->part);
  }
  s->ndim = mt_part_shape(t, &s->part, s->shape);
}

/* A mask over the first axes, which become one. */
static void select_by_mask(lua_State *L, const mt_tensor *mask, mt_tensor *t, selection *s) {
  char text[MT_SHAPE_TEXT], other[MT_SHAPE_TEXT];
  int64_t joined[MT_MAX_DIMS] = {mask->count};
  if (mask->ndim > t->ndim || memcmp(mask->shape, t->shape, (size_t)mask->ndim * sizeof t->shape[0]) != 0)
    luaL_error(L, "tensor index: the mask has shape %s, expected %s or its first axes",
               mt_shape_text(mask->ndim, mask->shape, text), mt_shape_text(t->ndim, t->shape, other));
  if (t->ndim - mask->ndim + 1 > MT_MAX_DIMS)
    luaL_error(L, "tensor index: a mask without axes beside %d axes, expected fewer", t->ndim);
  for (int i = mask->ndim; i < t->ndim; i++) joined[1 + i - mask->ndim] = t->shape[i];
  MTL_NEW(L, s->base, mt_reshape(t, t->ndim - mask->ndim + 1, joined));
  mtl_push_tensor(L, s->base);
  s->part = mt_part_whole(s->base);
  s->part.listed = 0;
  s->part.places = push_marked(L, mask, &s->part.axis[0].count);
  s->ndim = mt_part_shape(s->base, &s->part, s->shape);
}

/* Rows by number; the numbers' axes stand where the first axis was. */
static void select_by_numbers(lua_State *L, const mt_tensor *numbers, mt_tensor *t, selection *s) {
  char text[MT_SHAPE_TEXT];
  if (t->ndim == 0) luaL_error(L, "tensor index: numbers of rows, but the tensor has no axes");
  if (numbers->ndim + t->ndim - 1 > MT_MAX_DIMS)
    luaL_error(L, "tensor index: numbers of shape %s give more than %d axes",
               mt_shape_text(numbers->ndim, numbers->shape, text), MT_MAX_DIMS);
  s->base = t;
  s->part = mt_part_whole(t);
  s->part.listed = 0;
  s->part.places = mtl_push_places(L, numbers);
  s->part.axis[0].count = numbers->count;
  s->ndim = numbers->ndim + t->ndim - 1;
  for (int i = 0; i < s->ndim; i++)
    s->shape[i] = i < numbers->ndim ? numbers->shape[i] : t->shape[1 + i - numbers->ndim];
}

/* What the key at arg (a table, a tensor or an integer) chooses. May push. */
static void check_key(lua_State *L, int arg, mt_tensor *t, selection *s) {
  lua_Integer key;
  const mt_tensor *list = mtl_test_tensor(L, arg);
  if (integer_at(L, arg, &key)) {
    s->base = t;
    s->part = mt_part_whole(t);
    s->part.axis[0] = (mt_range){.start = check_row(L, key, t), .step = 1, .count = 1, .single = true};
    s->ndim = mt_part_shape(t, &s->part, s->shape);
  } else if (lua_istable(L, arg)) {
    select_by_table(L, arg, t, s);
  } else if (list && list->dtype == MT_UINT8) {
    select_by_mask(L, list, t, s);
  } else if (list && list->dtype == MT_INT32) {
    select_by_numbers(L, list, t, s);
  } else if (list) {
    luaL_error(L, "tensor index: a float32 tensor, expected a uint8 mask (as comparisons give) or int32 numbers");
  } else {
    luaL_error(L, "tensor index: integer, table, tensor or method name expected, got %s", luaL_tolstring(L, arg, NULL));
  }
}

/* ---- reading ---- */

/*** `t[key]`, a part of a tensor:

    t[2]                    -- a row, negative from the end
    t[{ 2, { 1, 3 }, {} }]  -- for each axis a number, which drops the axis, a range {first, last[, step]}, also
                            -- negative, or {} for all of it; axes without an entry are taken whole
    t[{ {}, list }]         -- along one axis an int32 tensor {n} of numbers or a uint8 mask of its length
    t[t:gt(0)]              -- a uint8 mask over the first axes: the marked elements or rows, {n, ...}
    t[numbers]              -- rows by an int32 tensor of any shape, whose axes take the first one's place

Places, at most one range of step 1 after them, and whole axes share the storage; the others are copies, which refuse to
be written to in place. Gradients flow through all of them.
@function Tensor:__index
@param key
@treturn Tensor
@raise naming the axis, the value and its bounds */
/* Methods are in the first upvalue. */
int mtl_tensor_index(lua_State *L) {
  lua_Integer row;
  if (lua_type(L, 2) == LUA_TSTRING) {
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
  }
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  if (integer_at(L, 2, &row)) {
    const int64_t i = check_row(L, row, t);
    MTL_NEW(L, result, mt_select(t, i));
    mtl_push_tensor(L, result);
    return 1;
  }
  selection s;
  check_key(L, 2, t, &s);
  MTL_NEW(L, result, mt_part_read(s.base, &s.part));
  mtl_push_part(L, result, t, "t[...]");
  int64_t shape[MT_MAX_DIMS];
  if (mt_part_shape(s.base, &s.part, shape) == s.ndim && memcmp(shape, s.shape, sizeof shape[0] * (size_t)s.ndim) == 0)
    return 1;
  mt_tensor *reshaped;
  MTL_NEW(L, reshaped, mt_reshape(result, s.ndim, s.shape));
  mtl_push_tensor(L, reshaped);
  return 1;
}

/* ---- writing ---- */

static void check_writable(lua_State *L, int arg) {
  const mt_tensor *t = mtl_check_target(L, arg);
  if (t->node)
    luaL_error(L, "in-place write: the tensor is the result of %s, recorded for backward; write to detach() or clone()",
               t->node->op->name);
  if (t->requires_grad && mt_grad_mode_get() != MT_GRAD_OFF)
    luaL_error(L, "in-place write: the tensor requires gradients; write inside no_grad");
}

/* The number or tensor at arg, to go into a tensor of type dtype; on the stack, which owns it. */
static mt_tensor *check_values(lua_State *L, int arg, mt_dtype dtype) {
  mt_tensor *values = mtl_test_tensor(L, arg);
  if (values && mt_needs_grad(values))
    luaL_error(
        L, "in-place write: the values require gradients, which would be lost; use cat, stack or where, or detach()");
  if (values) return values;
  if (lua_type(L, arg) != LUA_TNUMBER) luaL_typeerror(L, arg, "number or tensor");
  const double value = lua_tonumber(L, arg);
  mtl_check_value(L, arg, dtype, value);
  MTL_NEW(L, values, mt_tensor_full(dtype, 0, NULL, value));
  mtl_push_tensor(L, values);
  return values;
}

/* Values for a tensor of numbers with several axes, as rows. */
static mt_tensor *values_by_row(lua_State *L, mt_tensor *values, const selection *s) {
  int64_t shape[MT_MAX_DIMS];
  const int ndim = mt_part_shape(s->base, &s->part, shape);
  if (values->ndim == 0 || ndim == s->ndim) return values;
  mt_tensor *fitting, *rows;
  MTL_NEW(L, fitting, mt_expand(values, s->ndim, s->shape));
  mtl_push_tensor(L, fitting);
  MTL_NEW(L, rows, mt_reshape(fitting, ndim, shape));
  mtl_push_tensor(L, rows);
  return rows;
}

/*** `t[key] = value`, in place, with the keys of `t[key]`; the value is converted and broadcast to the part.
@function Tensor:__newindex
@param key
@tparam number|Tensor value
@raise also for results that backward needs, leaves outside `no_grad`, values that require gradients, and copies of
parts */
int mtl_tensor_newindex(lua_State *L) {
  selection s;
  mt_tensor *t = mtl_check_tensor(L, 1);
  check_key(L, 2, t, &s);
  check_writable(L, 1);
  mt_tensor *values = values_by_row(L, check_values(L, 3, t->dtype), &s);
  MTL_DO(L, mt_part_write(s.base, &s.part, values));
  return 0;
}

static int write_whole(lua_State *L) {
  mt_tensor *t = mtl_check_tensor(L, 1);
  const mt_part whole = mt_part_whole(t);
  MTL_DO(L, mt_part_write(t, &whole, check_values(L, 2, t->dtype)));
  lua_settop(L, 1);
  return 1;
}

/*** Writes one number everywhere, in place.
@function Tensor:fill
@tparam number value
@treturn Tensor itself */
static int fill(lua_State *L) {
  mtl_check_number(L, 2);
  check_writable(L, 1);
  return write_whole(L);
}

/*** Writes another tensor's values, converted and broadcast, in place.
@function Tensor:copy
@tparam Tensor source
@treturn Tensor itself */
static int copy(lua_State *L) {
  mtl_check_tensor(L, 2);
  check_writable(L, 1);
  return write_whole(L);
}

const luaL_Reg mtl_tensor_writing_methods[] = {{"fill", fill}, {"copy", copy}, {NULL, NULL}};
