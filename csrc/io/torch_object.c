#include "io/torch_object.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "io/torch_pickles.h"
#include "io/weights.h"

#define MAX_OBJECTS ((size_t)1 << 19)

#define fail_object(o, format, ...) mt_fail(MT_ERROR_FORMAT, "load: '%s': " format, (o)->path, __VA_ARGS__)

/* ---- globals ---- */

typedef enum {
  ORDERED_DICT,
  DEFAULT_DICT, /* of a function for missing keys */
  DICT_OF,      /* of a dict, if any */
  LIST_OF,      /* of a list or tuple, if any; sets too */
  TUPLE_OF,
  BYTES,
  TENSOR,
  TENSOR_BY_FUNCTION,
  SAME_TENSOR, /* of a tensor and what does not matter here */
  OTHER_TENSOR,
  STORAGE,
  STORAGE_OF_BYTES,
  DTYPE,
  NUMPY_DTYPE,
  NUMPY_ARRAY,
  NUMPY_BUFFER,
  NUMPY_NUMBER
} role;

/* Every name that a pickle may call or mention and that means something here. text: the format of a storage's items, or
 * of a dtype; of what is not read here, what it is. item: bytes of one item of a storage that is not read here. */
static const struct {
  const char *name;
  role role;
  const char *text;
  size_t item;
} globals[] = {
    {"collections.OrderedDict", ORDERED_DICT, NULL, 0},
    {"collections.defaultdict", DEFAULT_DICT, NULL, 0},
    {"collections.Counter", DICT_OF, NULL, 0},
    {"builtins.dict", DICT_OF, NULL, 0},
    {"__builtin__.dict", DICT_OF, NULL, 0},
    {"builtins.list", LIST_OF, NULL, 0},
    {"__builtin__.list", LIST_OF, NULL, 0},
    {"builtins.set", LIST_OF, NULL, 0},
    {"__builtin__.set", LIST_OF, NULL, 0},
    {"builtins.frozenset", LIST_OF, NULL, 0},
    {"__builtin__.frozenset", LIST_OF, NULL, 0},
    {"torch.Size", TUPLE_OF, NULL, 0},
    {"_codecs.encode", BYTES, NULL, 0},
    {"builtins.bytes", BYTES, NULL, 0},
    {"__builtin__.bytes", BYTES, NULL, 0},
    {"builtins.bytearray", BYTES, NULL, 0},
    {"__builtin__.bytearray", BYTES, NULL, 0},
    {"torch._utils._rebuild_tensor", TENSOR, NULL, 0},
    {"torch._utils._rebuild_tensor_v2", TENSOR, NULL, 0},
    {"torch._utils._rebuild_tensor_v3", TENSOR, NULL, 0},
    {"torch._tensor._rebuild_from_type_v2", TENSOR_BY_FUNCTION, NULL, 0},
    {"torch._utils._rebuild_parameter", SAME_TENSOR, NULL, 0},
    {"torch._utils._rebuild_parameter_with_state", SAME_TENSOR, NULL, 0},
    {"torch.nn.parameter.Parameter", SAME_TENSOR, NULL, 0},
    {"torch.autograd.variable.Variable", SAME_TENSOR, NULL, 0},
    {"torch._utils._rebuild_device_tensor_from_numpy", SAME_TENSOR, NULL, 0},
    {"torch._utils._rebuild_device_tensor_from_cpu_tensor", SAME_TENSOR, NULL, 0},
    {"torch._utils._rebuild_qtensor", OTHER_TENSOR, "quantised", 0},
    {"torch._utils._rebuild_sparse_tensor", OTHER_TENSOR, "sparse", 0},
    {"torch._utils._rebuild_sparse_csr_tensor", OTHER_TENSOR, "sparse", 0},
    {"torch._utils._rebuild_nested_tensor", OTHER_TENSOR, "nested", 0},
    {"torch._utils._rebuild_meta_tensor_no_storage", OTHER_TENSOR, "without values", 0},
    {"torch._utils._rebuild_wrapper_subclass", OTHER_TENSOR, "of a class of its own", 0},
    {"torch.storage._load_from_bytes", STORAGE_OF_BYTES, NULL, 0},
    {"torch.FloatStorage", STORAGE, "F32", 0},
    {"torch.DoubleStorage", STORAGE, "F64", 0},
    {"torch.HalfStorage", STORAGE, "F16", 0},
    {"torch.BFloat16Storage", STORAGE, "BF16", 0},
    {"torch.LongStorage", STORAGE, "I64", 0},
    {"torch.IntStorage", STORAGE, "I32", 0},
    {"torch.ShortStorage", STORAGE, "I16", 0},
    {"torch.CharStorage", STORAGE, "I8", 0},
    {"torch.ByteStorage", STORAGE, "U8", 0},
    {"torch.BoolStorage", STORAGE, "BOOL", 0},
    {"torch.UntypedStorage", STORAGE, "U8", 0},
    {"torch.storage.UntypedStorage", STORAGE, "U8", 0},
    {"torch.ComplexFloatStorage", STORAGE, "complex64", 8},
    {"torch.ComplexDoubleStorage", STORAGE, "complex128", 16},
    {"torch.QInt8Storage", STORAGE, "quantised", 1},
    {"torch.QUInt8Storage", STORAGE, "quantised", 1},
    {"torch.QInt32Storage", STORAGE, "quantised", 4},
    {"torch.QUInt4x2Storage", STORAGE, "quantised", 1},
    {"torch.QUInt2x4Storage", STORAGE, "quantised", 1},
    {"torch.float32", DTYPE, "F32", 0},
    {"torch.float64", DTYPE, "F64", 0},
    {"torch.float16", DTYPE, "F16", 0},
    {"torch.bfloat16", DTYPE, "BF16", 0},
    {"torch.int64", DTYPE, "I64", 0},
    {"torch.int32", DTYPE, "I32", 0},
    {"torch.int16", DTYPE, "I16", 0},
    {"torch.int8", DTYPE, "I8", 0},
    {"torch.uint64", DTYPE, "U64", 0},
    {"torch.uint32", DTYPE, "U32", 0},
    {"torch.uint16", DTYPE, "U16", 0},
    {"torch.uint8", DTYPE, "U8", 0},
    {"torch.bool", DTYPE, "BOOL", 0},
    {"numpy.dtype", NUMPY_DTYPE, NULL, 0},
    {"numpy.core.multiarray._reconstruct", NUMPY_ARRAY, NULL, 0},
    {"numpy._core.multiarray._reconstruct", NUMPY_ARRAY, NULL, 0},
    {"numpy.core.numeric._frombuffer", NUMPY_BUFFER, NULL, 0},
    {"numpy._core.numeric._frombuffer", NUMPY_BUFFER, NULL, 0},
    {"numpy.core.multiarray.scalar", NUMPY_NUMBER, NULL, 0},
    {"numpy._core.multiarray.scalar", NUMPY_NUMBER, NULL, 0},
};

