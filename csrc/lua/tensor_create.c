/* Making tensors, and taking them apart into Lua tables. Everything made here is float32 unless an option
 * says otherwise, whichever kind of Lua number it came from. */
#include "lua/tensor.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/random_fill.h"

/* ---- options that every creator takes ---- */

static const char *const dtype_names[] = {"float32", "uint8", "int32", NULL};

static const char *const common_options[] = {"dtype", "requires_grad", NULL};
static const char *const uniform_options[] = {"low", "high", "generator", "requires_grad", NULL};
static const char *const normal_options[] = {"mean", "std", "generator", "requires_grad", NULL};

/* A table of options, or the name of a dtype alone. */
static mt_dtype check_common(lua_State *L, int arg) {
  if (lua_type(L, arg) == LUA_TSTRING) return mtl_check_dtype(L, arg);
  mtl_check_options(L, arg, common_options);
  const mt_dtype dtype = (mt_dtype)mtl_option_choice(L, arg, "dtype", MT_FLOAT32, dtype_names);
  if (mtl_option_boolean(L, arg, "requires_grad", false) && dtype != MT_FLOAT32)
    luaL_argerror(L, arg, "option 'requires_grad': gradients need dtype 'float32'");
  return dtype;
}

static int push_created(lua_State *L, int options, mt_tensor *t) {
  t->requires_grad = lua_istable(L, options) && mtl_option_boolean(L, options, "requires_grad", false);
  mtl_push_tensor(L, t);
  return 1;
}

/* The first argument after the sizes. */
static int after_shape(lua_State *L, int arg) {
  if (lua_istable(L, arg)) return arg + 1;
  while (lua_type(L, arg) == LUA_TNUMBER) arg++;
  return arg;
}

bool mtl_value_fits(mt_dtype dtype, double value) {
  const double lo = dtype == MT_UINT8 ? 0 : INT32_MIN, hi = dtype == MT_UINT8 ? 255 : INT32_MAX;
  return dtype == MT_FLOAT32 || (value >= lo && value <= hi && value == floor(value));
}

void mtl_check_value(lua_State *L, int arg, mt_dtype dtype, double value) {
  if (!mtl_value_fits(dtype, value))
    luaL_argerror(L, arg, lua_pushfstring(L, "a value of %s expected, got %f", mt_dtype_name(dtype), value));
}

/* ---- filled ---- */

/* Does not return when memory ran out or the sizes are wrong. */
static mt_tensor *new_filled(lua_State *L, int arg, int options, double value) {
  int64_t shape[MT_MAX_DIMS];
  mt_tensor *t;
  const int ndim = mtl_check_shape(L, arg, shape);
  const mt_dtype dtype = check_common(L, options);
  mtl_check_value(L, 2, dtype, value);
  MTL_NEW(L, t, mt_tensor_full(dtype, ndim, shape, value));
  return t;
}

/*** Zeros.
@function zeros
@tparam integer|table ... the sizes
@tparam[opt] table|string options {dtype = "float32", requires_grad = false}; a string is the dtype
@treturn Tensor */
static int zeros(lua_State *L) {
  const int options = after_shape(L, 1);
  return push_created(L, options, new_filled(L, 1, options, 0.0));
}

/*** Ones.
@function ones
@tparam integer|table ... the sizes
@tparam[opt] table|string options as of zeros
@treturn Tensor */
static int ones(lua_State *L) {
  const int options = after_shape(L, 1);
  return push_created(L, options, new_filled(L, 1, options, 1.0));
}

/*** One value everywhere.
@function full
@tparam table shape
@tparam number value
@tparam[opt] table|string options as of zeros
@treturn Tensor */
static int full(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const double value = mtl_check_number(L, 2);
  return push_created(L, 3, new_filled(L, 1, 3, value));
}

/* ---- random ---- */

/* Checks the sizes and what is common to the options, then makes an unfilled tensor. */
static mt_tensor *new_random(lua_State *L, int options) {
  int64_t shape[MT_MAX_DIMS];
  mt_tensor *t;
  const int ndim = mtl_check_shape(L, 1, shape);
  mtl_option_boolean(L, options, "requires_grad", false);
  MTL_NEW(L, t, mt_tensor_new(MT_FLOAT32, ndim, shape));
  return t;
}

/*** Uniform random numbers in [low, high).
@function rand
@tparam integer|table ... the sizes
@tparam[opt] table options {low = 0, high = 1, generator = the default one, requires_grad = false}
@treturn Tensor */
static int uniform(lua_State *L) {
  const int options = after_shape(L, 1);
  mtl_check_options(L, options, uniform_options);
  const double low = mtl_option_number(L, options, "low", 0.0, -3e38, 3e38);
  const double high = mtl_option_number(L, options, "high", 1.0, -3e38, 3e38);
  mt_rng *rng = mtl_option_generator(L, options, "generator");
  mt_tensor *t = new_random(L, options);
  mt_fill_uniform(t, rng, (float)low, (float)high);
  return push_created(L, options, t);
}

