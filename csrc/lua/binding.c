#include "core/words.h"
#include "lua/binding.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"

#define COLLECTIONS_PER_LOOK 32

/* ---- errors ---- */

int mtl_raise(lua_State *L) { return luaL_error(L, "%s", mt_error_message()); }

/* Lua's collector as the host has set it. */
static _Thread_local struct {
  bool is_generational;
  int unchecked; /* collections since it was looked at */
} collector;

/* Lua tells its collector's mode only as the one before that it is given. To give the same again costs nothing; to turn
 * an incremental one to and fro is a collection, so that is not done every time. */
static void look_at_mode(lua_State *L) {
  if (!collector.is_generational && collector.unchecked++ % COLLECTIONS_PER_LOOK != 0) return;
  collector.is_generational = lua_gc(L, LUA_GCGEN, 0, 0) == LUA_GCGEN;
  if (!collector.is_generational) lua_gc(L, LUA_GCINC, 0, 0, 0);
}

static void collect(lua_State *L) {
  look_at_mode(L);
  lua_gc(L, LUA_GCCOLLECT);
  mt_memory_collected();
}

static void collect_young(lua_State *L) {
  look_at_mode(L);
  lua_gc(L, LUA_GCSTEP, 0);
  mt_memory_collected_young();
}

bool mtl_collect_for_memory(lua_State *L) {
  if (mt_error_last_kind() != MT_ERROR_MEMORY) return false;
  collect(L);
  return true;
}

static void collect_if_wanted(lua_State *L) {
  if (mt_memory_wants_collection((size_t)lua_gc(L, LUA_GCCOUNT) << 10)) collect(L);
}

/* Collecting waits for the next operation's first tensor, before it allocates its result: what was pushed here may be
 * garbage by then, and the result takes over its buffer, which is still in the processor's cache. Operations without
 * tensors collect as they push theirs; but not what is young, because to the collector a result that it meets twice is
 * old. */
static _Thread_local bool pushed;

void mtl_pushed_memory(lua_State *L) {
  if (pushed) collect_if_wanted(L);
  pushed = true;
}

static void collect_before_result(lua_State *L) {
  if (!pushed) return;
  pushed = false;
  if (collector.is_generational && mt_memory_wants_young_collection()) collect_young(L);
  collect_if_wanted(L);
}

/* ---- owners ---- */

static int new_owner(lua_State *L) {
  void **place = lua_newuserdatauv(L, sizeof *place, (int)lua_tointeger(L, 2));
  *place = NULL;
  luaL_setmetatable(L, lua_touserdata(L, 1));
  return 1;
}

void mtl_push_owner(lua_State *L, void *object, void (*release)(void *), const char *class, int user_values) {
  lua_pushcfunction(L, new_owner);
  lua_pushlightuserdata(L, (void *)class);
  lua_pushinteger(L, user_values);
  if (lua_pcall(L, 2, 1, 0) != LUA_OK) {
    release(object);
    lua_error(L);
  }
  *(void **)lua_touserdata(L, -1) = object;
}

/* ---- tensors ---- */

static void release_tensor(void *t) { mt_release(t); }

void mtl_push_operand(lua_State *L, mt_tensor *t) { mtl_push_owner(L, t, release_tensor, MTL_TENSOR, 0); }

void mtl_push_tensor(lua_State *L, mt_tensor *t) {
  mtl_push_operand(L, t);
  mtl_pushed_memory(L);
}

static void release_both(void *tensors) {
  for (int i = 0; i < 2; i++) mt_release(((mt_tensor **)tensors)[i]);
}

void mtl_push_two_tensors(lua_State *L, mt_tensor *first, mt_tensor *second) {
  mt_tensor *both[2] = {first, second};
  mtl_push_owner(L, both, release_both, MTL_TENSOR, 0);
  *(mt_tensor **)lua_touserdata(L, -1) = first;
  mtl_push_tensor(L, second);
}

/* A finalised tensor can come back: through another object's finaliser, or an explicit call of __gc. */
mt_tensor *mtl_check_tensor(lua_State *L, int arg) {
  mt_tensor *t = *(mt_tensor **)luaL_checkudata(L, arg, MTL_TENSOR);
  if (!t) luaL_argerror(L, arg, "the tensor was already released");
  collect_before_result(L);
  return t;
}

