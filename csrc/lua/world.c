/* core.dist: the ranks of a run. The public functions are in lua/masktune/dist. */
#include <string.h>

#include "core/batch.h"
#include "core/memory.h"
#include "dist/buckets.h"
#include "dist/place.h"
#include "dist/world.h"
#include "lua/binding.h"
#include "lua/optim.h"

#define BUCKETS "masktune.Buckets"
#define WAITS_FOR_EVER 1e9 /* seconds */

/* start(transport): the userdata that masktune.mpi gives. */
static int start(lua_State *L) {
  const mt_transport *const *transport = luaL_checkudata(L, 1, MT_TRANSPORT_CLASS);
  MTL_DO(L, mt_world_start(*transport));
  return 0;
}

/* rank, size, host, and the library's name or nil. */
static int world(lua_State *L) {
  lua_pushinteger(L, mt_world_rank());
  lua_pushinteger(L, mt_world_size());
  lua_pushstring(L, mt_world_host());
  lua_pushstring(L, mt_world_library());
  return 4;
}

static int cores(lua_State *L) {
  const int count = mt_world_cores();
  if (count < 0) mtl_raise(L);
  lua_pushinteger(L, count);
  return 1;
}

static int set_timeout(lua_State *L) {
  const double seconds = mtl_check_number(L, 1);
  if (!(seconds > 0 && seconds <= WAITS_FOR_EVER))
    luaL_argerror(L, 1, lua_pushfstring(L, "seconds in (0, %f] expected, got %f", WAITS_FOR_EVER, seconds));
  mt_world_set_timeout(seconds);
  return 0;
}

static int barrier(lua_State *L) {
  if (mt_world_barrier(luaL_optstring(L, 1, "a barrier")) < 0) mtl_raise(L);
  return 0;
}

static int check_rank(lua_State *L, int arg) { return (int)mtl_check_integer(L, arg, 0, mt_world_size() - 1); }

/* broadcast(tensor, root): in place. */
static int broadcast(lua_State *L) {
  mt_tensor *t = mtl_check_target(L, 1);
  const int root = check_rank(L, 2);
  if (mt_world_broadcast(t->data, mt_tensor_bytes(t), root, "a broadcast") < 0) mtl_raise(L);
  mt_touch(t);
  return 0;
}

/* broadcast_string(string, root): the root's. */
static int broadcast_string(lua_State *L) {
  size_t length;
  const char *own = luaL_checklstring(L, 1, &length);
  const int root = check_rank(L, 2);
  uint64_t bytes = length;
  luaL_Buffer buffer;
  if (mt_world_broadcast(&bytes, sizeof bytes, root, "a broadcast") < 0) mtl_raise(L);
  char *into = luaL_buffinitsize(L, &buffer, (size_t)bytes);
  if (mt_world_rank() == root) memcpy(into, own, length);
  if (mt_world_broadcast(into, (size_t)bytes, root, "a broadcast") < 0) mtl_raise(L);
  luaL_pushresultsize(&buffer, (size_t)bytes);
  return 1;
}

static int reduce_integers(mt_tensor *t, mt_reduction op, const char *what) {
  double *values = mt_alloc((size_t)t->count * sizeof *values);
  if (!values) return -1;
  for (int64_t i = 0; i < t->count; i++) values[i] = mt_i32(t)[i];
  int status = mt_world_reduce(values, t->count, MT_SUM_F64, op, what);
  for (int64_t i = 0; status == 0 && i < t->count; i++)
    if (values[i] < INT32_MIN || values[i] > INT32_MAX)
      status = mt_fail(MT_ERROR_ARGUMENT, "dist.all_reduce: the sum of value %lld is %.0f, beyond int32",
                       (long long)i + 1, values[i]);
  for (int64_t i = 0; status == 0 && i < t->count; i++) mt_i32(t)[i] = (int32_t)values[i];
  mt_free(values);
  return status;
}