static int find_global(void *context, const char *name) {
  (void)context;
  for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++)
    if (strcmp(globals[i].name, name) == 0) return (int)i;
  return MT_PICKLE_UNKNOWN;
}

static bool is_global(const mt_pickle_value *value, role wanted) {
  return value->kind == MT_PICKLE_GLOBAL && globals[value->integer].role == wanted;
}

/* ---- lists of objects ---- */

/* One more, zeroed. */
static void *add_one(const mt_torch_objects *o, void **items, size_t *count, size_t *capacity, size_t item_size) {
  if (*count == *capacity) {
    if (*count >= MAX_OBJECTS) {
      fail_object(o, "more than %zu tensors", MAX_OBJECTS);
      return NULL;
    }
    const size_t wanted = *capacity ? 2 * *capacity : 16;
    void *grown = realloc(*items, wanted * item_size);
    if (!grown) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: load '%s'", o->path);
    *items = grown;
    *capacity = wanted;
  }
  return memset((char *)*items + (*count)++ * item_size, 0, item_size);
}

#define ADD_ONE(o, list) add_one(o, (void **)&(o)->list, &(o)->n_##list, &(o)->list##_capacity, sizeof *(o)->list)

mt_torch_storage *mt_torch_add_storage(mt_torch_objects *o) {
  mt_torch_storage *s = ADD_ONE(o, storages);
  if (s) s->offset = -1;
  return s;
}

mt_torch_tensor *mt_torch_add_tensor(mt_torch_objects *o) { return ADD_ONE(o, tensors); }
mt_numpy_dtype *mt_torch_add_dtype(mt_torch_objects *o) { return ADD_ONE(o, dtypes); }