mt_tensor *mtl_check_target(lua_State *L, int arg) {
  mt_tensor *t = mtl_check_tensor(L, arg);
  if (t->storage->copied_by)
    luaL_error(L,
               "in-place write: the tensor is a copy that %s made, so nothing else would change; assign to t[{...}] of "
               "the tensor itself, or clone() the copy first",
               t->storage->copied_by);
  return t;
}

mt_tensor *mtl_test_tensor(lua_State *L, int arg) {
  mt_tensor **slot = luaL_testudata(L, arg, MTL_TENSOR);
  if (!slot) return NULL;
  collect_before_result(L);
  return *slot;
}

mt_tensor *mtl_opt_tensor(lua_State *L, int arg) { return lua_isnoneornil(L, arg) ? NULL : mtl_check_tensor(L, arg); }

/* ---- arguments ---- */

const char *mtl_describe(lua_State *L, int index) {
  index = lua_absindex(L, index);
  switch (lua_type(L, index)) {
    case LUA_TNONE:
      return "no value";
    case LUA_TNUMBER:
      lua_pushvalue(L, index); /* lua_tostring would change the original */
      lua_tostring(L, -1);
      return lua_tostring(L, -1);
    case LUA_TSTRING:
      return lua_pushfstring(L, "'%s'", lua_tostring(L, index));
    case LUA_TBOOLEAN:
      return lua_toboolean(L, index) ? "true" : "false";
    default:
      if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING) return lua_tostring(L, -1);
      return luaL_typename(L, index);
  }
}

static int argument_error(lua_State *L, int arg, const char *expected) {
  return luaL_argerror(L, arg, lua_pushfstring(L, "%s expected, got %s", expected, mtl_describe(L, arg)));
}

/* An integer as a number in Lua's own sense: 3 and 3.0, not "3". */
static bool integer_at(lua_State *L, int index, int64_t *value) {
  int exact = 0;
  if (lua_type(L, index) != LUA_TNUMBER) return false;
  *value = lua_tointegerx(L, index, &exact);
  return exact;
}

/* Into a buffer and not on the stack, where it would take the place of an argument that is missing. */
static const char *integer_range(int64_t lo, int64_t hi, char text[64]) {
  if (hi == INT64_MAX && lo == INT64_MIN) return "integer";
  if (hi == INT64_MAX)
    snprintf(text, 64, "integer >= %lld", (long long)lo);
  else
    snprintf(text, 64, "integer in [%lld, %lld]", (long long)lo, (long long)hi);
  return text;
}

int64_t mtl_check_integer(lua_State *L, int arg, int64_t lo, int64_t hi) {
  int64_t value = 0;
  char range[64];
  if (!integer_at(L, arg, &value) || value < lo || value > hi) argument_error(L, arg, integer_range(lo, hi, range));
  return value;
}

double mtl_check_number(lua_State *L, int arg) {
  if (lua_type(L, arg) != LUA_TNUMBER) argument_error(L, arg, "number");
  return lua_tonumber(L, arg);
}

bool mtl_check_boolean(lua_State *L, int arg) {
  if (!lua_isboolean(L, arg)) argument_error(L, arg, "boolean");
  return lua_toboolean(L, arg);
}

mt_dtype mtl_check_dtype(lua_State *L, int arg) {
  const int dtype = lua_type(L, arg) == LUA_TSTRING ? mt_dtype_from_name(lua_tostring(L, arg)) : -1;
  if (dtype < 0) argument_error(L, arg, "dtype 'float32', 'uint8' or 'int32'");
  return (mt_dtype)dtype;
}

const char *mtl_check_path(lua_State *L, int arg) {
  luaL_checktype(L, arg, LUA_TSTRING);
  const char *path = lua_tostring(L, arg);
  luaL_argcheck(L, *path && strlen(path) == lua_rawlen(L, arg), arg,
                "path expected, got an empty string or one with a zero byte");
  return path;
}

