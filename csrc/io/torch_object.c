#include "io/torch_object.h"

#include <stdlib.h>
#include <string.h>

#include "core/error.h"

#define MAX_OBJECTS ((size_t)1 << 19)

#define fail_object(o, format, ...) mt_fail(MT_ERROR_FORMAT, "load: '%s': " format, (o)->path, __VA_ARGS__)

/* ---- globals ---- */

typedef enum { ORDERED_DICT, SIZE, REBUILD_TENSOR, REBUILD_PARAMETER, STORAGE, DTYPE } role;

/* Every name that a pickle may call or mention, with what it stands for; format: of a storage's items, or of a dtype.
 */
static const struct {
  const char *name;
  role role;
  const char *format;
} globals[] = {
    {"collections.OrderedDict", ORDERED_DICT, NULL},
    {"torch.Size", SIZE, NULL},
    {"torch._utils._rebuild_tensor", REBUILD_TENSOR, NULL},
    {"torch._utils._rebuild_tensor_v2", REBUILD_TENSOR, NULL},
    {"torch._utils._rebuild_tensor_v3", REBUILD_TENSOR, NULL},
    {"torch._utils._rebuild_parameter", REBUILD_PARAMETER, NULL},
    {"torch.FloatStorage", STORAGE, "F32"},
    {"torch.DoubleStorage", STORAGE, "F64"},
    {"torch.HalfStorage", STORAGE, "F16"},
    {"torch.BFloat16Storage", STORAGE, "BF16"},
    {"torch.LongStorage", STORAGE, "I64"},
    {"torch.IntStorage", STORAGE, "I32"},
    {"torch.ShortStorage", STORAGE, "I16"},
    {"torch.CharStorage", STORAGE, "I8"},
    {"torch.ByteStorage", STORAGE, "U8"},
    {"torch.BoolStorage", STORAGE, "BOOL"},
    {"torch.UntypedStorage", STORAGE, "U8"},
    {"torch.storage.UntypedStorage", STORAGE, "U8"},
    {"torch.float32", DTYPE, "F32"},
    {"torch.float64", DTYPE, "F64"},
    {"torch.float16", DTYPE, "F16"},
    {"torch.bfloat16", DTYPE, "BF16"},
    {"torch.int64", DTYPE, "I64"},
    {"torch.int32", DTYPE, "I32"},
    {"torch.int16", DTYPE, "I16"},
    {"torch.int8", DTYPE, "I8"},
    {"torch.uint8", DTYPE, "U8"},
    {"torch.bool", DTYPE, "BOOL"},
};

static int find_global(void *context, const char *name) {
  const mt_torch_objects *o = context;
  for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++)
    if (strcmp(globals[i].name, name) == 0) return (int)i;
  return fail_object(o, "refuses %.200s, expected tensors, dicts, lists, numbers and strings only", name);
}

static bool is_global(const mt_pickle_value *value, role wanted) {
  return value->kind == MT_PICKLE_GLOBAL && globals[value->integer].role == wanted;
}

/* ---- lists of objects ---- */

/* Room for one more of `count` objects. */
static int reserve_one(const mt_torch_objects *o, void **items, size_t count, size_t *capacity, size_t item_size) {
  if (count < *capacity) return 0;
  if (count >= MAX_OBJECTS) return fail_object(o, "more than %zu tensors", MAX_OBJECTS);
  const size_t wanted = *capacity ? 2 * *capacity : 16;
  void *grown = realloc(*items, wanted * item_size);
  if (!grown) return mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", o->path);
  *items = grown;
  *capacity = wanted;
  return 0;
}

void mt_torch_objects_free(mt_torch_objects *o) {
  free(o->storages);
  free(o->tensors);
  *o = (mt_torch_objects){.path = o->path};
}

/* ---- storages: ("storage", type, key, where it was, items[, view]) ---- */

/* An old file's view of another storage: (key, first item, items). */
static int read_view(const mt_torch_objects *o, const mt_pickle_value *view, mt_torch_storage *s) {
  if (view->kind == MT_PICKLE_NONE) return 0;
  const mt_pickle_value *v = view->kind == MT_PICKLE_TUPLE && view->items->count == 3 ? view->items->values : NULL;
  if (!v || v[1].kind != MT_PICKLE_INTEGER || v[2].kind != MT_PICKLE_INTEGER || v[1].integer < 0 || v[2].integer < 0 ||
      v[1].integer > s->count || v[2].integer > s->count - v[1].integer)
    return fail_object(o, "a storage's view is %s, expected (key, first, items) inside of it",
                       mt_pickle_kind_name(view->kind));
  s->first = v[1].integer;
  s->n_items = v[2].integer;
  return 0;
}