/*** Normal random numbers.
@function randn
@tparam integer|table ... the sizes
@tparam[opt] table options {mean = 0, std = 1, generator = the default one, requires_grad = false}
@treturn Tensor */
static int normal(lua_State *L) {
  const int options = after_shape(L, 1);
  mtl_check_options(L, options, normal_options);
  const double mean = mtl_option_number(L, options, "mean", 0.0, -3e38, 3e38);
  const double std = mtl_option_number(L, options, "std", 1.0, 0.0, 3e38);
  mt_rng *rng = mtl_option_generator(L, options, "generator");
  mt_tensor *t = new_random(L, options);
  mt_fill_normal(t, rng, (float)mean, (float)std);
  return push_created(L, options, t);
}

/* ---- arange ---- */

/*** start, start + step, ... up to but without stop, as in NumPy and PyTorch.
@function arange
@tparam[opt=0] number start left out when there is only one number
@tparam number stop
@tparam[opt=1] number step
@tparam[opt] table|string options as of zeros
@treturn Tensor one axis */
static int arange(lua_State *L) {
  const int options = after_shape(L, 1), numbers = options - 1;
  if (numbers < 1 || numbers > 3) return luaL_argerror(L, 1, "one to three numbers expected: [start,] stop [, step]");
  const double start = numbers == 1 ? 0.0 : lua_tonumber(L, 1);
  const double stop = lua_tonumber(L, numbers == 1 ? 1 : 2);
  const double step = numbers == 3 ? lua_tonumber(L, 3) : 1.0;
  const mt_dtype dtype = check_common(L, options);
  const double steps = ceil((stop - start) / step);
  if (!isfinite(steps) || fabs(start) > 1e300)
    return luaL_error(L, "arange: from %f to %f by %f, expected finite numbers and a step other than 0", start, stop,
                      step);
  if (steps > (double)((int64_t)1 << 44)) return luaL_error(L, "arange: %f elements are too many", steps);
  const int64_t n = steps > 0.0 ? (int64_t)steps : 0;
  mt_tensor *t;
  if (n > 0) {
    mtl_check_value(L, 1, dtype, start);
    mtl_check_value(L, 1, dtype, start + step * (double)(n - 1));
    mtl_check_value(L, numbers == 3 ? 3 : 1, dtype == MT_FLOAT32 ? dtype : MT_INT32, step);
  }
  MTL_NEW(L, t, mt_tensor_new(dtype, 1, &n));
  for (int64_t i = 0; i < n; i++) {
    const double value = start + step * (double)i;
    if (dtype == MT_FLOAT32)
      mt_f32(t)[i] = (float)value;
    else if (dtype == MT_UINT8)
      mt_u8(t)[i] = (uint8_t)value;
    else
      mt_i32(t)[i] = (int32_t)value;
  }
  return push_created(L, options, t);
}

/* ---- nested tables ---- */

/* Where in the nesting something is wrong: "element [2][3]". */
static const char *push_place(lua_State *L, const int64_t *position, int depth) {
  char text[32 * MT_MAX_DIMS] = "";
  size_t used = 0;
  for (int i = 0; i < depth; i++)
    used += (size_t)snprintf(text + used, sizeof text - used, "[%lld]", (long long)position[i]);
  return depth ? lua_pushfstring(L, "element %s", text) : lua_pushstring(L, "the value");
}

/* The lengths along the first elements decide the shape. */
static int nested_shape(lua_State *L, int arg, int64_t shape[MT_MAX_DIMS]) {
  int ndim = 0;
  lua_pushvalue(L, arg);
  while (lua_istable(L, -1)) {
    if (ndim == MT_MAX_DIMS)
      luaL_argerror(L, arg, lua_pushfstring(L, "tables nested deeper than %d axes", MT_MAX_DIMS));
    shape[ndim++] = (int64_t)lua_rawlen(L, -1);
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
  }
  lua_pop(L, 1);
  return ndim;
}

typedef struct {
  lua_State *L;
  int arg;
  mt_tensor *t;
  int64_t at; /* elements filled */
  int64_t position[MT_MAX_DIMS];
} nested;

/* Stores the number on top of the stack. */
static void fill_element(nested *fill) {
  lua_State *L = fill->L;
  mt_tensor *t = fill->t;
  const double value = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || !mtl_value_fits(t->dtype, value)) {
    const char *got = luaL_tolstring(L, -1, NULL), *place = push_place(L, fill->position, t->ndim);
    const char *wanted = t->dtype == MT_FLOAT32 ? "number" : t->dtype == MT_UINT8 ? "uint8 value" : "int32 value";
    luaL_argerror(L, fill->arg, lua_pushfstring(L, "%s: %s expected, got %s", place, wanted, got));
  }
  if (t->dtype == MT_FLOAT32)
    mt_f32(t)[fill->at++] = (float)value;
  else if (t->dtype == MT_UINT8)
    mt_u8(t)[fill->at++] = (uint8_t)value;
  else
    mt_i32(t)[fill->at++] = (int32_t)value;
}