static int shape_from_table(lua_State *L, int arg, int64_t shape[MT_MAX_DIMS]) {
  const lua_Integer n = luaL_len(L, arg);
  if (n > MT_MAX_DIMS)
    luaL_argerror(L, arg, lua_pushfstring(L, "%I axes, expected at most %d", (LUAI_UACINT)n, MT_MAX_DIMS));
  for (int i = 0; i < (int)n; i++) {
    lua_geti(L, arg, i + 1);
    if (!integer_at(L, -1, &shape[i]) || shape[i] < 0)
      luaL_argerror(
          L, arg,
          lua_pushfstring(L, "size %d of the shape: integer >= 0 expected, got %s", i + 1, mtl_describe(L, -1)));
    lua_pop(L, 1);
  }
  return (int)n;
}

int mtl_check_shape(lua_State *L, int arg, int64_t shape[MT_MAX_DIMS]) {
  if (lua_istable(L, arg)) return shape_from_table(L, arg, shape);
  int n = 0;
  for (; lua_type(L, arg + n) == LUA_TNUMBER; n++) {
    if (n == MT_MAX_DIMS) luaL_argerror(L, arg + n, lua_pushfstring(L, "expected at most %d axes", MT_MAX_DIMS));
    shape[n] = mtl_check_integer(L, arg + n, 0, INT64_MAX);
  }
  if (n == 0) argument_error(L, arg, "sizes or a table of sizes");
  return n;
}

int mtl_check_axis(lua_State *L, int arg, int ndim) {
  int64_t axis = 0;
  char range[64];
  snprintf(range, sizeof range, "axis in 1..%d or -1..-%d", ndim, ndim);
  if (!integer_at(L, arg, &axis) || axis == 0 || axis > ndim || axis < -ndim) argument_error(L, arg, range);
  return (int)(axis > 0 ? axis - 1 : ndim + axis);
}

/* ---- options ---- */

void mtl_check_options(lua_State *L, int arg, const char *const known[]) {
  if (lua_isnoneornil(L, arg)) return;
  if (!lua_istable(L, arg)) argument_error(L, arg, "table of options");
  mtl_check_fields(L, arg, arg, "", known);
}

void mtl_check_fields(lua_State *L, int table, int arg, const char *where, const char *const known[]) {
  lua_pushnil(L);
  while (lua_next(L, table)) {
    lua_pop(L, 1);
    int i = 0;
    if (lua_type(L, -1) == LUA_TSTRING)
      while (known[i] && strcmp(known[i], lua_tostring(L, -1)) != 0) i++;
    else
      while (known[i]) i++;
    if (known[i]) continue;
    luaL_Buffer list;
    const char *nearest = lua_type(L, -1) == LUA_TSTRING ? mt_nearest_word(lua_tostring(L, -1), known) : NULL;
    const char *got = mtl_describe(L, -1);
    luaL_buffinit(L, &list);
    for (i = 0; known[i]; i++) {
      if (i) luaL_addstring(&list, ", ");
      luaL_addstring(&list, known[i]);
    }
    luaL_pushresult(&list);
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "%sunknown option %s, expected one of: %s%s%s%s", where, got, lua_tostring(L, -1),
                                  nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : ""));
  }
}

int mtl_option_error(lua_State *L, int arg, const char *name, const char *expected) {
  const char *got = mtl_describe(L, -1);
  return luaL_argerror(L, arg, lua_pushfstring(L, "option '%s': %s expected, got %s", name, expected, got));
}

/* Pushes the field; false (and nothing pushed) when it is missing. */
static bool push_option(lua_State *L, int arg, const char *name) {
  if (!lua_istable(L, arg)) return false;
  if (lua_getfield(L, arg, name) != LUA_TNIL) return true;
  lua_pop(L, 1);
  return false;
}

bool mtl_has_option(lua_State *L, int arg, const char *name) {
  if (!push_option(L, arg, name)) return false;
  lua_pop(L, 1);
  return true;
}

int64_t mtl_option_integer(lua_State *L, int arg, const char *name, int64_t fallback, int64_t lo, int64_t hi) {
  int64_t value = 0;
  if (!push_option(L, arg, name)) return fallback;
  if (!integer_at(L, -1, &value) || value < lo || value > hi) {
    char range[64];
    mtl_option_error(L, arg, name, integer_range(lo, hi, range));
  }
  lua_pop(L, 1);
  return value;
}

double mtl_option_number(lua_State *L, int arg, const char *name, double fallback, double lo, double hi) {
  if (!push_option(L, arg, name)) return fallback;
  const double value = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || !(value >= lo && value <= hi)) {
    const char *expected = lua_pushfstring(L, "number in [%f, %f]", lo, hi);
    push_option(L, arg, name);
    mtl_option_error(L, arg, name, expected);
  }
  lua_pop(L, 1);
  return value;
}