static int persistent(void *context, mt_pickle *pickle, const mt_pickle_value *id, mt_pickle_value *result) {
  mt_torch_objects *o = context;
  (void)pickle;
  const bool is_tuple = id->kind == MT_PICKLE_TUPLE;
  const size_t count = is_tuple ? id->items->count : 0;
  const mt_pickle_value *v = is_tuple ? id->items->values : NULL;
  if (count > 0 && mt_pickle_is_text(&v[0], "module"))
    return fail_object(o, "%s", "refuses a pickled module, expected a state dict");
  if (count < 5 || count > 6 || !mt_pickle_is_text(&v[0], "storage") || !is_global(&v[1], STORAGE) ||
      v[2].kind != MT_PICKLE_STRING || v[4].kind != MT_PICKLE_INTEGER || v[4].integer < 0)
    return fail_object(o, "%s", "a reference is none to a storage: ('storage', type, key, location, items)");
  if (reserve_one(o, (void **)&o->storages, o->n_storages, &o->storages_capacity, sizeof *o->storages) < 0) return -1;
  mt_torch_storage *s = &o->storages[o->n_storages];
  *s = (mt_torch_storage){.key = v[2].text,
                          .key_size = v[2].size,
                          .format = mt_file_dtype_find(globals[v[1].integer].format),
                          .count = v[4].integer,
                          .n_items = v[4].integer,
                          .offset = -1};
  if (s->count > INT64_MAX / 8) return fail_object(o, "a storage has %lld items", (long long)s->count);
  if (count == 6 && read_view(o, &v[5], s) < 0) return -1;
  *result = (mt_pickle_value){.kind = MT_PICKLE_OBJECT, .integer = 2 * (int64_t)o->n_storages++};
  return 0;
}

/* ---- tensors: (storage, first item, shape, strides[, requires_grad, hooks[, dtype, ...]]) ---- */

/* A tuple of integers >= 0. Returns how many. */
static int read_sizes(const mt_torch_objects *o, const mt_pickle_value *tuple, const char *what,
                      int64_t sizes[MT_MAX_DIMS]) {
  if (tuple->kind != MT_PICKLE_TUPLE)
    return fail_object(o, "a tensor's %s is %s, expected a tuple", what, mt_pickle_kind_name(tuple->kind));
  if (tuple->items->count > MT_MAX_DIMS)
    return fail_object(o, "a tensor has %zu axes, expected at most %d", tuple->items->count, MT_MAX_DIMS);
  for (size_t i = 0; i < tuple->items->count; i++) {
    const mt_pickle_value *v = &tuple->items->values[i];
    if (v->kind != MT_PICKLE_INTEGER || v->integer < 0)
      return fail_object(o, "a tensor's %s holds %s, expected integers >= 0", what,
                         v->kind == MT_PICKLE_INTEGER ? "a negative integer" : mt_pickle_kind_name(v->kind));
    sizes[i] = v->integer;
  }
  return (int)tuple->items->count;
}

/* Whether every item of the tensor lies in `items` items from s->first on, all in the tensor's format. */
static int check_place(const mt_torch_objects *o, const mt_torch_tensor *t, int64_t begin, int64_t end) {
  int64_t last = t->first;
  bool fits = t->first >= begin;
  for (int i = 0; i < t->ndim && fits && t->count > 0; i++) {
    int64_t reach;
    fits =
        !__builtin_mul_overflow(t->shape[i] - 1, t->strides[i], &reach) && !__builtin_add_overflow(last, reach, &last);
  }
  char text[MT_SHAPE_TEXT];
  if (fits && (t->count == 0 || last < end)) return 0;
  return fail_object(o, "a tensor of shape %s from item %lld on reaches beyond its storage of %lld items",
                     mt_shape_text(t->ndim, t->shape, text), (long long)(t->first - begin), (long long)(end - begin));
}