/* The table (or number) on top of the stack belongs at `depth`. */
static void fill_nested(nested *fill, int depth) {
  lua_State *L = fill->L;
  if (depth == fill->t->ndim) {
    fill_element(fill);
    return;
  }
  const int64_t n = fill->t->shape[depth];
  if (!lua_istable(L, -1) || (int64_t)lua_rawlen(L, -1) != n) {
    const char *got = lua_istable(L, -1) ? lua_pushfstring(L, "one of length %I", (LUAI_UACINT)lua_rawlen(L, -1))
                                         : luaL_tolstring(L, -1, NULL);
    const char *place = push_place(L, fill->position, depth);
    luaL_argerror(L, fill->arg,
                  lua_pushfstring(L, "%s: table of length %I expected, got %s", place, (LUAI_UACINT)n, got));
  }
  luaL_checkstack(L, 8, "nested tables");
  for (int64_t i = 1; i <= n; i++) {
    fill->position[depth] = i;
    lua_rawgeti(L, -1, i);
    fill_nested(fill, depth + 1);
    lua_pop(L, 1);
  }
}

/*** A tensor of the numbers in nested tables, or of one number; or a copy of a tensor.
@function tensor
@tparam table|number|Tensor values
@tparam[opt] table|string options as of zeros; for a tensor the dtype must be left out
@treturn Tensor */
static int tensor(lua_State *L) {
  int64_t shape[MT_MAX_DIMS];
  mt_tensor *t, *source = mtl_test_tensor(L, 1);
  if (source) {
    if (!lua_isnoneornil(L, 2)) return luaL_argerror(L, 2, "no options expected beside a tensor; use :to(dtype)");
    MTL_NEW(L, t, mt_tensor_copy(source));
    mtl_push_tensor(L, t);
    return 1;
  }
  if (!lua_istable(L, 1) && lua_type(L, 1) != LUA_TNUMBER) luaL_typeerror(L, 1, "table of numbers, number or tensor");
  const mt_dtype dtype = check_common(L, 2);
  const int ndim = nested_shape(L, 1, shape);
  MTL_NEW(L, t, mt_tensor_zeros(dtype, ndim, shape));
  lua_settop(L, 2);
  push_created(L, 2, t);
  nested fill = {.L = L, .arg = 1, .t = t};
  lua_pushvalue(L, 1);
  fill_nested(&fill, 0);
  lua_pop(L, 1);
  return 1;
}

static int64_t push_nested_from(lua_State *L, const mt_tensor *t, int depth, int64_t at) {
  if (depth == t->ndim) {
    if (t->dtype == MT_FLOAT32)
      lua_pushnumber(L, mt_f32(t)[at]);
    else
      lua_pushinteger(L, t->dtype == MT_UINT8 ? mt_u8(t)[at] : mt_i32(t)[at]);
    return at + 1;
  }
  const int64_t n = t->shape[depth];
  lua_createtable(L, n < INT_MAX ? (int)n : 0, 0);
  for (int64_t i = 1; i <= n; i++) {
    at = push_nested_from(L, t, depth + 1, at);
    lua_rawseti(L, -2, i);
  }
  return at;
}

void mtl_push_nested(lua_State *L, const mt_tensor *t) {
  luaL_checkstack(L, 2 * MT_MAX_DIMS, "nested tables");
  push_nested_from(L, t, 0, 0);
}

/*** A tensor of the bytes of a string, row-major, in the machine's byte order.
@function from_bytes
@tparam string bytes
@tparam string dtype
@tparam table|integer ... shape
@treturn Tensor */
static int from_bytes(lua_State *L) {
  int64_t shape[MT_MAX_DIMS];
  size_t length;
  mt_tensor *t;
  if (lua_type(L, 1) != LUA_TSTRING) luaL_typeerror(L, 1, "string");
  const char *data = lua_tolstring(L, 1, &length);
  const mt_dtype dtype = mtl_check_dtype(L, 2);
  const int ndim = mtl_check_shape(L, 3, shape);
  const int64_t count = mt_shape_count("from_bytes", ndim, shape);
  if (count < 0) return mtl_raise(L);
  if ((size_t)count * mt_dtype_size(dtype) != length) {
    char text[MT_SHAPE_TEXT];
    return luaL_error(L, "from_bytes: the string has %I bytes, expected %I for %s %s", (LUAI_UACINT)length,
                      (LUAI_UACINT)((size_t)count * mt_dtype_size(dtype)), mt_dtype_name(dtype),
                      mt_shape_text(ndim, shape, text));
  }
  MTL_NEW(L, t, mt_tensor_new(dtype, ndim, shape));
  memcpy(t->data, data, length);
  mtl_push_tensor(L, t);
  return 1;
}

const luaL_Reg mtl_tensor_creators[] = {
    {"zeros", zeros},  {"ones", ones},     {"full", full},     {"rand", uniform},
    {"randn", normal}, {"arange", arange}, {"tensor", tensor}, {"from_bytes", from_bytes},
    {NULL, NULL},
};