bool mtl_option_boolean(lua_State *L, int arg, const char *name, bool fallback) {
  if (!push_option(L, arg, name)) return fallback;
  if (!lua_isboolean(L, -1)) mtl_option_error(L, arg, name, "boolean");
  const bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

int mtl_option_choice(lua_State *L, int arg, const char *name, int fallback, const char *const choices[]) {
  if (!push_option(L, arg, name)) return fallback;
  int i = 0;
  if (lua_type(L, -1) == LUA_TSTRING)
    while (choices[i] && strcmp(choices[i], lua_tostring(L, -1)) != 0) i++;
  else
    while (choices[i]) i++;
  if (!choices[i]) {
    char expected[256] = "";
    size_t used = 0;
    for (int c = 0; choices[c] && used < sizeof expected; c++)
      used += (size_t)snprintf(expected + used, sizeof expected - used, "%s'%s'", c ? " or " : "", choices[c]);
    mtl_option_error(L, arg, name, expected);
  }
  lua_pop(L, 1);
  return i;
}

const char *mtl_option_string(lua_State *L, int arg, const char *name, const char *fallback) {
  if (!push_option(L, arg, name)) return fallback;
  if (lua_type(L, -1) != LUA_TSTRING) mtl_option_error(L, arg, name, "string");
  const char *value = lua_tostring(L, -1);
  lua_pop(L, 1); /* the table keeps it alive */
  return value;
}

mt_tensor *mtl_option_tensor(lua_State *L, int arg, const char *name) {
  if (!push_option(L, arg, name)) return NULL;
  mt_tensor *t = mtl_test_tensor(L, -1);
  if (!t) mtl_option_error(L, arg, name, MTL_TENSOR);
  lua_pop(L, 1);
  return t;
}

void mtl_option_pair(lua_State *L, int arg, const char *name, int64_t fallback, int64_t lo, int64_t hi,
                     int64_t out[2]) {
  out[0] = out[1] = fallback;
  if (!push_option(L, arg, name)) return;
  bool valid = true;
  if (lua_istable(L, -1)) {
    for (int i = 0; i < 2; i++) {
      lua_geti(L, -1, i + 1);
      valid = valid && integer_at(L, -1, &out[i]) && out[i] >= lo && out[i] <= hi;
      lua_pop(L, 1);
    }
    valid = valid && luaL_len(L, -1) == 2;
  } else {
    valid = integer_at(L, -1, &out[0]) && out[0] >= lo && out[0] <= hi;
    out[1] = out[0];
  }
  if (!valid) {
    char range[64];
    const char *expected = lua_pushfstring(L, "%s or a table of two", integer_range(lo, hi, range));
    push_option(L, arg, name);
    mtl_option_error(L, arg, name, expected);
  }
  lua_pop(L, 1);
}

bool mtl_option_color(lua_State *L, int arg, const char *name, uint8_t color[3]) {
  if (!push_option(L, arg, name)) return false;
  bool valid = lua_istable(L, -1) && luaL_len(L, -1) == 3;
  for (int i = 0; valid && i < 3; i++) {
    int64_t value = 0;
    lua_geti(L, -1, i + 1);
    valid = integer_at(L, -1, &value) && value >= 0 && value <= 255;
    color[i] = (uint8_t)value;
    lua_pop(L, 1);
  }
  if (!valid) mtl_option_error(L, arg, name, "table of three integers in [0, 255]");
  lua_pop(L, 1);
  return true;
}

mt_rng *mtl_option_generator(lua_State *L, int arg, const char *name) {
  if (!push_option(L, arg, name)) return NULL;
  mt_rng *rng = luaL_testudata(L, -1, MTL_GENERATOR);
  if (!rng) mtl_option_error(L, arg, name, MTL_GENERATOR);
  lua_pop(L, 1);
  return rng;
}

void mtl_new_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta) {
  luaL_newmetatable(L, name);
  if (meta) luaL_setfuncs(L, meta, 0);
  if (lua_getfield(L, -1, "__index") == LUA_TNIL) {
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -3, "__index");
  }
  lua_pop(L, 2);
}