/* reduce(tensor, op): in place; op is "sum", "max" or "min". */
static int reduce(lua_State *L) {
  static const char *const names[] = {"sum", "max", "min", NULL};
  mt_tensor *t = mtl_check_target(L, 1);
  const char *name = luaL_checkstring(L, 2), *what = "an all_reduce";
  int op = 0;
  while (names[op] && strcmp(names[op], name) != 0) op++;
  if (!names[op]) return luaL_argerror(L, 2, lua_pushfstring(L, "sum, max or min expected, got '%s'", name));
  if (t->dtype == MT_UINT8) return luaL_argerror(L, 1, "float32 or int32 tensor expected, got uint8");
  const int status = t->dtype == MT_FLOAT32 ? mt_world_reduce(t->data, t->count, MT_SUM_F32, (mt_reduction)op, what)
                                            : reduce_integers(t, (mt_reduction)op, what);
  if (status < 0) mtl_raise(L);
  mt_touch(t);
  return 0;
}

/* sums(number, ...): of each number over the ranks, in double precision. */
static int sums(lua_State *L) {
  double values[16];
  const int count = lua_gettop(L);
  if (count > 16) return luaL_error(L, "dist.sums: %d numbers, expected at most 16", count);
  for (int i = 0; i < count; i++) values[i] = mtl_check_number(L, i + 1);
  if (mt_world_sum(values, count) < 0) mtl_raise(L);
  for (int i = 0; i < count; i++) lua_pushnumber(L, values[i]);
  return count;
}

/* ---- gather ---- */

typedef struct {
  int32_t dtype, ndim;
  int64_t shape[MT_MAX_DIMS];
} form;

/* The first rank that has rows: those without any need not know what rows look like. */
static int first_with_rows(const form *forms, int size) {
  int rank = 0;
  while (rank < size - 1 && forms[rank].shape[0] == 0) rank++;
  return rank;
}

static int check_forms(const form *forms, int size) {
  const int reference = first_with_rows(forms, size);
  for (int rank = reference + 1; rank < size; rank++) {
    const form *a = &forms[reference], *b = &forms[rank];
    if (b->shape[0] == 0) continue;
    char first[MT_SHAPE_TEXT], other[MT_SHAPE_TEXT];
    const size_t rest = sizeof a->shape - sizeof a->shape[0];
    if (a->dtype == b->dtype && a->ndim == b->ndim && memcmp(a->shape + 1, b->shape + 1, rest) == 0) continue;
    return mt_fail(
        MT_ERROR_ARGUMENT,
        "dist.gather: rank %d has a tensor %s %s, rank %d has %s %s: expected the same but for the first axis",
        reference, mt_dtype_name((mt_dtype)a->dtype), mt_shape_text(a->ndim, a->shape, first), rank,
        mt_dtype_name((mt_dtype)b->dtype), mt_shape_text(b->ndim, b->shape, other));
  }
  return 0;
}

static form *gather_forms(const mt_tensor *t, size_t *bytes) {
  const int size = mt_world_size();
  form own = {.dtype = t->dtype, .ndim = t->ndim};
  form *forms = mt_alloc((size_t)size * sizeof *forms);
  for (int i = 0; i < t->ndim; i++) own.shape[i] = t->shape[i];
  for (int i = 0; i < size; i++) bytes[i] = sizeof own;
  if (forms && mt_world_gather(&own, bytes, forms, "a gather") == 0 && check_forms(forms, size) == 0) return forms;
  mt_free(forms);
  return NULL;
}

static mt_tensor *gather_tensor(const mt_tensor *t) {
  const int size = mt_world_size();
  size_t *bytes = mt_alloc((size_t)size * sizeof *bytes);
  form *forms = bytes ? gather_forms(t, bytes) : NULL;
  mt_tensor *all = NULL;
  if (forms) {
    form whole = forms[first_with_rows(forms, size)];
    int64_t row = (int64_t)mt_dtype_size((mt_dtype)whole.dtype), rows = 0;
    for (int i = 1; i < whole.ndim; i++) row *= whole.shape[i];
    for (int rank = 0; rank < size; rank++) {
      bytes[rank] = (size_t)(forms[rank].shape[0] * row);
      rows += forms[rank].shape[0];
    }
    whole.shape[0] = rows;
    all = mt_tensor_new((mt_dtype)whole.dtype, whole.ndim, whole.shape);
    if (all && mt_world_gather(t->data, bytes, all->data, "a gather") < 0) {
      mt_release(all);
      all = NULL;
    }
  }
  mt_free(forms);
  mt_free(bytes);
  return all;
}

