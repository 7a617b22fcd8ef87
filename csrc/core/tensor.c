#include "core/tensor.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/stream.h"
#include "core/threads.h"

static const struct {
  const char *name;
  size_t size;
} dtypes[MT_DTYPE_COUNT] = {
    [MT_FLOAT32] = {"float32", 4},
    [MT_UINT8] = {"uint8", 1},
    [MT_INT32] = {"int32", 4},
};

size_t mt_dtype_size(mt_dtype dtype) { return dtypes[dtype].size; }

size_t mt_tensor_bytes(const mt_tensor *t) { return (size_t)t->count * mt_dtype_size(t->dtype); }

const char *mt_dtype_name(mt_dtype dtype) { return dtypes[dtype].name; }

int mt_dtype_from_name(const char *name) {
  for (int i = 0; i < MT_DTYPE_COUNT; i++)
    if (strcmp(dtypes[i].name, name) == 0) return i;
  return -1;
}

int64_t mt_shape_count(const char *op, int ndim, const int64_t *shape) {
  char text[MT_SHAPE_TEXT];
  if (ndim < 0 || ndim > MT_MAX_DIMS)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: %d axes, expected at most %d", op, ndim, MT_MAX_DIMS);
  int64_t count = 1;
  for (int i = 0; i < ndim; i++) {
    if (shape[i] < 0)
      return mt_fail(MT_ERROR_ARGUMENT, "%s: shape %s has a negative size", op, mt_shape_text(ndim, shape, text));
    if (__builtin_mul_overflow(count, shape[i], &count) || count > (int64_t)1 << 44)
      return mt_fail(MT_ERROR_ARGUMENT, "%s: shape %s has too many elements", op, mt_shape_text(ndim, shape, text));
  }
  return count;
}

const char *mt_shape_text(int ndim, const int64_t *shape, char *buffer) {
  int n = snprintf(buffer, MT_SHAPE_TEXT, "{");
  for (int i = 0; i < ndim && n < MT_SHAPE_TEXT; i++)
    n += snprintf(buffer + n, (size_t)(MT_SHAPE_TEXT - n), i ? ",%lld" : "%lld", (long long)shape[i]);
  if (n < MT_SHAPE_TEXT) snprintf(buffer + n, (size_t)(MT_SHAPE_TEXT - n), "}");
  return buffer;
}