static int read_tensor(mt_torch_objects *o, const mt_pickle_items *args, mt_torch_tensor *t) {
  const mt_pickle_value *v = args->values;
  char text[MT_SHAPE_TEXT];
  if (args->count < 4 || v[0].kind != MT_PICKLE_OBJECT || v[0].integer % 2 != 0 || v[1].kind != MT_PICKLE_INTEGER)
    return fail_object(o, "%s", "a tensor is made of something else than (storage, first item, shape, strides)");
  if (args->count > 6 && !is_global(&v[6], DTYPE))
    return fail_object(o, "a tensor's dtype is %s, expected one of torch's", mt_pickle_kind_name(v[6].kind));
  t->storage = (size_t)(v[0].integer / 2);
  const mt_torch_storage *s = &o->storages[t->storage];
  t->format = args->count > 6 ? mt_file_dtype_find(globals[v[6].integer].format) : s->format;
  t->ndim = read_sizes(o, &v[2], "shape", t->shape);
  const int n_strides = t->ndim < 0 ? -1 : read_sizes(o, &v[3], "strides", t->strides);
  if (n_strides < 0) return -1;
  if (n_strides != t->ndim) return fail_object(o, "a tensor has %d axes and %d strides", t->ndim, n_strides);
  t->count = mt_shape_count("load", t->ndim, t->shape);
  if (t->count < 0)
    return fail_object(o, "a tensor's shape %s has too many elements", mt_shape_text(t->ndim, t->shape, text));
  const int64_t item = (int64_t)t->format->size, bytes = (int64_t)s->format->size;
  const int64_t begin = s->first * bytes / item;
  if (s->first * bytes % item != 0 || v[1].integer < 0 || __builtin_add_overflow(begin, v[1].integer, &t->first))
    return fail_object(o, "a tensor begins at item %lld of its storage", (long long)v[1].integer);
  return check_place(o, t, begin, (s->first + s->n_items) * bytes / item);
}

static int rebuild_tensor(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result) {
  if (reserve_one(o, (void **)&o->tensors, o->n_tensors, &o->tensors_capacity, sizeof *o->tensors) < 0) return -1;
  mt_torch_tensor *t = &o->tensors[o->n_tensors];
  *t = (mt_torch_tensor){0};
  if (read_tensor(o, args, t) < 0) return -1;
  *result = (mt_pickle_value){.kind = MT_PICKLE_OBJECT, .integer = 2 * (int64_t)o->n_tensors++ + 1};
  return 0;
}

/* ---- dicts ---- */

/* OrderedDict(), or from Python 2 OrderedDict([[key, value], ...]). */
static int ordered_dict(mt_torch_objects *o, mt_pickle *pickle, const mt_pickle_items *args, mt_pickle_value *result) {
  mt_pickle_items *items = mt_pickle_items_new(pickle);
  if (!items) return -1;
  if (args->count > 1 || (args->count == 1 && args->values[0].kind != MT_PICKLE_LIST))
    return fail_object(o, "%s", "an OrderedDict is made of something else than a list of pairs");
  const mt_pickle_items *pairs = args->count == 1 ? args->values[0].items : NULL;
  for (size_t i = 0; pairs && i < pairs->count; i++) {
    const mt_pickle_value *pair = &pairs->values[i];
    if ((pair->kind != MT_PICKLE_LIST && pair->kind != MT_PICKLE_TUPLE) || pair->items->count != 2)
      return fail_object(o, "%s", "an OrderedDict is made of something else than a list of pairs");
    for (int j = 0; j < 2; j++)
      if (mt_pickle_append(pickle, items, &pair->items->values[j]) < 0) return -1;
  }
  *result = (mt_pickle_value){.kind = MT_PICKLE_DICT, .items = items};
  return 0;
}

static int call(void *context, mt_pickle *pickle, int64_t global, const mt_pickle_items *args,
                mt_pickle_value *result) {
  mt_torch_objects *o = context;
  const mt_pickle_value *first = args->count > 0 ? &args->values[0] : NULL;
  switch (globals[global].role) {
    case ORDERED_DICT:
      return ordered_dict(o, pickle, args, result);
    case REBUILD_TENSOR:
      return rebuild_tensor(o, args, result);
    case REBUILD_PARAMETER:
      if (!first || !mt_torch_tensor_of(o, first)) return fail_object(o, "%s", "a parameter is made of no tensor");
      *result = *first;
      return 0;
    case SIZE:
      if (!first || first->kind != MT_PICKLE_TUPLE) return fail_object(o, "%s", "a torch.Size is made of no tuple");
      *result = *first;
      return 0;
    default:
      return fail_object(o, "refuses a call of %s", globals[global].name);
  }
}

const mt_pickle_hooks mt_torch_hooks = {.find_global = find_global, .call = call, .persistent = persistent};