void mt_torch_objects_free(mt_torch_objects *o) {
  free(o->storages);
  free(o->tensors);
  free(o->dtypes);
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

static int read_storage(mt_torch_objects *o, const mt_pickle_items *id, mt_torch_storage *s) {
  const mt_pickle_value *v = id->values;
  s->key = v[2].text;
  s->key_size = v[2].size;
  s->count = s->n_items = v[4].integer;
  if (v[1].kind == MT_PICKLE_CLASS) {
    s->type = v[1].text;
  } else {
    s->type = globals[v[1].integer].text;
    s->item = globals[v[1].integer].item;
    s->format = s->item == 0 ? mt_file_dtype_find(s->type) : NULL;
    if (s->format) s->item = s->format->size;
  }
  if (s->count > INT64_MAX / 16) return fail_object(o, "a storage has %lld items", (long long)s->count);
  return id->count == 6 ? read_view(o, &v[5], s) : 0;
}

/* A module that was saved whole comes with its source text: ("module", class, file, text). */
static bool is_module(const mt_pickle_value *v, size_t count) {
  return count == 4 && mt_pickle_is_text(&v[0], "module") &&
         (v[1].kind == MT_PICKLE_CLASS || v[1].kind == MT_PICKLE_GLOBAL);
}

static int persistent(void *context, const mt_pickle_value *id, mt_pickle_value *result) {
  mt_torch_objects *o = context;
  const bool is_tuple = id->kind == MT_PICKLE_TUPLE;
  const size_t count = is_tuple ? id->items->count : 0;
  const mt_pickle_value *v = is_tuple ? id->items->values : NULL;
  if (is_module(v, count)) {
    *result = v[1];
    return 0;
  }
  if (count < 5 || count > 6 || !mt_pickle_is_text(&v[0], "storage") ||
      (!is_global(&v[1], STORAGE) && v[1].kind != MT_PICKLE_CLASS) || v[2].kind != MT_PICKLE_STRING ||
      v[4].kind != MT_PICKLE_INTEGER || v[4].integer < 0)
    return fail_object(o, "%s", "a reference is none to a storage: ('storage', type, key, location, items)");
  mt_torch_storage *s = mt_torch_add_storage(o);
  if (!s || read_storage(o, id->items, s) < 0) return -1;
  *result = mt_torch_value(MT_TORCH_STORAGE, o->n_storages - 1);
  return 0;
}

/* ---- tensors: (storage, first item, shape, strides[, requires_grad, hooks[, dtype, ...]]) ---- */

int mt_torch_read_sizes(const mt_torch_objects *o, const mt_pickle_value *tuple, const char *what,
                        int64_t sizes[MT_MAX_DIMS]) {
  if (tuple->kind != MT_PICKLE_TUPLE)
    return fail_object(o, "a tensor's %s is %s, expected a tuple", what, mt_pickle_kind_name(tuple->kind));
  if (tuple->items->count > INT_MAX) return fail_object(o, "a tensor has %zu axes", tuple->items->count);
  for (size_t i = 0; i < tuple->items->count; i++) {
    const mt_pickle_value *v = &tuple->items->values[i];
    if (v->kind != MT_PICKLE_INTEGER || v->integer < 0)
      return fail_object(o, "a tensor's %s holds %s, expected integers >= 0", what,
                         v->kind == MT_PICKLE_INTEGER ? "a negative integer" : mt_pickle_kind_name(v->kind));
    if (i < MT_MAX_DIMS) sizes[i] = v->integer;
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

/* The type of the values: the storage's own, or an argument's. What else stands after the hooks are marks of lazy
 * operations (negative, conjugate), which nobody carries out here. */
static int read_format(const mt_torch_objects *o, const mt_pickle_items *args, mt_torch_tensor *t) {
  const mt_pickle_value *last = args->count > 6 ? &args->values[6] : NULL;
  const mt_torch_storage *s = &o->storages[t->storage];
  t->format = s->format;
  if (!t->format) t->problem = s->type;
  if (s->item == 0 || !last || (last->kind == MT_PICKLE_DICT && last->items->count == 0)) return 0;
  if (last->kind == MT_PICKLE_DICT) {
    t->format = NULL;
    t->problem = "negated or conjugated lazily";
  } else if (last->kind == MT_PICKLE_CLASS) {
    t->format = NULL;
    t->problem = last->text;
  } else if (is_global(last, DTYPE)) {
    t->format = mt_file_dtype_find(globals[last->integer].text);
  } else {
    return fail_object(o, "a tensor's dtype is %s, expected one of torch's", mt_pickle_kind_name(last->kind));
  }
  return 0;
}

static int read_shape(const mt_torch_objects *o, const mt_pickle_value *v, mt_torch_tensor *t) {
  char text[MT_SHAPE_TEXT];
  t->ndim = mt_torch_read_sizes(o, &v[0], "shape", t->shape);
  const int n_strides = t->ndim < 0 ? -1 : mt_torch_read_sizes(o, &v[1], "strides", t->strides);
  if (n_strides < 0) return -1;
  if (n_strides != t->ndim) return fail_object(o, "a tensor has %d axes and %d strides", t->ndim, n_strides);
  if (t->ndim > MT_MAX_DIMS) {
    t->format = NULL;
    t->problem = MT_TOO_MANY_AXES;
    return 0;
  }
  t->count = mt_shape_count("load", t->ndim, t->shape);
  if (t->count >= 0) return 0;
  return fail_object(o, "a tensor's shape %s has too many elements", mt_shape_text(t->ndim, t->shape, text));
}

static int read_tensor(mt_torch_objects *o, const mt_pickle_items *args, mt_torch_tensor *t) {
  const mt_pickle_value *v = args->values;
  if (args->count < 4 || !mt_torch_is(&v[0], MT_TORCH_STORAGE) || v[1].kind != MT_PICKLE_INTEGER)
    return fail_object(o, "%s", "a tensor is made of something else than (storage, first item, shape, strides)");
  t->storage = (size_t)(v[0].integer / 4);
  if (read_format(o, args, t) < 0 || read_shape(o, &v[2], t) < 0) return -1;
  if (!t->format) return 0;
  const mt_torch_storage *s = &o->storages[t->storage];
  const int64_t item = (int64_t)t->format->size, bytes = (int64_t)s->item;
  const int64_t begin = s->first * bytes / item;
  if (s->first * bytes % item != 0 || v[1].integer < 0 || __builtin_add_overflow(begin, v[1].integer, &t->first))
    return fail_object(o, "a tensor begins at item %lld of its storage", (long long)v[1].integer);
  return check_place(o, t, begin, (s->first + s->n_items) * bytes / item);
}

static int other_tensor(mt_torch_objects *o, const char *what, mt_pickle_value *result) {
  mt_torch_tensor *t = mt_torch_add_tensor(o);
  if (!t) return -1;
  t->problem = what;
  *result = mt_torch_value(MT_TORCH_TENSOR, o->n_tensors - 1);
  return 1;
}

static int rebuild_tensor(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result) {
  if (args->count > 0 && args->values[0].kind == MT_PICKLE_INSTANCE)
    return other_tensor(o, "of a storage that is not read here", result);
  mt_torch_tensor *t = mt_torch_add_tensor(o);
  if (!t || read_tensor(o, args, t) < 0) return -1;
  *result = mt_torch_value(MT_TORCH_TENSOR, o->n_tensors - 1);
  return 1;
}

/* (tensor, ...): the tensor itself. */
static int same_tensor(const mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result) {
  if (args->count == 0 || !mt_torch_tensor_of(o, &args->values[0])) return 0;
  *result = args->values[0];
  return 1;
}

/* (function, class, its arguments, attributes): a tensor of a class of its own, or one with attributes. */
static int tensor_by_function(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result) {
  if (args->count < 3 || args->values[2].kind != MT_PICKLE_TUPLE) return 0;
  if (is_global(&args->values[0], TENSOR)) return rebuild_tensor(o, args->values[2].items, result);
  if (is_global(&args->values[0], SAME_TENSOR)) return same_tensor(o, args->values[2].items, result);
  return other_tensor(o, "of a class of its own", result);
}

/* ---- containers and bytes ---- */

/* OrderedDict(), or from Python 2 OrderedDict([[key, value], ...]). */
static int ordered_dict(mt_pickle *pickle, const mt_pickle_items *args, mt_pickle_value *result) {
  const bool has_pairs = args->count == 1 && args->values[0].kind == MT_PICKLE_LIST;
  if (args->count > 1 || (args->count == 1 && !has_pairs)) return 0;
  const mt_pickle_items *pairs = has_pairs ? args->values[0].items : NULL;
  mt_pickle_items *items = mt_pickle_items_new(pickle);
  if (!items) return -1;
  for (size_t i = 0; pairs && i < pairs->count; i++) {
    const mt_pickle_value *pair = &pairs->values[i];
    if ((pair->kind != MT_PICKLE_LIST && pair->kind != MT_PICKLE_TUPLE) || pair->items->count != 2) return 0;
    for (int j = 0; j < 2; j++)
      if (mt_pickle_append(pickle, items, &pair->items->values[j]) < 0) return -1;
  }
  *result = (mt_pickle_value){.kind = MT_PICKLE_DICT, .items = items};
  return 1;
}

/* A container of the wanted kind with what the first argument holds, or an empty one. */
static int container_of(mt_pickle *pickle, const mt_pickle_items *args, mt_pickle_kind kind, mt_pickle_value *result) {
  const mt_pickle_value *first = args->count > 0 ? &args->values[0] : NULL;
  const bool is_list = first && (first->kind == MT_PICKLE_LIST || first->kind == MT_PICKLE_TUPLE);
  if (first && first->kind != kind && (kind == MT_PICKLE_DICT || !is_list)) return 0;
  mt_pickle_items *items = first ? first->items : mt_pickle_items_new(pickle);
  if (!items) return -1;
  *result = (mt_pickle_value){.kind = kind, .items = items};
  return 1;
}

/* A text whose characters are bytes (up to U+00FF, in UTF-8): how protocol 2 has bytes. */
static int bytes_of_text(mt_pickle *pickle, const mt_pickle_value *text, mt_pickle_value *result) {
  char *bytes = mt_pickle_text_new(pickle, text->size);
  uint32_t size = 0;
  if (!bytes) return -1;
  for (uint32_t i = 0; i < text->size; i++) {
    const uint8_t c = (uint8_t)text->text[i];
    if (c < 0x80) {
      bytes[size++] = (char)c;
      continue;
    }
    if ((c != 0xc2 && c != 0xc3) || i + 1 == text->size) return 0;
    bytes[size++] = (char)((c & 0x03) << 6 | ((uint8_t)text->text[++i] & 0x3f));
  }
  *result = (mt_pickle_value){.kind = MT_PICKLE_STRING, .size = size, .text = bytes};
  return 1;
}

/* (), (bytes) or (text, "latin1"). */
static int make_bytes(mt_pickle *pickle, const mt_pickle_items *args, mt_pickle_value *result) {
  *result = (mt_pickle_value){.kind = MT_PICKLE_STRING, .text = ""};
  if (args->count == 0) return 1;
  if (args->values[0].kind != MT_PICKLE_STRING) return 0;
  if (args->count == 2) return bytes_of_text(pickle, &args->values[0], result);
  *result = args->values[0];
  return 1;
}

static int call(void *context, mt_pickle *pickle, int64_t global, const mt_pickle_items *args,
                mt_pickle_value *result) {
  mt_torch_objects *o = context;
  switch (globals[global].role) {
    case ORDERED_DICT:
      return ordered_dict(pickle, args, result);
    case DEFAULT_DICT:
      return container_of(pickle, &(mt_pickle_items){0}, MT_PICKLE_DICT, result);
    case DICT_OF:
      return container_of(pickle, args, MT_PICKLE_DICT, result);
    case LIST_OF:
      return container_of(pickle, args, MT_PICKLE_LIST, result);
    case TUPLE_OF:
      return container_of(pickle, args, MT_PICKLE_TUPLE, result);
    case BYTES:
      return make_bytes(pickle, args, result);
    case TENSOR:
      return rebuild_tensor(o, args, result);
    case TENSOR_BY_FUNCTION:
      return tensor_by_function(o, args, result);
    case SAME_TENSOR:
      return same_tensor(o, args, result);
    case OTHER_TENSOR:
      return other_tensor(o, globals[global].text, result);
    case STORAGE_OF_BYTES:
      return mt_torch_storage_of_bytes(o, args, result);
    case NUMPY_DTYPE:
      return mt_numpy_make_dtype(o, args, result);
    case NUMPY_ARRAY:
      return mt_numpy_make_array(o, result);
    case NUMPY_BUFFER:
      return mt_numpy_array_from_buffer(o, args, result);
    case NUMPY_NUMBER:
      return mt_numpy_make_number(o, args, result);
    default:
      return 0;
  }
}

static int build(void *context, int64_t object, const mt_pickle_value *state) {
  return mt_numpy_build(context, object, state);
}

const mt_pickle_hooks mt_torch_hooks = {
    .find_global = find_global, .call = call, .build = build, .persistent = persistent};
