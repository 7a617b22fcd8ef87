/* What a pickle means that holds PyTorch's or NumPy's objects: storages (bytes elsewhere in the file, or in the pickle)
 * and tensors (views of them). */
#ifndef MT_IO_TORCH_OBJECT_H
#define MT_IO_TORCH_OBJECT_H

#include "core/tensor.h"
#include "io/convert.h"
#include "io/pickle.h"

typedef struct {
  const char *key; /* its name among the file's storages; not zero-terminated */
  uint32_t key_size;
  const mt_file_dtype *format; /* NULL: items of a type that is not read here */
  const char *type;            /* its name */
  size_t item;                 /* bytes of one item; 0: not known */
  int64_t count;               /* items of the whole storage */
  int64_t first, n_items;      /* the part of it that is meant */
  const uint8_t *bytes;        /* of an array in the pickle; NULL: they are in the file */
  int64_t offset;              /* where the storage's bytes begin in the file; -1 until somebody looked it up */
  uint32_t crc;                /* of those bytes; 0: not known */
  bool needed;                 /* by a tensor that is wanted */
} mt_torch_storage;

typedef struct {
  size_t storage; /* index */
  /* Of its values; NULL: they cannot be read here, and `problem` says why ("complex64"). */
  const mt_file_dtype *format;
  const char *problem;
  bool no_numbers; /* an array of strings or other objects: no tensor at all */
  int64_t first;   /* item of the whole storage, in this tensor's format */
  int ndim;
  int64_t shape[MT_MAX_DIMS], strides[MT_MAX_DIMS];
  int64_t count;
} mt_torch_tensor;

/* NumPy's type of an array's items. */
typedef struct {
  char kind; /* f, i, u, b, c, or another for what is no number */
  int size;
  bool swapped; /* big-endian */
} mt_numpy_dtype;

/* Zero-initialised but for `path` and is_inner it is empty; mt_torch_objects_free is always safe. */
typedef struct {
  const char *path;
  mt_torch_storage *storages;
  size_t n_storages, storages_capacity;
  mt_torch_tensor *tensors;
  size_t n_tensors, tensors_capacity;
  mt_numpy_dtype *dtypes;
  size_t n_dtypes, dtypes_capacity;
  bool is_inner; /* of a pickle inside another */
} mt_torch_objects;

/* With an mt_torch_objects as the context. Whatever a tensor says about its place is checked against what its storage
 * says about its size. */
extern const mt_pickle_hooks mt_torch_hooks;

/* An MT_PICKLE_OBJECT's integer is 4 * index + kind. */
typedef enum { MT_TORCH_STORAGE, MT_TORCH_TENSOR, MT_TORCH_NUMPY_DTYPE } mt_torch_kind;

static inline mt_pickle_value mt_torch_value(mt_torch_kind kind, size_t index) {
  return (mt_pickle_value){.kind = MT_PICKLE_OBJECT, .integer = 4 * (int64_t)index + kind};
}

static inline bool mt_torch_is(const mt_pickle_value *value, mt_torch_kind kind) {
  return value->kind == MT_PICKLE_OBJECT && value->integer % 4 == kind;
}

/* NULL for what is no tensor. */
static inline const mt_torch_tensor *mt_torch_tensor_of(const mt_torch_objects *o, const mt_pickle_value *value) {
  const mt_torch_tensor *t = mt_torch_is(value, MT_TORCH_TENSOR) ? &o->tensors[value->integer / 4] : NULL;
  return t && !t->no_numbers ? t : NULL;
}

void mt_torch_objects_free(mt_torch_objects *objects);

/* ---- for numpy_object.c and torch_pickles.c ---- */

/* A new, zeroed one at the end of its list; NULL with an error. */
mt_torch_storage *mt_torch_add_storage(mt_torch_objects *o);
mt_torch_tensor *mt_torch_add_tensor(mt_torch_objects *o);
mt_numpy_dtype *mt_torch_add_dtype(mt_torch_objects *o);

/* A tuple of integers >= 0; returns how many, which may be more than fit in `sizes`. -1 with an error. */
int mt_torch_read_sizes(const mt_torch_objects *o, const mt_pickle_value *tuple, const char *what,
                        int64_t sizes[MT_MAX_DIMS]);

/* What can be called beside PyTorch's own, as the hook `call`. */
int mt_numpy_make_dtype(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result);
int mt_numpy_make_array(mt_torch_objects *o, mt_pickle_value *result);
int mt_numpy_array_from_buffer(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result);
int mt_numpy_make_number(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result);
/* As the hook `build`. */
int mt_numpy_build(mt_torch_objects *o, int64_t object, const mt_pickle_value *state);

#endif