static int gather(lua_State *L) {
  const mt_tensor *t = mtl_check_tensor(L, 1);
  if (t->ndim == 0) return luaL_argerror(L, 1, "tensor with an axis expected, got a scalar");
  mt_tensor *all = gather_tensor(t);
  if (!all) mtl_raise(L);
  mtl_push_tensor(L, all);
  return 1;
}

/* ---- the batch ---- */

/* sync_batch(whether): batch norm's statistics are those of all ranks' parts of a batch. */
static int sync_batch(lua_State *L) {
  mt_batch_set_sum(mtl_check_boolean(L, 1) && mt_world_size() > 1 ? mt_world_sum : NULL);
  return 0;
}

/* abort(message): of the whole run; does not return. */
static int end_run(lua_State *L) {
  mt_world_abort(luaL_checkstring(L, 1));
  return 0;
}

/* ---- buckets ---- */

static mt_buckets *check_buckets(lua_State *L) { return *(mt_buckets **)luaL_checkudata(L, 1, BUCKETS); }

static void release_buckets(void *buckets) { mt_buckets_free(buckets); }

static int buckets(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const double bytes = mtl_check_number(L, 2);
  int count;
  mt_tensor **params = mtl_check_tensor_list(L, 1, "parameters", &count);
  if (!(bytes > 0 && bytes <= 0x1p40)) luaL_argerror(L, 2, "bytes > 0 expected");
  mt_buckets *b;
  MTL_NEW(L, b, mt_buckets_new(params, count, (size_t)bytes));
  mtl_push_owner(L, b, release_buckets, BUCKETS, 0);
  return 1;
}

static int buckets_begin(lua_State *L) {
  mt_buckets_begin(check_buckets(L));
  return 0;
}

/* Seconds waited. */
static int buckets_finish(lua_State *L) {
  double waited;
  if (mt_buckets_finish(check_buckets(L), &waited) < 0) mtl_raise(L);
  lua_pushnumber(L, waited);
  return 1;
}

static void set_number(lua_State *L, const char *name, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

/* times(): of the last step, a list with bytes, begun and arrived of each bucket. */
static int buckets_times(lua_State *L) {
  const mt_buckets *b = check_buckets(L);
  lua_createtable(L, mt_buckets_count(b), 0);
  for (int i = 0; i < mt_buckets_count(b); i++) {
    const mt_bucket_times times = mt_buckets_times(b, i);
    lua_createtable(L, 0, 3);
    set_number(L, "bytes", times.bytes);
    set_number(L, "begun", times.begun);
    set_number(L, "arrived", times.arrived);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int buckets_count(lua_State *L) {
  lua_pushinteger(L, mt_buckets_count(check_buckets(L)));
  return 1;
}

static int buckets_collect(lua_State *L) {
  mt_buckets **held = luaL_checkudata(L, 1, BUCKETS);
  mt_buckets_free(*held);
  *held = NULL;
  return 0;
}

static const luaL_Reg bucket_methods[] = {
    {"begin", buckets_begin}, {"finish", buckets_finish}, {"times", buckets_times}, {NULL, NULL}};
static const luaL_Reg bucket_meta[] = {{"__gc", buckets_collect}, {"__len", buckets_count}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"start", start},
    {"world", world},
    {"cores", cores},
    {"set_timeout", set_timeout},
    {"barrier", barrier},
    {"broadcast", broadcast},
    {"broadcast_string", broadcast_string},
    {"reduce", reduce},
    {"sums", sums},
    {"gather", gather},
    {"sync_batch", sync_batch},
    {"abort", end_run},
    {"buckets", buckets},
    {NULL, NULL},
};

void mtl_open_world(lua_State *L) {
  mtl_new_class(L, BUCKETS, bucket_methods, bucket_meta);
  luaL_newlib(L, functions);
  lua_setfield(L, -2, "dist");
}