static uint64_t new_version(void) {
  static _Atomic uint64_t last;
  return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

void mt_touch(mt_tensor *t) { t->storage->version = new_version(); }

static mt_storage *storage_new(size_t bytes) {
  mt_storage *s = malloc(sizeof *s);
  if (!s) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot allocate a tensor's storage record");
  s->data = mt_alloc(bytes);
  if (!s->data) {
    free(s);
    return NULL;
  }
  s->refs = 1;
  s->bytes = bytes;
  s->version = new_version();
  s->copied_by = NULL;
  return s;
}

static void storage_release(mt_storage *s) {
  if (--s->refs > 0) return;
  mt_free(s->data);
  free(s);
}

/* Takes over the caller's reference to `storage`. */
static mt_tensor *tensor_over(mt_storage *storage, void *data, mt_dtype dtype, int ndim, const int64_t *shape,
                              int64_t count) {
  mt_tensor *t = calloc(1, sizeof *t);
  if (!t) {
    storage_release(storage);
    return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot allocate a tensor record");
  }
  t->refs = 1;
  t->dtype = dtype;
  t->ndim = ndim;
  for (int i = 0; i < ndim; i++) t->shape[i] = shape[i];
  t->count = count;
  t->storage = storage;
  t->data = data;
  return t;
}

mt_tensor *mt_tensor_new(mt_dtype dtype, int ndim, const int64_t *shape) {
  const int64_t count = mt_shape_count("tensor", ndim, shape);
  if (count < 0) return NULL;
  mt_storage *storage = storage_new((size_t)count * mt_dtype_size(dtype));
  return storage ? tensor_over(storage, storage->data, dtype, ndim, shape, count) : NULL;
}

#define CHUNK ((int64_t)128 << 10) /* bytes that a thread writes at a time */

typedef struct {
  char *to;
  const char *from; /* NULL: zeros */
  bool streams;
} filling;

static void fill_range(const void *context, int64_t begin, int64_t end) {
  const filling *f = context;
  if (f->from)
    mt_copy_out(f->streams, f->to + begin, f->from + begin, end - begin);
  else
    memset(f->to + begin, 0, (size_t)(end - begin));
}

static void fill(mt_tensor *t, filling with) {
  with.to = t->data;
  mt_parallel((int64_t)mt_tensor_bytes(t), CHUNK, fill_range, &with);
}

mt_tensor *mt_tensor_zeros(mt_dtype dtype, int ndim, const int64_t *shape) {
  mt_tensor *t = mt_tensor_new(dtype, ndim, shape);
  if (t) fill(t, (filling){.from = NULL});
  return t;
}

mt_tensor *mt_tensor_full(mt_dtype dtype, int ndim, const int64_t *shape, double value) {
  mt_tensor *t = mt_tensor_new(dtype, ndim, shape);
  if (!t) return NULL;
  switch (dtype) {
    case MT_FLOAT32:
      for (int64_t i = 0; i < t->count; i++) mt_f32(t)[i] = (float)value;
      break;
    case MT_UINT8:
      memset(t->data, (uint8_t)value, (size_t)t->count);
      break;
    default:
      for (int64_t i = 0; i < t->count; i++) mt_i32(t)[i] = (int32_t)value;
  }
  return t;
}

mt_tensor *mt_tensor_scalar(float value) { return mt_tensor_full(MT_FLOAT32, 0, NULL, value); }

mt_tensor *mt_tensor_like(const mt_tensor *t) { return mt_tensor_new(t->dtype, t->ndim, t->shape); }

mt_tensor *mt_tensor_copy(const mt_tensor *t) {
  mt_tensor *copy = mt_tensor_like(t);
  if (copy) fill(copy, (filling){.from = t->data, .streams = mt_streams(mt_tensor_bytes(t), t->storage->bytes)});
  return copy;
}

mt_tensor *mt_retain(mt_tensor *t) {
  t->refs++;
  return t;
}

void mt_release(mt_tensor *t) {
  if (!t || --t->refs > 0) return;
  if (t->grad) mt_release(t->grad);
  if (t->node) t->release_node(t->node);
  storage_release(t->storage);
  free(t);
}

mt_tensor *mt_tensor_alias(const mt_tensor *t, int64_t offset, int ndim, const int64_t *shape) {
  const int64_t count = mt_shape_count("view", ndim, shape);
  if (count < 0) return NULL;
  if (offset < 0 || offset + count > t->count) {
    char from[MT_SHAPE_TEXT], to[MT_SHAPE_TEXT];
    return mt_fail_null(MT_ERROR_ARGUMENT, "view: shape %s at element %lld does not fit in a tensor of shape %s",
                        mt_shape_text(ndim, shape, to), (long long)offset, mt_shape_text(t->ndim, t->shape, from));
  }
  t->storage->refs++;
  return tensor_over(t->storage, (char *)t->data + (size_t)offset * mt_dtype_size(t->dtype), t->dtype, ndim, shape,
                     count);
}

mt_tensor *mt_tensor_detach(const mt_tensor *t) { return mt_tensor_alias(t, 0, t->ndim, t->shape); }

bool mt_same_shape(const mt_tensor *a, const mt_tensor *b) {
  return a->ndim == b->ndim && memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof a->shape[0]) == 0;
}

int mt_expect_dtype(const mt_tensor *t, mt_dtype dtype, const char *op, const char *argument) {
  if (t->dtype == dtype) return 0;
  return mt_fail(MT_ERROR_ARGUMENT, "%s: %s is %s, expected %s", op, argument, mt_dtype_name(t->dtype),
                 mt_dtype_name(dtype));
}

static int is_channels(int64_t size) { return size == 1 || size == 3 || size == 4; }

const char *mt_image_hint(const mt_tensor *t) {
  const int64_t *shape = t->shape;
  if (t->ndim == 3 && is_channels(shape[2]))
    return "; this looks like one image {H,W,C}: x:unsqueeze(1) makes it {1,H,W,C}";
  if (t->ndim == 3 && is_channels(shape[0]))
    return "; this looks like one image {C,H,W}: x:permute(2, 3, 1):unsqueeze(1) makes it {1,H,W,C}";
  if (t->ndim == 4 && is_channels(shape[1]) && !is_channels(shape[3]))
    return "; this looks like {N,C,H,W}: x:permute(1, 3, 4, 2) makes it {N,H,W,C}";
  return "";
}

int mt_expect_ndim(const mt_tensor *t, int ndim, const char *op, const char *argument, const char *meaning) {
  if (t->ndim == ndim) return 0;
  char text[MT_SHAPE_TEXT];
  return mt_fail(MT_ERROR_ARGUMENT, "%s: %s has shape %s, expected %s%s", op, argument,
                 mt_shape_text(t->ndim, t->shape, text), meaning,
                 ndim == 4 && strncmp(meaning, "{N,H,W,", 7) == 0 ? mt_image_hint(t) : "");
}

int mt_expect_shape(const mt_tensor *t, int ndim, const int64_t *shape, const char *op, const char *argument) {
  if (t->ndim == ndim && memcmp(t->shape, shape, (size_t)ndim * sizeof shape[0]) == 0) return 0;
  char got[MT_SHAPE_TEXT], wanted[MT_SHAPE_TEXT];
  return mt_fail(MT_ERROR_ARGUMENT, "%s: %s has shape %s, expected %s", op, argument,
                 mt_shape_text(t->ndim, t->shape, got), mt_shape_text(ndim, shape, wanted));
}
