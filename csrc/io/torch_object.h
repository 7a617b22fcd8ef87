/* What a pickle written by torch.save means: storages (bytes elsewhere in the file) and tensors (views of them). */
#ifndef MT_IO_TORCH_OBJECT_H
#define MT_IO_TORCH_OBJECT_H

#include "core/tensor.h"
#include "io/convert.h"
#include "io/pickle.h"

typedef struct {
  const char *key; /* its name among the file's storages; in the pickle, not zero-terminated */
  uint32_t key_size;
  const mt_file_dtype *format;
  int64_t count;          /* items of the whole storage */
  int64_t first, n_items; /* the part of it that is meant */
  int64_t offset;         /* where the storage's bytes begin in the file; -1 until somebody looked it up */
  uint32_t crc;           /* of those bytes; 0: not known */
} mt_torch_storage;

typedef struct {
  size_t storage; /* index */
  const mt_file_dtype *format;
  int64_t first; /* item of the whole storage, in this tensor's format */
  int ndim;
  int64_t shape[MT_MAX_DIMS], strides[MT_MAX_DIMS];
  int64_t count;
} mt_torch_tensor;

/* Zero-initialised but for `path` it is empty; mt_torch_objects_free is always safe. */
typedef struct {
  const char *path;
  mt_torch_storage *storages;
  size_t n_storages, storages_capacity;
  mt_torch_tensor *tensors;
  size_t n_tensors, tensors_capacity;
} mt_torch_objects;

/* With an mt_torch_objects as the context. An MT_PICKLE_OBJECT's integer is 2 * index, + 1 for a tensor. Whatever a
 * tensor says about its place is checked against what its storage says about its size. */
extern const mt_pickle_hooks mt_torch_hooks;

static inline const mt_torch_tensor *mt_torch_tensor_of(const mt_torch_objects *o, const mt_pickle_value *value) {
  return value->kind == MT_PICKLE_OBJECT && value->integer % 2 == 1 ? &o->tensors[value->integer / 2] : NULL;
}

void mt_torch_objects_free(mt_torch_objects *objects);

#endif
